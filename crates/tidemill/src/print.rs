//! How things are written for people: tables, counts, times.

use std::fmt::Write as _;
use std::time::Duration;

use tidemill_model::time::human_duration;

/// A count with separators: `541,909`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span from seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    human_duration(Duration::from_secs_f64(seconds.max(0.0)))
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table with a head; columns are as wide as their widest cell.
pub(crate) fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.max().unwrap_or(0).max(head[column].0.chars().count())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let names: Vec<String> = head.iter().map(|(name, _)| (*name).to_owned()).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        for (column, (_, align)) in head.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let fill = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            match align {
                Align::Left => _ = write!(line, "{cell}{fill}  "),
                Align::Right => _ = write!(line, "{fill}{cell}  "),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The mark of a state, so that colour is not needed to see it.
pub(crate) fn mark(state: &str) -> &'static str {
    match state {
        "succeeded" => "✓",
        "failed" => "✗",
        "upstream_failed" => "⊘",
        "skipped" => "↷",
        "cancelled" => "■",
        "running" => "▶",
        "up_for_retry" => "↻",
        _ => "·",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        assert_eq!(
            [number(0), number(999), number(1_000), number(8_737_227_640)],
            ["0", "999", "1,000", "8,737,227,640"]
        );
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows =
            [vec!["orders".to_owned(), "12".to_owned()], vec!["a".to_owned(), "1,000".to_owned()]];
        let text = table(&[("task", Align::Left), ("rows", Align::Right)], &rows);
        assert_eq!(text, "task     rows\norders     12\na       1,000\n");
    }
}
