//! Scripts for `/bin/sh`: where an `${{ expression }}` stands, and what takes its place.
//!
//! An expression never becomes part of a script. It travels in an environment variable, and the
//! script gets that variable in double quotes, so that the shell puts the value in without reading
//! it. Where the shell would not do that, or would read the value as code, an expression is an
//! error. The lexer knows just enough of the shell to tell those places; where it is not sure, it
//! refuses.

use tidemill_model::template::RawPiece;

/// The longest script, in bytes.
pub(crate) const SCRIPT_BYTES_MAX: usize = 64 << 10;
/// Quotes, substitutions and braces inside each other.
const DEPTH_MAX: usize = 64;

/// A script without its expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script<'t> {
    /// The text for the shell.
    pub(crate) text: String,
    /// The variables in it, with the expression of each and the byte where that starts.
    pub(crate) variables: Vec<(String, &'t str, usize)>,
}

/// An expression at a place where it cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misplaced {
    /// The byte where the expression's text starts.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) length: usize,
    /// The place: `inside single quotes`.
    pub(crate) place: &'static str,
}

/// What the lexer is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// `$( … )`
    Substitution,
    /// `( … )`
    Parentheses,
    /// `"…"`
    DoubleQuotes,
    /// `'…'`
    SingleQuotes,
    /// `` `…` ``
    Backticks,
    /// `${ … }`
    Braces,
    /// `$(( … ))`, with the parentheses open in it.
    Arithmetic(usize),
    /// `# …`
    Comment,
}

/// A document that starts after the line.
#[derive(Debug, Clone, Default)]
struct Document {
    end: String,
    strip_tabs: bool,
    /// Whether its end word is whole.
    named: bool,
    quote: Option<char>,
    started: bool,
}

#[derive(Default)]
struct Lexer {
    inside: Vec<Inside>,
    /// The characters just read, the last one first.
    last: [char; 3],
    /// The last character was a backslash that takes the next one's meaning.
    escaped: bool,
    /// The word being read, for `case`.
    word: String,
    /// From here on quotes cannot be told for sure, and why: for example, the `)` of a `case`
    /// inside of `$( … )` cannot be told from the substitution's.
    unsure: Option<&'static str>,
    /// `$'…'` or `$"…"`: shells differ in what they mean.
    dollar_quote: bool,
    documents: Vec<Document>,
    /// The line of the document being read.
    line: Option<String>,
}

/// Puts variables in the place of expressions, or names the expressions that cannot be there.
pub(crate) fn lex<'t>(pieces: &[RawPiece<'t>]) -> Result<Script<'t>, Vec<Misplaced>> {
    let mut lexer = Lexer::default();
    let mut script = Script { text: String::new(), variables: Vec::new() };
    let mut misplaced = Vec::new();
    for piece in pieces {
        match piece {
            RawPiece::Plain(plain) => {
                plain.chars().for_each(|c| lexer.read(c));
                script.text.push_str(plain);
            }
            RawPiece::Expr(source, offset) => match lexer.place() {
                Place::Comment => {}
                Place::Refused(place) => {
                    misplaced.push(Misplaced { offset: *offset, length: source.len(), place });
                }
                Place::Word | Place::Quoted => {
                    let name = format!("TIDEMILL_EXPR_{}", script.variables.len() + 1);
                    let variable = match lexer.place() {
                        Place::Quoted => format!("${{{name}}}"),
                        _ => format!("\"${{{name}}}\""),
                    };
                    script.text.push_str(&variable);
                    script.variables.push((name, source, *offset));
                    lexer.after_variable();
                }
            },
        }
    }
    if misplaced.is_empty() { Ok(script) } else { Err(misplaced) }
}

