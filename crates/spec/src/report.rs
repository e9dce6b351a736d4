//! Collects findings while a file is read: [`Source`], [`Place`], [`Report`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tidemill_model::near::nearest;
use tidemill_model::words;

use crate::codes::{self, Code};
use crate::diagnostic::{Diagnostic, Severity};

/// A file's text, and what to call the file.
#[derive(Debug, Clone, Copy)]
pub struct SourceText<'a> {
    /// Where it is: shown in diagnostics; its folder is where relative paths start.
    pub path: &'a Path,
    /// What it holds.
    pub text: &'a str,
}

/// More findings than these are not kept.
const DIAGNOSTICS_MAX: usize = 200;
/// Of a long line, a diagnostic keeps so many characters.
const LINE_CHARS_MAX: usize = 160;
/// So many names are compared for "did you mean" in one file at most.
const COMPARISONS_MAX: usize = 500_000;

/// A part of a file's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Place {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end.max(start) as u32 }
    }

    /// Whether the two have a byte in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A file's text with its lines found.
pub(crate) struct Source<'a> {
    file: String,
    pub(crate) text: &'a str,
    lines: Vec<u32>,
}

impl<'a> Source<'a> {
    /// A byte-order mark at the start is left out.
    pub(crate) fn new(source: SourceText<'a>) -> Self {
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(source.text);
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let lines = std::iter::once(0).chain(starts.map(|(i, _)| i as u32 + 1)).collect();
        Self { file: source.path.display().to_string(), text, lines }
    }

    /// The line (from 0) that a byte is in.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start as usize <= at).saturating_sub(1)
    }

    /// The byte at which a line (from 0) starts; the end of the text for lines after the last.
    pub(crate) fn line_start(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.text.len(), |start| *start as usize)
    }

    /// A line (from 0) without its line break.
    pub(crate) fn line_text(&self, line: usize) -> &'a str {
        let text = &self.text[self.line_start(line)..self.line_start(line + 1)];
        text.trim_end_matches(['\n', '\r'])
    }

    /// The place of a whole line without the spaces around.
    pub(crate) fn line_place(&self, line: usize) -> Place {
        let text = self.line_text(line);
        let start = self.line_start(line) + (text.len() - text.trim_start().len());
        Place::new(start, start + text.trim().len())
    }

    fn diagnostic(&self, draft: &Draft) -> Diagnostic {
        let mut start = (draft.place.start as usize).min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.line_of(start);
        let text = self.line_text(line);
        let in_line = (start - self.line_start(line)).min(text.len());
        let before = text[..in_line].chars().count();
        let rest = text[in_line..].char_indices();
        let wanted = (draft.place.end as usize).saturating_sub(start);
        let length = rest.take_while(|(i, _)| *i < wanted).count().max(1);
        let skipped = if text.chars().count() > LINE_CHARS_MAX {
            before.saturating_sub(LINE_CHARS_MAX / 2)
        } else {
            0
        };
        let source_line: String = text.chars().skip(skipped).take(LINE_CHARS_MAX).collect();
        let room = (skipped + LINE_CHARS_MAX).saturating_sub(before).max(1);
        Diagnostic {
            code: draft.code.id,
            severity: draft.severity,
            blocks_run: draft.severity == Severity::Error || draft.blocks_run,
            message: one_line(&draft.message),
            file: self.file.clone(),
            line: line as u32 + 1,
            column: before as u32 + 1,
            length: length.min(room) as u32,
            source_line,
            source_offset: skipped as u32,
            label: draft.label.as_deref().map(one_line),
            help: Some(draft.help.as_deref().map_or_else(|| draft.code.help(), one_line)),
        }
    }
}

/// A message in one line without control characters: what a user wrote may hold any.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A finding before its place is turned into lines and columns.
pub(crate) struct Draft {
    code: &'static Code,
    severity: Severity,
    blocks_run: bool,
    pub(crate) place: Place,
    message: String,
    label: Option<String>,
    /// Without one, the remedy of the code is shown.
    help: Option<String>,
    /// Whether it is kept: see [`Report::is_full`].
    kept: bool,
}

