//! From the arranged tree to text.

use super::flow::{self, INDENT};
use super::quote::{Where, one_line};
use crate::yaml::layout::{Aside, Document, Form, Group, Line, Member, Scalar, Shape, Value};

/// A comment with more space before it stands in a column with others, and keeps it.
const GAP_MAX: usize = 2;

/// The text of a document.
pub(super) fn print(document: &Document<'_>) -> String {
    let mut printer = Printer::default();
    printer.lines(&document.head, 0);
    if let Some(root) = &document.root {
        printer.root(root);
    }
    printer.lines(&document.end, 0);
    printer.text
}

#[derive(Default)]
struct Printer {
    text: String,
    /// Whether a blank line would become a part of the text above.
    is_open: bool,
}

impl Printer {
    fn root(&mut self, root: &Value<'_>) {
        if !root.marks.is_empty() {
            self.line(&root.marks.join(" "), None);
        }
        match root.group() {
            Some(group) if !group.is_flow => {
                self.members(group, 0, "");
                self.lines(&group.end, 0);
            }
            _ => self.line(&flow::text(root, usize::MAX).unwrap_or_default(), None),
        }
    }

    fn line(&mut self, line: &str, aside: Option<Aside<'_>>) {
        self.text.push_str(line);
        if let Some(aside) = aside {
            let width = line.chars().count();
            let gap = match aside.gap {
                gap @ ..=GAP_MAX => gap.max(1),
                _ => aside.column.saturating_sub(width).max(GAP_MAX),
            };
            self.text.extend(std::iter::repeat_n(' ', gap));
            self.text.push_str(aside.text);
        }
        self.text.push('\n');
        self.is_open = false;
    }

    fn blank(&mut self) {
        let is_after_blank = self.text.is_empty() || self.text.ends_with("\n\n");
        if !self.is_open && !is_after_blank {
            self.text.push('\n');
        }
    }

    fn lines(&mut self, lines: &[Line<'_>], indent: usize) {
        for line in lines {
            match line {
                Line::Blank => self.blank(),
                Line::Comment(text) => self.line(&format!("{:indent$}{text}", ""), None),
            }
        }
    }

    /// Writes members; the first one stands behind `opening`, which is as wide as the indentation.
    fn members(&mut self, group: &Group<'_>, indent: usize, opening: &str) {
        let mut is_after_long = false;
        for (at, member) in group.members.iter().enumerate() {
            let is_long = is_long(member);
            if at == 0 {
                self.first_lines(&member.lead, indent);
                self.member(member, indent, opening);
            } else {
                let has_blank = member.lead.contains(&Line::Blank);
                if group.is_spaced && (is_long || is_after_long) && !has_blank {
                    self.blank();
                }
                self.lines(&member.lead, indent);
                self.member(member, indent, &" ".repeat(indent));
            }
            is_after_long = is_long;
        }
    }

    /// A block begins with no blank line, unless it sets a comment apart.
    fn first_lines(&mut self, lines: &[Line<'_>], indent: usize) {
        if lines.iter().any(|line| *line != Line::Blank) {
            self.lines(lines, indent);
        }
    }

    fn member(&mut self, member: &Member<'_>, indent: usize, opening: &str) {
        let line = format!("{opening}{}", flow::head(member));
        let inner = indent + INDENT;
        match &member.value.shape {
            Shape::Scalar(scalar) => self.scalar(scalar, &line, member.aside, inner),
            Shape::List(group) | Shape::Map(group) if !group.is_flow => {
                if member.key.is_none() && member.value.marks.is_empty() {
                    self.members(group, inner, &format!("{line} "));
                } else {
                    self.line(&line, member.aside);
                    self.members(group, inner, &" ".repeat(inner));
                }
                self.lines(&group.end, inner);
            }
            _ => {
                let text = flow::text(&member.value, usize::MAX).unwrap_or_default();
                self.line(&format!("{line} {text}"), member.aside);
            }
        }
        self.lines(&member.foot, inner);
    }

    fn scalar(&mut self, scalar: &Scalar<'_>, line: &str, aside: Option<Aside<'_>>, indent: usize) {
        if scalar.is_block() && scalar.text.contains(|c| c != ' ' && c != '\n') {
            return self.block(scalar, line, aside, indent);
        }
        if scalar.is_block() || scalar.lines.len() < 2 {
            let text = one_line(scalar, Where::Line);
            let space = if text.is_empty() { "" } else { " " };
            return self.line(&format!("{line}{space}{text}"), aside);
        }
        let mut lines = scalar.lines.iter();
        let first = lines.next().copied().unwrap_or_default();
        let mut line = format!("{line} {first}");
        for next in lines {
            self.line(&line, None);
            line = if next.is_empty() { String::new() } else { format!("{:indent$}{next}", "") };
        }
        self.line(&line, aside);
    }

    /// `|` and `>`: what is meant tells how they end.
    fn block(&mut self, scalar: &Scalar<'_>, line: &str, aside: Option<Aside<'_>>, indent: usize) {
        let style = if scalar.form == Form::Literal { '|' } else { '>' };
        let first = scalar.lines.iter().find(|line| !line.is_empty());
        let is_deep = first.is_some_and(|line| line.starts_with(' '));
        let deep = if is_deep { "2" } else { "" };
        let breaks = scalar.text.len() - scalar.text.trim_end_matches('\n').len();
        let end = match breaks {
            0 => "-",
            1 => "",
            _ => "+",
        };
        self.line(&format!("{line} {style}{deep}{end}"), aside);
        for line in &scalar.lines {
            if line.is_empty() {
                self.text.push('\n');
            } else {
                self.line(&format!("{:indent$}{line}", ""), None);
            }
        }
        self.text.extend(std::iter::repeat_n('\n', breaks.saturating_sub(1)));
        self.is_open = breaks > 1;
    }
}

/// Whether a member takes more than one line.
fn is_long(member: &Member<'_>) -> bool {
    let is_long = match &member.value.shape {
        Shape::Scalar(scalar) => scalar.is_block() || scalar.lines.len() > 1,
        Shape::Alias(_) => false,
        Shape::List(group) | Shape::Map(group) => !group.is_flow,
    };
    is_long || !member.foot.is_empty()
}
