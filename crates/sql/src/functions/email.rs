//! `normalize_email`.

use datafusion::common::Result;

use super::{ArrayRef, FunctionDoc, Kind, RowFunction, map_text};

pub(super) static NORMALIZE_EMAIL: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "normalize_email",
        signature: "normalize_email(text) → text",
        doc: "An address in the form in which two can be compared: without white space around it, \
              in small letters. Null for what is no address: not exactly one `@` with something on \
              both sides, or white space within.",
        example: "normalize_email('  Ada@Example.COM ')",
        gives: "ada@example.com",
    },
    takes: &[Kind::Text],
    gives: Kind::Text,
    call: normalize_email,
};

fn normalize_email(columns: &[ArrayRef]) -> Result<ArrayRef> {
    map_text(&columns[0], |text, out| out.append_option(normalized(text)))
}

fn normalized(text: &str) -> Option<String> {
    let text = text.trim();
    let (local, domain) = text.split_once('@')?;
    let whole = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
    (whole && !text.contains(char::is_whitespace)).then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(normalized(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn addresses_are_compared_in_one_form() {
        check("Ada@Example.com", Some("ada@example.com"));
        check("\tada+news@example.com\n", Some("ada+news@example.com"));
        check("ÄNNE@MÜLLER.test", Some("änne@müller.test"));
        check("ada", None);
        check("@example.com", None);
        check("ada@", None);
        check("a@b@c", None);
        check("ada lovelace@example.com", None);
        check("", None);
    }
}