/// What an expression is at the place where the lexer is.
enum Place {
    /// A word, or part of one.
    Word,
    /// Part of a text in double quotes.
    Quoted,
    /// Nothing: the shell does not read it.
    Comment,
    /// It cannot be here.
    Refused(&'static str),
}

impl Lexer {
    fn place(&self) -> Place {
        if self.line.is_some() {
            return Place::Refused("inside a here-document");
        }
        if self.documents.last().is_some_and(|document| !document.named) {
            return Place::Refused("as the end word of a here-document");
        }
        if self.inside.last() == Some(&Inside::Comment) {
            return Place::Comment;
        }
        if self.dollar_quote {
            return Place::Refused("after `$'…'` or `$\"…\"`, which shells read differently");
        }
        if let Some(why) = self.unsure {
            return Place::Refused(why);
        }
        // An outer place decides where an inner one would not: all in backticks is read twice.
        for inside in &self.inside {
            match inside {
                Inside::Backticks => return Place::Refused("inside backticks; use `$( … )`"),
                Inside::Braces => return Place::Refused("inside a `${ … }` of the shell"),
                Inside::Arithmetic(_) => return Place::Refused("inside `$(( … ))`"),
                _ => {}
            }
        }
        if self.inside.last() == Some(&Inside::SingleQuotes) {
            return Place::Refused("inside single quotes, where the shell puts nothing in");
        }
        if self.escaped {
            return Place::Refused("after a backslash");
        }
        if self.last[0] == '$' {
            return Place::Refused("after a `$`");
        }
        match self.inside.last() {
            Some(Inside::DoubleQuotes) => Place::Quoted,
            _ => Place::Word,
        }
    }

    fn after_variable(&mut self) {
        self.word.clear();
        self.last = ['"', ' ', ' '];
    }

    fn read(&mut self, c: char) {
        if self.line.is_some() {
            self.read_document(c);
            return;
        }
        if self.escaped {
            self.escaped = false;
            if let Some(document) = self.documents.last_mut().filter(|d| !d.named) {
                document.started = true;
                document.end.push(c);
            }
            self.word.push('\\');
            self.last = ['\\', ' ', ' '];
            return;
        }
        if self.documents.last().is_some_and(|document| !document.named) && self.read_end_word(c) {
            self.remember(c);
            return;
        }
        match self.inside.last().copied() {
            Some(Inside::Comment) => self.in_comment(c),
            Some(Inside::SingleQuotes) if c == '\'' => {
                self.inside.pop();
            }
            Some(Inside::SingleQuotes) => {}
            Some(Inside::DoubleQuotes) => self.in_double_quotes(c),
            Some(Inside::Backticks) => self.in_backticks(c),
            Some(Inside::Braces) => self.in_braces(c),
            Some(Inside::Arithmetic(open)) => self.in_arithmetic(c, open),
            None | Some(Inside::Substitution | Inside::Parentheses) => self.in_words(c),
        }
        self.remember(c);
    }

    fn remember(&mut self, c: char) {
        self.last = [c, self.last[0], self.last[1]];
    }

    fn enter(&mut self, inside: Inside) {
        if self.inside.len() < DEPTH_MAX {
            self.inside.push(inside);
        } else {
            self.unsure = Some("inside too many levels of quotes and parentheses");
        }
    }

    fn in_words(&mut self, c: char) {
        self.watch_words(c);
        match c {
            '\\' => self.escaped = true,
            '\'' => {
                self.dollar_quote |= self.last[0] == '$';
                self.enter(Inside::SingleQuotes);
            }
            '"' => {
                self.dollar_quote |= self.last[0] == '$';
                self.enter(Inside::DoubleQuotes);
            }
            '`' => self.enter(Inside::Backticks),
            '#' if self.at_word_start() => self.enter(Inside::Comment),
            '{' if self.last[0] == '$' => self.enter(Inside::Braces),
            '(' => self.open_parenthesis(),
            ')' if self.inside.last().is_some() => {
                self.inside.pop();
            }
            '<' if self.last[0] == '<' && self.last[1] != '<' => {
                self.documents.push(Document::default());
            }
            '\n' => self.start_documents(),
            _ => {}
        }
    }

    /// Whether a `#` here would start a comment.
    fn at_word_start(&self) -> bool {
        self.last[0] == '\0' || self.last[0].is_whitespace() || ";&|()".contains(self.last[0])
    }

    /// Looks for the word `case` inside `$( … )`.
    fn watch_words(&mut self, c: char) {
        if c.is_alphanumeric() || "_$'\"\\{}-./=".contains(c) {
            if self.word.len() < 8 {
                self.word.push(c);
            }
            return;
        }
        if self.word == "case" && self.inside.contains(&Inside::Substitution) {
            self.unsure = Some("after a `case` inside `$( … )`");
        }
        self.word.clear();
    }

    fn open_parenthesis(&mut self) {
        match (self.last[0], self.last[1], self.inside.last()) {
            ('(', '$', Some(Inside::Substitution)) => {
                self.inside.pop();
                self.enter(Inside::Arithmetic(0));
            }
            ('$', _, _) => self.enter(Inside::Substitution),
            _ => self.enter(Inside::Parentheses),
        }
    }

