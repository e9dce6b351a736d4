//! What is wrong with a file, where, and what to do about it.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// There is no DAG.
    Error,
    /// There is a DAG, but someone should know.
    Warning,
}

/// A finding in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its kind: an entry of [`crate::codes`].
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Whether `run` and `serve` must refuse the DAG: all errors, and warnings about what this
    /// version cannot run.
    pub blocks_run: bool,
    /// What is wrong, in one line.
    pub message: String,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// How many characters are to blame, at least 1.
    pub length: u32,
    /// The line's text; of a very long line, the part around the column.
    pub source_line: String,
    /// How many characters of the line are left out before `source_line`.
    pub source_offset: u32,
    /// What stands beside the carets.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// The parts of a drawing that have a colour.
struct Paint {
    bold: &'static str,
    severity: &'static str,
    gutter: &'static str,
    end: &'static str,
}

impl Paint {
    fn of(severity: Severity, color: bool) -> Self {
        if !color {
            return Self { bold: "", severity: "", gutter: "", end: "" };
        }
        let severity = match severity {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        };
        Self { bold: "\x1b[1m", severity, gutter: "\x1b[1;34m", end: "\x1b[0m" }
    }
}

impl Diagnostic {
    /// Draws it with its source line, carets and help; ends without a line break.
    pub fn render(&self, color: bool) -> String {
        let Paint { bold, severity, gutter, end } = Paint::of(self.severity, color);
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let wide = number.len();
        let skipped = if self.source_offset > 0 { "…" } else { "" };
        // Tabs would move the carets away from what they point at.
        let source: String =
            self.source_line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = (self.column.saturating_sub(self.source_offset + 1)) as usize
            + usize::from(self.source_offset > 0);
        let carets = "^".repeat(self.length.max(1) as usize);
        let mut text =
            format!("{severity}{word}[{}]{end}{bold}: {}{end}\n", self.code, self.message);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:wide$}{gutter}-->{end} {}:{}:{}",
            "", self.file, self.line, self.column
        );
        // Nothing can be shown of a file that is not read, or holds nothing there.
        if self.source_line.is_empty() && self.label.is_none() {
            text.truncate(text.trim_end().len());
            if let Some(help) = &self.help {
                let _ = write!(text, "\n{:wide$} {gutter}={end} {bold}help:{end} {help}", "");
            }
            return text;
        }
        let _ = writeln!(text, "{:wide$} {gutter}|{end}", "");
        let _ = writeln!(text, "{gutter}{number} |{end} {skipped}{source}");
        let _ = write!(text, "{:wide$} {gutter}|{end} {:before$}{severity}{carets}", "", "");
        if let Some(label) = &self.label {
            let _ = write!(text, " {label}");
        }
        text.push_str(end);
        if let Some(help) = &self.help {
            let _ = write!(text, "\n{:wide$} {gutter}={end} {bold}help:{end} {help}", "");
        }
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        Diagnostic {
            code: "TM0107",
            severity: Severity::Error,
            blocks_run: true,
            message: "task `load_orders` depends on `extract_order`, which does not exist"
                .to_owned(),
            file: "dags/orders.yaml".to_owned(),
            line: 18,
            column: 18,
            length: 13,
            source_line: "    depends_on: [extract_order]".to_owned(),
            source_offset: 0,
            label: Some("no task has this name".to_owned()),
            help: Some("did you mean `extract_orders`?".to_owned()),
        }
    }

    #[test]
    fn reads_as_the_house_style_says() {
        assert_eq!(
            sample().to_string(),
            "\
error[TM0107]: task `load_orders` depends on `extract_order`, which does not exist
  --> dags/orders.yaml:18:18
   |
18 |     depends_on: [extract_order]
   |                  ^^^^^^^^^^^^^ no task has this name
   = help: did you mean `extract_orders`?"
        );
    }

    #[test]
    fn colours_only_add_to_the_text() {
        let mut plain = String::new();
        let mut inside = false;
        for c in sample().render(true).chars() {
            match c {
                '\x1b' => inside = true,
                'm' if inside => inside = false,
                _ if inside => {}
                c => plain.push(c),
            }
        }
        assert_eq!(plain, sample().render(false));
    }
}
