//! Why a text is no YAML, in words of our own: those of a parser are for people who write parsers.
//!
//! Here is what each reason to stop is called; [`slips`] looks at the lines for what was meant.

mod slips;

use granit_parser::{ErrorKind, ScanError};

use super::scan::too_deep;
use crate::codes::{self, Code};
use crate::report::{Place, Report, Source, quoted};

/// What is wrong, where, and what to do about it.
struct Slip {
    code: &'static Code,
    place: Place,
    message: String,
    help: String,
}

/// Where a reading stopped.
struct Stop<'s, 'a> {
    source: &'s Source<'a>,
    /// The byte.
    at: usize,
    /// Its line, from 0; at the end of a file, the last one that holds anything.
    line: usize,
    /// Where the innermost list or mapping begins that has not ended.
    open: Option<usize>,
    /// Where the last key or value ended.
    read: usize,
}

/// Reports why the text is not YAML. `open` is where the innermost list or mapping begins that has
/// not ended, `read` where the last key or value ended.
pub(super) fn report(report: &mut Report, error: &ScanError, open: Option<usize>, read: usize) {
    let at = boundary(report.source.text, error.marker().byte_offset().unwrap_or(0));
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        too_deep(report, Place::new(at, at + 1));
        return;
    }
    let slip = Stop::new(&report.source, at, open, read).slip(error.kind());
    slip.report(report);
}

/// Reports a text that the scan accepts and `serde_yaml` does not, which says `said`.
pub(super) fn disagreement(report: &mut Report, said: &str, at: usize) {
    let at = boundary(report.source.text, at);
    if said.contains("recursion limit") {
        too_deep(report, Place::new(at, at + 1));
        return;
    }
    let slip = Stop::new(&report.source, at, None, 0).disagreement(said);
    slip.report(report);
}

/// Reports an alias of which there is no anchor, or a text that was taken for one.
pub(super) fn unknown_alias(report: &mut Report, name: &str, place: Place) {
    let stop = Stop::new(&report.source, place.start as usize, None, 0);
    let (message, help) = stop.unknown_alias(name);
    report.error(&codes::ALIAS, place, message).help(help);
}

/// The byte, or that before it at which a character begins.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Slip {
    fn new(place: Place, message: &str, help: impl Into<String>) -> Self {
        let message = format!("this is not YAML: {message}");
        Self { code: &codes::SYNTAX, place, message, help: help.into() }
    }

    fn report(self, report: &mut Report) {
        report.error(self.code, self.place, self.message).help(self.help);
    }
}

impl<'s, 'a> Stop<'s, 'a> {
    fn new(source: &'s Source<'a>, at: usize, open: Option<usize>, read: usize) -> Self {
        let mut line = source.line_of(at);
        // At the end of the text there is nothing to point at: the last line with content is.
        if source.text[at..].trim().is_empty() {
            while line > 0 && source.line_text(line).trim().is_empty() {
                line -= 1;
            }
        }
        Self { source, at, line, open, read }
    }

