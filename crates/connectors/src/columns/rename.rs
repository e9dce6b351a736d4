//! Names of columns: how a source renames them, and what a set of names must not be.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::ConnectorError;

/// How the columns of a source are renamed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Rename {
    /// By a rule for all columns.
    Rule(RenameRule),
    /// By name: `{old: new}`. Columns that are not named keep their names.
    Names(BTreeMap<String, String>),
}

/// A rule that renames every column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RenameRule {
    /// `CustomerID` becomes `customer_id`, `Unit Price` becomes `unit_price`.
    SnakeCase,
}

impl Rename {
    /// The new name of a column.
    pub(crate) fn apply<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::Rule(RenameRule::SnakeCase) => Cow::Owned(snake_case(name)),
            Self::Names(names) => Cow::Borrowed(names.get(name).map_or(name, String::as_str)),
        }
    }
}

/// The names as the source gives them on: renamed, none empty, no two the same.
pub(crate) fn rename_all(
    names: &[String],
    rename: Option<&Rename>,
    place: &str,
) -> Result<Vec<String>, ConnectorError> {
    if let Some(Rename::Names(map)) = rename
        && let Some(unknown) = map.keys().find(|old| !names.contains(old))
    {
        return Err(ConnectorError::misconfigured(format!(
            "`rename` names the column `{unknown}`, which the input does not have"
        ))
        .at(place)
        .blame(&["rename"])
        .missing(unknown)
        .help(format!("it has: {}", names.join(", "))));
    }
    let mut seen = HashSet::new();
    let mut renamed = Vec::with_capacity(names.len());
    for (index, old) in names.iter().enumerate() {
        let new =
            rename.map_or(Cow::Borrowed(old.as_str()), |rename| rename.apply(old)).into_owned();
        if new.is_empty() {
            return Err(ConnectorError::data(format!("column {} has no name", index + 1))
                .at(place)
                .help("name it in the file, or set `rename: {\"\": NAME}`"));
        }
        if !seen.insert(new.clone()) {
            return Err(duplicate(&new, old, place));
        }
        renamed.push(new);
    }
    Ok(renamed)
}

/// Refuses a name that no column can have; `None` is no setting at all.
pub(crate) fn check_new_name(key: &str, name: Option<&str>) -> Result<(), ConnectorError> {
    if name == Some("") {
        return Err(ConnectorError::misconfigured(format!("`{key}` is empty"))
            .help("write the name of the column, or leave the setting out"));
    }
    Ok(())
}

fn duplicate(new: &str, old: &str, place: &str) -> ConnectorError {
    let how = if new == old { String::new() } else { format!(" (from `{old}`)") };
    ConnectorError::data(format!("two columns have the name `{new}`{how}"))
        .at(place)
        .help("rename one of them in the file, or read it with `header: false` and `names`")
}

/// `CustomerID` → `customer_id`: words split where case, digits' neighbours or signs say so.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (index, &c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            continue;
        }
        let before = index.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(index + 1);
        let starts_word = c.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase()
                    || b.is_numeric()
                    || (b.is_uppercase() && after.is_some_and(|a| a.is_lowercase()))
            });
        if starts_word && !out.ends_with('_') {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    if out.ends_with('_') {
        out.pop();
    }
    if out.starts_with(|c: char| c.is_numeric()) {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn snake_case_of_names_in_the_wild() {
        for (name, expected) in [
            ("InvoiceNo", "invoice_no"),
            ("CustomerID", "customer_id"),
            ("Unit Price (GBP)", "unit_price_gbp"),
            ("Dt_Customer", "dt_customer"),
            ("AcceptedCmp3", "accepted_cmp3"),
            ("Z_CostContact", "z_cost_contact"),
            ("HTTPServer2Go", "http_server2_go"),
            ("already_snake", "already_snake"),
            ("1st visit", "_1st_visit"),
            ("Straße", "straße"),
            ("--", ""),
        ] {
            assert_eq!(snake_case(name), expected, "{name}");
        }
    }

    #[test]
    fn names_are_given_on_whole_and_unique() {
        let check = |names: &[&str], rename: Option<Rename>, expected: Result<&[&str], &str>| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let got = rename_all(&names, rename.as_ref(), "a.csv:1");
            match expected {
                Ok(new) => assert_eq!(got.unwrap(), new),
                Err(message) => assert_eq!(got.unwrap_err().to_string(), message),
            }
        };
        let snake = Some(Rename::Rule(RenameRule::SnakeCase));
        let named = |old: &str, new: &str| {
            Some(Rename::Names(BTreeMap::from([(old.to_owned(), new.to_owned())])))
        };
        check(&["A", "B"], None, Ok(&["A", "B"]));
        check(&["UserId", "B"], snake.clone(), Ok(&["user_id", "b"]));
        check(&["A", ""], named("", "id"), Ok(&["A", "id"]));
        check(
            &["A", "B"],
            named("C", "d"),
            Err(
                "`rename` names the column `C`, which the input does not have (a.csv:1); it has: A, B",
            ),
        );
        check(
            &["A", ""],
            None,
            Err(
                "column 2 has no name (a.csv:1); name it in the file, or set `rename: {\"\": NAME}`",
            ),
        );
        check(
            &["UserId", "user_id"],
            snake,
            Err("two columns have the name `user_id` (a.csv:1); rename one of them in the file, \
                 or read it with `header: false` and `names`"),
        );
    }

    proptest! {
        #[test]
        fn snake_case_of_snake_case_is_itself(name in "[A-Za-z0-9 _-]{0,20}") {
            let once = snake_case(&name);
            prop_assert_eq!(snake_case(&once), once);
        }
    }
}
