//! ANSI colours of logs, as classes. Every other escape is dropped; nothing of a log reaches a
//! page but text and these names.

/// A piece of a line with one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Classes, divided by spaces; empty for plain text.
    pub(crate) class: String,
    /// The text.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a terminal has these attributes")]
struct Look {
    color: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

impl Look {
    fn class(self) -> String {
        let mut names = Vec::new();
        if let Some(color) = self.color {
            names.push(format!("a{color}"));
        }
        for (on, name) in
            [(self.bold, "ab"), (self.dim, "ad"), (self.italic, "ai"), (self.underline, "au")]
        {
            if on {
                names.push(name.to_owned());
            }
        }
        names.join(" ")
    }

    /// The codes of one `ESC [ … m`.
    fn set(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                30..=37 => self.color = Some((code - 30) as u8),
                39 => self.color = None,
                90..=97 => self.color = Some((code - 90 + 8) as u8),
                // Of the larger palettes only the first sixteen; the rest would fight the page.
                38 | 48 => {
                    let kind = codes.next();
                    let index = codes.next().unwrap_or(0);
                    if kind == Some(2) {
                        codes.by_ref().take(2).for_each(drop);
                    } else if code == 38 && index < 16 {
                        self.color = Some(index as u8);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Splits a line into pieces.
pub(crate) fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut look = Look::default();
    let mut text = String::new();
    let mut rest = line.chars().peekable();
    let flush = |text: &mut String, look: Look, pieces: &mut Vec<Piece>| {
        if !text.is_empty() {
            pieces.push(Piece { class: look.class(), text: std::mem::take(text) });
        }
    };
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                Some('[') => {
                    let mut codes = String::new();
                    let end = rest.find(|c| {
                        codes.push(*c);
                        ('\u{40}'..='\u{7e}').contains(c)
                    });
                    codes.pop();
                    if end == Some('m') {
                        flush(&mut text, look, &mut pieces);
                        look.set(&codes);
                    }
                }
                // Titles and links: up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            // A progress bar draws over itself: keep what it said last.
            '\r' => {
                if rest.peek().is_some() {
                    text.clear();
                    pieces.clear();
                }
            }
            '\t' => text.push(c),
            // Also those that change the direction of writing, which could make a log lie.
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                text.push('\u{fffd}');
            }
            c => text.push(c),
        }
    }
    flush(&mut text, look, &mut pieces);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, &str)]) {
        let pieces = pieces(line);
        let pieces: Vec<(&str, &str)> =
            pieces.iter().map(|piece| (piece.class.as_str(), piece.text.as_str())).collect();
        assert_eq!(pieces, expected, "{line:?}");
    }

    #[test]
    fn colours_become_classes() {
        check("plain", &[("", "plain")]);
        check("", &[]);
        check("\u{1b}[31mred\u{1b}[0m plain", &[("a1", "red"), ("", " plain")]);
        check("\u{1b}[1;92mok\u{1b}[22m still green", &[("a10 ab", "ok"), ("a10", " still green")]);
        check("\u{1b}[38;5;9mx\u{1b}[39my", &[("a9", "x"), ("", "y")]);
        check("\u{1b}[38;2;1;2;3mx\u{1b}[3;4mi", &[("", "x"), ("ai au", "i")]);
    }

    #[test]
    fn other_escapes_are_dropped() {
        check("a\u{1b}[2Kb\u{1b}[10;20Hc", &[("", "abc")]);
        check("a\u{1b}]8;;https://x\u{1b}\\b", &[("", "ab")]);
        check("a\u{1b}]0;title\u{7}b\u{1b}", &[("", "ab")]);
        check("a\u{1b}[31", &[("", "a")]);
    }

    #[test]
    fn what_could_lie_is_shown() {
        check("a\u{0}b\u{202e}c", &[("", "a\u{fffd}b\u{fffd}c")]);
        check("10 %\r20 %\r30 %", &[("", "30 %")]);
        check("<script>\tx", &[("", "<script>\tx")]);
    }
}