    /// The line to blame.
    fn written(&self) -> &'a str {
        self.source.line_text(self.line)
    }

    /// What of that line is before the place, and what is from there on.
    fn split(&self) -> (&'a str, &'a str) {
        let written = self.written();
        let column = self.at.saturating_sub(self.source.line_start(self.line));
        written.split_at_checked(column).unwrap_or((written, ""))
    }

    /// The character at the place.
    fn character(&self) -> Option<char> {
        self.split().1.chars().next()
    }

    fn place(&self) -> Place {
        match self.character() {
            Some(c) => Place::new(self.at, self.at + c.len_utf8()),
            None => self.source.line_place(self.line),
        }
    }

    /// What a reader that stops for this reason has come upon.
    fn slip(&self, kind: &ErrorKind) -> Slip {
        let common = [Self::conflict, Self::tab, Self::template, Self::expression, Self::unclosed];
        if let Some(slip) = common.iter().find_map(|slip| slip(self, kind)) {
            return slip;
        }
        match kind {
            ErrorKind::MappingValueNotAllowed => self.second_colon(),
            ErrorKind::SimpleKeyExpected => self.no_colon(),
            ErrorKind::ExpectedBlockMappingKey => self.no_key(),
            ErrorKind::ExpectedDocumentStart => self.after_the_end(),
            ErrorKind::InvalidTrailingSingleQuotedScalar => self.behind_quote('\''),
            ErrorKind::InvalidTrailingDoubleQuotedScalar => self.behind_quote('"'),
            ErrorKind::UnknownQuotedScalarEscape => self.unknown_escape(),
            ErrorKind::UnexpectedCharacter { character } => self.unexpected(*character),
            ErrorKind::MissingAnchorOrAliasName => self.needs_quotes(),
            _ if self.written().starts_with('%') || is_directive(kind) => self.directive(self.line),
            _ if is_tag(kind) => self.tag(),
            _ => {
                let (message, help) = self.words(kind);
                Slip::new(self.place(), &message, help)
            }
        }
    }

    /// What can be said in a line, without a look at others.
    fn words(&self, kind: &ErrorKind) -> (String, String) {
        let c = self.character().unwrap_or(' ');
        let (message, help): (&str, &str) = match kind {
            ErrorKind::UnclosedQuotedScalar => ("the `{c}` is not closed", "close it; {escape}"),
            ErrorKind::DocumentIndicatorInQuotedScalar => (
                "the `{c}` is not closed before the next `---`",
                "close it, or put spaces before the `---`; {escape}",
            ),
            ErrorKind::InvalidQuotedScalarIndent => (
                "a line of a text in quotes stands too far left",
                "close the quote where its text ends, or give its lines more spaces than its key has",
            ),
            ErrorKind::InvalidQuotedScalarHexEscape | ErrorKind::InvalidUnicodeEscape => (
                "a `\\x`, `\\u` or `\\U` in double quotes lacks the digits of its letter",
                "write the letter itself, or as `\\u00e4` with four digits; a backslash is `\\\\`",
            ),
            ErrorKind::InvalidLowSurrogateHexEscape
            | ErrorKind::InvalidLowSurrogate
            | ErrorKind::MissingLowSurrogate
            | ErrorKind::UnpairedLowSurrogate => (
                "a `\\u` in double quotes stands for half of a letter",
                "write the letter itself, or as `\\U0001f600` with eight digits",
            ),
            ErrorKind::ExpectedFlowMappingSeparator if c == ':' => (
                "a `,` is missing before this key, or a value with a `:` has no quotes",
                "separate keys by `,`; a value that holds `: ` or one of `,[]{}` needs quotes",
            ),
            ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator
                if matches!(c, '[' | '{') =>
            {
                (
                    "a `{c}` stands in a value without quotes",
                    "put the whole value in quotes, or separate the two by `,`",
                )
            }
            ErrorKind::ExpectedFlowMappingSeparator => (
                "a `,` or the closing `}` is missing before this",
                "separate keys by `,`; a value that holds one of `,[]{}` needs quotes",
            ),
            ErrorKind::ExpectedFlowSequenceSeparator => (
                "a `,` or the closing `]` is missing before this",
                "separate items by `,`; a value that holds one of `,[]{}` needs quotes",
            ),
            ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping => (
                "nothing stands before this `{c}`",
                "remove a `,` that is one too many, or write what is missing",
            ),
            ErrorKind::UnexpectedEofBlockSequence
            | ErrorKind::UnexpectedEofBlockMapping
            | ErrorKind::UnexpectedEof => {
                ("the file ends too early", "write the rest of its last value")
            }
            ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
                let wanted = if *open == '[' { ']' } else { '}' };
                let message = format!("the `{open}` is closed by `{close}`");
                return (message, format!("close it with `{wanted}`"));
            }
            ErrorKind::MisplacedFlowCollectionEnd => (
                "the `{c}` closes nothing",
                "remove it, or put the value that it belongs to in quotes",
            ),
            ErrorKind::FlowMappingValueAdjacentCollection => (
                "there is no space behind this `:`",
                "inside of brackets, write a space behind each `:`",
            ),
            ErrorKind::InvalidColonPlacement => (
                "a key cannot stand here",
                "a value that holds `: ` needs quotes; keys stand in `{…}`, each on one line",
            ),
            ErrorKind::PlainScalarStartsWithDashFlowIndicator => (
                "a value cannot be `-` alone",
                "put it in quotes, `\"-\"`, or write what is missing behind it",
            ),
            ErrorKind::BlockEntryInFlowCollection => (
                "an item with `-` cannot stand inside of brackets",
                "separate items in `[…]` by `,`; a value that starts with `- ` needs quotes",
            ),
            ErrorKind::BlockSequenceEntryNotAllowed => (
                "a list with `-` cannot begin here",
                "put each item on a line of its own below the key, or write `[a, b]`; a value that \
                 starts with `- ` needs quotes",
            ),
            ErrorKind::ExpectedBlockSequenceEntry => (
                "what stands here is no item of the list above, which has a `-` before each",
                "give all items of a list the same number of spaces before their `-`, and put no \
                 keys among them",
            ),
            ErrorKind::MappingKeyNotAllowed => (
                "a value cannot start with `? `",
                "put it in quotes; `? ` begins a key that is a list or a mapping",
            ),
            ErrorKind::InvalidSimpleKey => (
                "a key is longer than one line or than 1024 letters",
                "write the key on one line, with its `:` behind it",
            ),
            ErrorKind::InvalidBlockScalarHeader => (
                "there is text behind the `{c}`",
                "put the text on the lines below, with more spaces than its key has; a value that \
                 starts with `{c}` needs quotes",
            ),
            ErrorKind::ZeroBlockScalarIndent => (
                "a block of text cannot have 0 spaces",
                "remove the number behind the `{c}`: the first line of the text says how many",
            ),
            ErrorKind::InvalidBlockScalarIndent => (
                "a line of the block of text stands too far left or right",
                "give the lines of a block the same number of spaces, more than its key has, and as \
                 many as a number behind its `|` says",
            ),
            ErrorKind::InvalidIndentation | ErrorKind::InvalidFlowScalarIndent => (
                "the line stands too far left for what begins above it",
                "close the bracket or quote that is open, or give the line more spaces than its key \
                 has",
            ),
            ErrorKind::CommentInterceptedScalar => (
                "a comment cuts a text of several lines in two",
                "put the comment above the text; a text that holds a `#` needs quotes",
            ),
            ErrorKind::CommentNotSeparated => (
                "there is no space before this `#`",
                "a comment begins with a space and `#`; a value that holds a `#` needs quotes",
            ),
            ErrorKind::InvalidDocumentEnd => (
                "there is text behind the `...` that ends the file",
                "remove the `...`; a value that starts with it needs quotes",
            ),
            ErrorKind::ExpectedNodeContent => (
                "there is no value where one is wanted",
                "a value has at most one anchor and one tag; a text that starts with `&` or `!` \
                 needs quotes",
            ),
            _ => (
                "no reader of YAML gets past this place",
                "look at it and the line above: most often an indentation, a quote or a colon is \
                 wrong",
            ),
        };
        let escape = match c {
            '"' => "a `\"` inside is written `\\\"`",
            _ => "a `'` inside is written `''`",
        };
        let filled = |text: &str| text.replace("{c}", &c.to_string()).replace("{escape}", escape);
        (filled(message), filled(help))
    }

    /// What two readers differ on.
    fn disagreement(&self, said: &str) -> Slip {
        if let Some(slip) = self.tab(&ErrorKind::ExpectedNodeContent) {
            return slip;
        }
        if said.contains("cannot start any token") && self.character() == Some('\t') {
            return self.tab_at(self.at);
        }
        if said.contains("directive") {
            return self.directive(self.line);
        }
        if said.contains("scanning an anchor") {
            let at = self.source.text[..self.at].rfind(['&', '*']).unwrap_or(self.at);
            return Self::new(self.source, at, None, 0).needs_quotes();
        }
        if said.contains("invalid value") || said.contains("invalid type") {
            let tag = self.split().1.split([' ', ',']).next().unwrap_or_default();
            let message = format!("the value is not what its tag {} says", quoted(tag));
            let place = Place::new(self.at, self.at + tag.len().max(1));
            let help = "write another value, or remove the tag".to_owned();
            return Slip { code: &codes::TAG, place, message, help };
        }
        if said.contains("unexpected ':'") {
            let (message, help) = self.words(&ErrorKind::FlowMappingValueAdjacentCollection);
            return Slip::new(self.place(), &message, help);
        }
        if said.contains("expected key") && self.character() == Some(':') {
            let message = "there is no key before this `:`";
            return Slip::new(self.place(), message, "write one, or remove the `:`");
        }
        // What is a line break for one of them, and a letter for the other.
        let is_break = |c: &char| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
        let end = self.source.line_start(self.line + 1);
        let read = self.source.text[..end].char_indices().rev();
        if let Some((at, c)) = read.into_iter().find(|(_, c)| is_break(c)) {
            let place = Place::new(at, at + c.len_utf8());
            let c = u32::from(c);
            let message = format!("the file holds U+{c:04X}, which some readers end a line at");
            return Slip::new(place, &message, "remove it, with an editor that shows it");
        }
        let message = "readers of YAML differ on what this means";
        let help = "write it more plainly: texts in quotes, one key on a line, a space behind each \
                    `:`, `-` and `,`";
        Slip::new(self.place(), message, help)
    }

    fn unknown_alias(&self, name: &str) -> (String, String) {
        let is_word = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        // What goes on behind its name is a text, as a cron line is.
        let is_alias = is_word(name) && self.value().1.len() == name.len() + 1;
        if is_alias {
            let anchor = quoted(&format!("&{name}"));
            let message = format!("there is no anchor {anchor} before this alias");
            let help = format!(
                "write {anchor} before the value that it stands for; a text that starts with `*` \
                 needs quotes"
            );
            return (message, help);
        }
        let written = quoted(&format!("*{name}"));
        (format!("{written} is read as an alias, because of its `*`"), self.quotes_help('*'))
    }
}

