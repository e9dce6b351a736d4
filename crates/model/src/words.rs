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

#[cfg(test)]
mod tests {
    use super::*;

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