impl Draft {
    fn identity(&self) -> (&'static str, Place, String) {
        (self.code.id, self.place, self.message.clone())
    }

    pub(crate) fn error(code: &'static Code, place: Place, message: impl Into<String>) -> Self {
        let (severity, message) = (Severity::Error, message.into());
        let (label, help) = (None, None);
        Self { code, severity, blocks_run: true, place, message, label, help, kept: true }
    }

    /// The same as a warning that lets the DAG run.
    pub(crate) fn into_warning(mut self) -> Self {
        (self.severity, self.blocks_run) = (Severity::Warning, false);
        self
    }

    /// Adds what stands beside the carets.
    pub(crate) fn label(&mut self, text: impl Into<String>) -> &mut Self {
        self.label = Some(text.into());
        self
    }

    /// Adds what to do about it.
    pub(crate) fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }

    /// Adds what to do about it, unless that is said already.
    pub(crate) fn or_help(&mut self, text: impl FnOnce() -> String) {
        if self.kept && self.help.is_none() {
            self.help = Some(text());
        }
    }

    /// Adds what to do about it, if there is something to say.
    pub(crate) fn maybe_help(&mut self, text: Option<String>) -> &mut Self {
        if text.is_some() {
            self.help = text;
        }
        self
    }
}

/// What has been found so far.
pub(crate) struct Report<'a> {
    pub(crate) source: Source<'a>,
    drafts: Vec<Draft>,
    /// Where a finding is among them: what stands behind an alias is found at each use.
    seen: HashMap<(&'static str, Place, String), usize>,
    errors: usize,
    comparisons: usize,
    refused: Refused,
    /// What is found of them, which is not kept.
    spare: Option<Draft>,
}

/// Values that are known to be wrong, whatever they are read as.
#[derive(Default)]
struct Refused {
    wholes: HashSet<Place>,
    /// The ends of single values, by their starts: what is inside of them is no better.
    singles: BTreeMap<u32, u32>,
    /// Their keys, at which it is said that there is nothing behind them.
    keys: HashSet<Place>,
}

impl Refused {
    /// Whether a finding is about one of them.
    fn covers(&self, draft: &Draft) -> bool {
        const OF_VALUES: [&Code; 5] = [
            &codes::WRONG_TYPE,
            &codes::MISSING_KEY,
            &codes::ACTION,
            &codes::MISSING_SETTING,
            &codes::WRONG_SETTING,
        ];
        let Place { start, .. } = draft.place;
        let single = self.singles.range(..=start).next_back();
        self.wholes.contains(&draft.place)
            || single.is_some_and(|(_, end)| start < *end)
            || (self.keys.contains(&draft.place) && OF_VALUES.contains(&draft.code))
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(source: SourceText<'a>) -> Self {
        Self {
            source: Source::new(source),
            drafts: Vec::new(),
            seen: HashMap::new(),
            errors: 0,
            comparisons: 0,
            refused: Refused::default(),
            spare: None,
        }
    }

    /// Takes note of a value that is refused for its tag or for one of its keys, so that nothing
    /// more is said of it. What a list or mapping holds is another matter.
    pub(crate) fn refuse(&mut self, value: Place, key: Option<Place>, is_single: bool) {
        if is_single {
            self.refused.singles.insert(value.start, value.end);
        }
        self.refused.wholes.insert(value);
        self.refused.keys.extend(key);
    }

    /// Adds a finding.
    pub(crate) fn push(&mut self, mut draft: Draft) -> &mut Draft {
        if self.refused.covers(&draft) {
            draft.kept = false;
            return self.spare.insert(draft);
        }
        self.errors += usize::from(draft.severity == Severity::Error);
        let at = if let Some(at) = self.seen.get(&draft.identity()) {
            *at
        } else if self.drafts.len() < DIAGNOSTICS_MAX {
            self.seen.insert(draft.identity(), self.drafts.len());
            self.drafts.push(draft);
            self.drafts.len() - 1
        } else {
            if self.drafts.len() == DIAGNOSTICS_MAX {
                let text = format!("there are more problems than the first {DIAGNOSTICS_MAX}");
                self.drafts.push(Draft::error(&codes::TOO_MANY, draft.place, text));
            }
            draft.kept = false;
            self.drafts.push(draft);
            self.drafts.truncate(DIAGNOSTICS_MAX + 2);
            self.drafts.len() - 1
        };
        &mut self.drafts[at]
    }

    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: &'static Code,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Draft {
        self.push(Draft::error(code, place, message))
    }

