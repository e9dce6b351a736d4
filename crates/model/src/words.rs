//! Small matters of English in messages: one row, two rows, an integer.

use std::fmt::Display;

/// `row` for one, `rows` for any other number.
pub fn noun(n: impl TryInto<u64>, one: &str) -> String {
    if n.try_into().is_ok_and(|n| n == 1) { one.to_owned() } else { format!("{one}s") }
}

/// `1 row`, `2 rows`, `0 rows`.
pub fn counted<N: TryInto<u64> + Display + Copy>(n: N, one: &str) -> String {
    format!("{n} {}", noun(n, one))
}

/// `a string`, `an integer`.
pub fn a(word: &str) -> String {
    let article =
        if word.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// The first letters of a text, with a sign that there are more.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Names for a message: all of a few, the first of many.
pub fn listed<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    const NAMES_MAX: usize = 30;
    let mut names = names.into_iter();
    let shown: Vec<T> = names.by_ref().take(NAMES_MAX).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match (shown.join(", "), names.count()) {
        (none, 0) if none.is_empty() => "nothing".to_owned(),
        (shown, 0) => shown,
        (shown, more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..32).map(|i| format!("c{i}")).collect();
        assert!(listed(&names).ends_with("c29 and 2 more"));
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed::<&str>([]), "nothing");
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!([cut("", 2), cut("éa", 2), cut("éab", 2), cut("a", 0)], ["", "éa", "éa…", "…"]);
    }

    #[test]
    fn one_and_many() {
        assert_eq!(
            [counted(0, "row"), counted(1, "row"), counted(2, "row")],
            ["0 rows", "1 row", "2 rows"]
        );
        assert_eq!(counted(-1_i64, "row"), "-1 rows");
    }

    #[test]
    fn articles() {
        assert_eq!(
            [a("string"), a("integer"), a("object")],
            ["a string", "an integer", "an object"]
        );
        assert_eq!(a("utf8"), "a utf8");
    }
}