fn is_tag(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UndeclaredTagHandle
            | ErrorKind::ExpectedTagBang
            | ErrorKind::InvalidGlobalTagCharacter
            | ErrorKind::InvalidTagTerminator
            | ErrorKind::MissingTagUri
            | ErrorKind::UnclosedVerbatimTag
            | ErrorKind::InvalidTagEscape
            | ErrorKind::InvalidTagUtf8LeadingByte
            | ErrorKind::InvalidTagUtf8TrailingByte
            | ErrorKind::InvalidTagUtf8
    )
}

fn is_directive(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DuplicateVersionDirective
            | ErrorKind::UnsupportedYamlMajorVersion
            | ErrorKind::DuplicateTagDirective
            | ErrorKind::MissingDocumentEndBeforeDirective
            | ErrorKind::InvalidDirectiveTerminator
            | ErrorKind::MissingYamlVersionSeparator
            | ErrorKind::MissingDirectiveName
            | ErrorKind::InvalidDirectiveName
            | ErrorKind::DirectiveByteLimitExceeded { .. }
            | ErrorKind::TooManyReservedDirectiveParams { .. }
            | ErrorKind::YamlVersionTooLong
            | ErrorKind::MissingYamlVersion
            | ErrorKind::InvalidTagDirectiveTerminator
            | ErrorKind::ExpectedTagDirectiveBang
    )
}