    fn in_double_quotes(&mut self, c: char) {
        match c {
            '\\' => self.escaped = true,
            '"' => {
                self.inside.pop();
            }
            '`' => self.enter(Inside::Backticks),
            '(' if self.last[0] == '$' => self.enter(Inside::Substitution),
            '{' if self.last[0] == '$' => self.enter(Inside::Braces),
            _ => {}
        }
    }

    fn in_backticks(&mut self, c: char) {
        match c {
            '\\' => self.escaped = true,
            '`' => {
                self.inside.pop();
            }
            _ => {}
        }
    }

    /// Quotes inside braces are followed only far enough to find the end.
    fn in_braces(&mut self, c: char) {
        let quoted = self.inside.iter().rev().nth(1) == Some(&Inside::DoubleQuotes);
        match c {
            '\\' => self.escaped = true,
            '}' => {
                self.inside.pop();
            }
            '{' if self.last[0] == '$' => self.enter(Inside::Braces),
            '(' if self.last[0] == '$' => self.enter(Inside::Substitution),
            '`' => self.enter(Inside::Backticks),
            // Shells differ on quotes in `"${x:-'…'}"`.
            '\'' if quoted => self.unsure = Some("after a quote inside `\"${ … }\"`"),
            '\'' => self.enter(Inside::SingleQuotes),
            '"' => self.enter(Inside::DoubleQuotes),
            _ => {}
        }
    }

    fn in_arithmetic(&mut self, c: char, open: usize) {
        let depth = match c {
            '(' => open + 1,
            ')' if open > 0 => open - 1,
            ')' if self.last[0] == ')' => {
                self.inside.pop();
                return;
            }
            '\\' => {
                self.escaped = true;
                open
            }
            // `$( … )` and quotes in it would need a lexer of their own.
            '\'' | '"' | '`' => {
                self.unsure = Some("after quotes inside `$(( … ))`");
                open
            }
            _ => open,
        };
        if let Some(inside) = self.inside.last_mut() {
            *inside = Inside::Arithmetic(depth);
        }
    }

    fn in_comment(&mut self, c: char) {
        if c == '\n' {
            self.inside.pop();
            self.start_documents();
        }
    }

    /// Reads a character of the word after `<<`; false when it belongs to what follows.
    fn read_end_word(&mut self, c: char) -> bool {
        let Some(document) = self.documents.last_mut() else { return false };
        if let Some(quote) = document.quote {
            if c == quote {
                document.quote = None;
            } else {
                document.end.push(c);
            }
            return true;
        }
        match c {
            '<' if !document.started && self.last[0] == '<' => {
                // `<<<` is no document.
                self.documents.pop();
            }
            '-' if !document.started && self.last[0] == '<' && !document.strip_tabs => {
                document.strip_tabs = true;
            }
            ' ' | '\t' if !document.started => {}
            '\'' | '"' => {
                document.started = true;
                document.quote = Some(c);
            }
            '\\' => {
                document.started = true;
                self.escaped = true;
            }
            c if c.is_whitespace() || ";&|()<>".contains(c) => {
                document.named = true;
                return false;
            }
            c => {
                document.started = true;
                document.end.push(c);
            }
        }
        true
    }

    fn start_documents(&mut self) {
        if !self.documents.is_empty() {
            self.line = Some(String::new());
        }
    }