    /// Adds a warning that lets the DAG run.
    pub(crate) fn warning(
        &mut self,
        code: &'static Code,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Draft {
        self.push(Draft::error(code, place, message).into_warning())
    }

    /// Adds a warning about something that this version cannot run.
    pub(crate) fn later(
        &mut self,
        code: &'static Code,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Draft {
        let draft = self.warning(code, place, message);
        draft.blocks_run = true;
        draft.help("`validate` and `plan` go on, `run` and `serve` refuse this DAG")
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether further findings are not kept. What was meant is then not looked for: that takes
    /// time for each name of the file, and nobody would see it.
    pub(crate) fn is_full(&self) -> bool {
        self.drafts.len() >= DIAGNOSTICS_MAX
    }

    /// `did you mean …?`, if one of the names is near enough to what was written.
    pub(crate) fn did_you_mean<'n>(
        &mut self,
        written: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<String> {
        self.nearest(written, names).map(|name| format!("did you mean `{name}`?"))
    }

    /// The name that was most likely meant.
    pub(crate) fn nearest<'n>(
        &mut self,
        written: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        if self.is_full() {
            return None;
        }
        let left = COMPARISONS_MAX.saturating_sub(self.comparisons);
        let mut seen = 0;
        let names = names.into_iter().take(left).inspect(|_| seen += 1);
        let nearest = nearest(written, names);
        self.comparisons += seen;
        nearest
    }

    /// Everything found, in the order of the file; the same place keeps the order of finding.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.drafts.truncate(DIAGNOSTICS_MAX + 1);
        let rest = self.drafts.split_off(self.drafts.len().min(DIAGNOSTICS_MAX));
        self.drafts.sort_by_key(|draft| draft.place.start);
        self.drafts.extend(rest);
        let source = self.source;
        self.drafts.into_iter().map(|draft| source.diagnostic(&draft)).collect()
    }
}

/// A sentence in the form of a help: a small letter first, no full stop.
pub(crate) fn as_help(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut letters = sentence.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str())
}

/// What a user wrote, in backticks; long texts are cut.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(CHARS_MAX).collect::<String>())
}

/// `a`, `b`, `c`; of long lists the first ones.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    words::listed(names.into_iter().map(quoted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}HERE{}", "é".repeat(500), "x".repeat(500));
        let mut report = Report::new(SourceText { path: Path::new("a.yaml"), text: &text });
        report.error(&codes::SYNTAX, Place::new(1_000, 1_004), "no");
        let diagnostics = report.finish();
        let found = &diagnostics[0];
        assert_eq!((found.column, found.length), (501, 4));
        let caret = (found.column - 1 - found.source_offset) as usize;
        let shown: String = found.source_line.chars().skip(caret).take(4).collect();
        assert_eq!(shown, "HERE");
    }

    #[test]
    fn too_many_findings_are_cut() {
        let text = "x";
        let mut report = Report::new(SourceText { path: Path::new("a.yaml"), text });
        for i in 0..1_000 {
            report.error(&codes::SYNTAX, Place::new(0, 1), format!("no {i}"));
            report.error(&codes::SYNTAX, Place::new(0, 1), format!("no {i}"));
        }
        let found = report.finish();
        assert_eq!(found.len(), DIAGNOSTICS_MAX + 1);
        assert_eq!(found.last().map(|d| d.code), Some("TM0012"));
    }
}
