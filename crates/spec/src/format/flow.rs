//! Lists and mappings in brackets: `{a: 1, b: [x, y]}`, where they fit.

use super::quote::{Where, one_line};
use crate::yaml::layout::{Group, Line, Member, Shape, Value};

/// A line has so many columns, the comment beside it aside.
const COLUMNS_MAX: usize = 100;
/// A row, which is a mapping in brackets behind a `-`, may be longer: among others it reads best on
/// one line.
const ROW_COLUMNS_MAX: usize = 120;
/// What is written below a line is so much deeper.
pub(super) const INDENT: usize = 2;

/// Breaks up what does not fit on its line, or has comments inside.
pub(super) fn settle(root: &mut Value<'_>) {
    if let Some(group) = root.group_mut() {
        group.is_flow &= group.members.is_empty() && group.end.is_empty();
        members(group, 0);
    }
}

fn members(group: &mut Group<'_>, indent: usize) {
    for member in &mut group.members {
        let before = indent + head(member).chars().count() + 1;
        let is_flow = member.value.group().is_some_and(|group| group.is_flow);
        let is_row = member.key.is_none() && matches!(member.value.shape, Shape::Map(_));
        let columns = if is_row { ROW_COLUMNS_MAX } else { COLUMNS_MAX };
        if is_flow && text(&member.value, columns.saturating_sub(before)).is_none() {
            break_up(member);
        }
        if let Some(group) = member.value.group_mut().filter(|group| !group.is_flow) {
            members(group, indent + INDENT);
            member.lift();
        }
    }
}

fn break_up(member: &mut Member<'_>) {
    let Some(group) = member.value.group_mut() else { return };
    if group.members.is_empty() {
        // Brackets around nothing but comments.
        member.foot.append(&mut group.end);
        return;
    }
    group.is_flow = false;
}

/// What stands before a value on its line: the key or the `-`, its anchor and its tag.
pub(super) fn head(member: &Member<'_>) -> String {
    let mut head = match &member.key {
        None => "-".to_owned(),
        Some(key) => format!("{}:", key_text(key)),
    };
    for mark in &member.value.marks {
        head.push(' ');
        head.push_str(mark);
    }
    head
}

fn key_text(key: &Value<'_>) -> String {
    let mut text = String::new();
    write_marks(key, &mut text);
    match &key.shape {
        Shape::Scalar(scalar) => text.push_str(&one_line(scalar, Where::Key)),
        Shape::Alias(alias) => {
            text.push_str(alias.name);
            // Its name would go on with the colon.
            text.push(' ');
        }
        Shape::List(_) | Shape::Map(_) => {}
    }
    text
}

fn write_marks(value: &Value<'_>, text: &mut String) {
    for mark in &value.marks {
        text.push_str(mark);
        text.push(' ');
    }
}

/// A value on one line without its own anchor and tag; `None` where it has comments inside or more
/// than `room` characters.
pub(super) fn text(value: &Value<'_>, room: usize) -> Option<String> {
    let mut text = String::new();
    write(value, room, &mut text)?;
    (text.chars().count() <= room).then_some(text)
}

fn write(value: &Value<'_>, room: usize, text: &mut String) -> Option<()> {
    // A character has at most four bytes.
    if text.len() > room.saturating_mul(4) {
        return None;
    }
    let (group, brackets) = match &value.shape {
        Shape::Scalar(scalar) => {
            text.push_str(&one_line(scalar, Where::Flow));
            return Some(());
        }
        Shape::Alias(alias) => {
            text.push_str(alias.name);
            return Some(());
        }
        Shape::List(group) => (group, ['[', ']']),
        Shape::Map(group) => (group, ['{', '}']),
    };
    if !group.end.is_empty() {
        return None;
    }
    text.push(brackets[0]);
    for (at, member) in group.members.iter().enumerate() {
        if has_comment(member) {
            return None;
        }
        if at > 0 {
            text.push_str(", ");
        }
        write_head(member, text);
        write(&member.value, room, text)?;
    }
    text.push(brackets[1]);
    Some(())
}

fn write_head(member: &Member<'_>, text: &mut String) {
    if let Some(key) = &member.key {
        text.push_str(&key_text(key));
        text.push_str(": ");
    }
    write_marks(&member.value, text);
}

fn has_comment(member: &Member<'_>) -> bool {
    let is_comment = |line: &Line<'_>| *line != Line::Blank;
    member.aside.is_some() || member.lead.iter().chain(&member.foot).any(is_comment)
}