    fn read_document(&mut self, c: char) {
        let (Some(line), Some(document)) = (&mut self.line, self.documents.first()) else { return };
        if c != '\n' {
            line.push(c);
            return;
        }
        let content = line.trim_end_matches('\r');
        let content = if document.strip_tabs { content.trim_start_matches('\t') } else { content };
        let ended = content == document.end;
        line.clear();
        if ended {
            self.documents.remove(0);
            if self.documents.is_empty() {
                self.line = None;
                self.last = ['\n', ' ', ' '];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_model::template::split;

    fn lexed(script: &str) -> String {
        let pieces = split(script).expect("closed expressions");
        match lex(&pieces) {
            Ok(script) => script.text,
            Err(misplaced) => misplaced.iter().map(|m| m.place).collect::<Vec<_>>().join("; "),
        }
    }

    /// `E` stands for an expression, `1` in `<1>` for its variable in quotes, `(1)` without.
    fn check(script: &str, expected: &str) {
        let script = script.replace('E', "${{ params.x }}");
        let expected = (1..=3).fold(expected.to_owned(), |text, n| {
            text.replace(&format!("<{n}>"), &format!("\"${{TIDEMILL_EXPR_{n}}}\""))
                .replace(&format!("({n})"), &format!("${{TIDEMILL_EXPR_{n}}}"))
        });
        assert_eq!(lexed(&script), expected, "{script}");
    }

    #[test]
    fn words_and_quotes() {
        check("echo E", "echo <1>");
        check("echo E E; x=E/y", "echo <1> <2>; x=<3>/y");
        check("echo \"a E b\"", "echo \"a (1) b\"");
        check("echo \"a\"E\"b\"", "echo \"a\"<1>\"b\"");
        check("echo 'it''s' E", "echo 'it''s' <1>");
        check("echo \\' E \\\" E", "echo \\' <1> \\\" <2>");
        check("echo \"\\\"E\"", "echo \"\\\"(1)\"");
        check("if [ E = 1 ]; then\n  echo $x E\nfi", "if [ <1> = 1 ]; then\n  echo $x <2>\nfi");
        check("cat <E >E", "cat <<1> ><2>");
    }

    #[test]
    fn substitutions_start_anew() {
        check("echo $(date E)", "echo $(date <1>)");
        check("echo \"$(date E) E\"", "echo \"$(date <1>) (2)\"");
        check("echo \"$(echo \"$(echo 'a)' E)\" E)\"", "echo \"$(echo \"$(echo 'a)' <1>)\" <2>)\"");
        check("(cd E && ls); echo E", "(cd <1> && ls); echo <2>");
        check("echo $(( 1 + 2 )) $((3*(4+5))) E", "echo $(( 1 + 2 )) $((3*(4+5))) <1>");
        check("echo ${x:-a} \"${y#*\"b\"}\" E", "echo ${x:-a} \"${y#*\"b\"}\" <1>");
        check("echo `ls` E", "echo `ls` <1>");
    }

    #[test]
    fn comments_are_left_alone() {
        check("# E's \"\necho E", "# 's \"\necho <1>");
        check("echo a#'b' # it's E\necho E", "echo a#'b' # it's \necho <1>");
        check("echo ${#x} $# E", "echo ${#x} $# <1>");
    }

    #[test]
    fn refused_places() {
        check("echo 'E'", "inside single quotes, where the shell puts nothing in");
        check("echo `ls E`", "inside backticks; use `$( … )`");
        check("echo `ls \"$(E)\"`", "inside backticks; use `$( … )`");
        check("echo ${x:-E}", "inside a `${ … }` of the shell");
        check("echo \"${x:-E}\"", "inside a `${ … }` of the shell");
        check("echo $(( E + 1 ))", "inside `$(( … ))`");
        check("echo \\E", "after a backslash");
        check("echo \"\\E\"", "after a backslash");
        check("echo $E", "after a `$`");
        check("echo \"$E\"", "after a `$`");
        check("echo $'a' E", "after `$'…'` or `$\"…\"`, which shells read differently");
        check("x=$(case a in a) echo E;; esac)", "after a `case` inside `$( … )`");
        check("cat <<E", "as the end word of a here-document");
        check("cat << E", "as the end word of a here-document");
    }

    #[test]
    fn here_documents() {
        check("cat <<STOP\na E\nSTOP\n", "inside a here-document");
        check("cat <<'STOP'\na E\nSTOP\n", "inside a here-document");
        check("cat <<STOP\na\nSTOP\necho E", "cat <<STOP\na\nSTOP\necho <1>");
        check(
            "cat <<-'A B' >E\n\ta 'b\n\tA B\necho E",
            "cat <<-'A B' ><1>\n\ta 'b\n\tA B\necho <2>",
        );
        check(
            "cat <<A <<B; echo E\n'\nA\n\"\nB\necho E",
            "cat <<A <<B; echo <1>\n'\nA\n\"\nB\necho <2>",
        );
        check("cat <<\\STOP\n$(\nSTOP\necho E", "cat <<\\STOP\n$(\nSTOP\necho <1>");
        check("cat <<< word E\necho E", "cat <<< word <1>\necho <2>");
        check("x=$(cat <<STOP\n)'\nSTOP\n) E", "x=$(cat <<STOP\n)'\nSTOP\n) <1>");
        check("cat <<STOP\na\n STOP\nE", "inside a here-document");
    }

    #[test]
    fn hostile_depth_is_refused_not_guessed() {
        let deep = format!("{}E", "$(\"".repeat(100));
        check(&deep, "inside too many levels of quotes and parentheses");
    }
}
