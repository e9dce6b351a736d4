//! The settings of `clean`.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Settings of a `clean` transform.
///
/// It makes three tables: the rows that pass, named like the task; `TASK.rejects`, the rows set
/// aside, with the further column `reason`; and `TASK.duplicates`. Rows keep their order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-outputs" = ["rejects", "duplicates"]))]
pub struct CleanConfig {
    /// The table to clean.
    #[schemars(extend("format" = "table"))]
    pub from: String,
    /// Which rows repeat an earlier one: `all` compares all columns, a list only these. The first
    /// of equal rows goes on, the others go to `TASK.duplicates`. Two nulls are equal. Without it,
    /// no row counts as repeated.
    #[serde(default)]
    pub dedupe: Option<Dedupe>,
    /// Reasons to set a row aside, tried in this order: the first that holds is given. A condition
    /// that is null does not hold, and a condition sees only rows to which none before it applied.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub reject: Vec<RejectRule>,
    /// The columns of the rows that pass: a name, and an expression over the columns of `from`.
    /// Without it they keep all their columns.
    #[serde(default)]
    #[schemars(schema_with = "columns_schema")]
    pub columns: IndexMap<String, String>,
}

/// A reason to set rows aside.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectRule {
    /// The reason, as a word that can be counted.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub reason: String,
    /// It applies to rows for which this SQL expression holds.
    #[serde(rename = "where")]
    #[schemars(extend("format" = "sql-expr"))]
    pub condition: String,
}

/// What makes a row a repetition of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedupe {
    /// All its columns.
    All,
    /// These columns.
    Columns(Vec<String>),
}

impl<'de> Deserialize<'de> for Dedupe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Dedupe;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("`all` or a list of columns")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Dedupe, E> {
                match text {
                    "all" => Ok(Dedupe::All),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dedupe, A::Error> {
                let mut columns: Vec<String> = Vec::new();
                while let Some(column) = list.next_element::<String>()? {
                    if !columns.contains(&column) {
                        columns.push(column);
                    }
                }
                if columns.is_empty() {
                    return Err(de::Error::invalid_length(0, &"at least one column"));
                }
                Ok(Dedupe::Columns(columns))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Dedupe {
    fn schema_name() -> Cow<'static, str> {
        "Dedupe".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`all`, or the columns whose values make two rows equal.",
            "anyOf": [
                {"const": "all"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        })
    }
}

fn columns_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "format": "sql-expr"},
        "default": {},
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidemill_connector::config::{parse, schema_of};

    use super::*;

    #[test]
    fn dedupe_takes_a_word_or_columns() {
        let check = |value: serde_json::Value, expected: Result<Dedupe, &str>| {
            let read = serde_json::from_value::<Dedupe>(value).map_err(|e| e.to_string());
            assert_eq!(read, expected.map_err(str::to_owned));
        };
        check(json!("all"), Ok(Dedupe::All));
        check(json!(["a", "b", "a"]), Ok(Dedupe::Columns(vec!["a".into(), "b".into()])));
        check(
            json!("any"),
            Err("invalid value: string \"any\", expected `all` or a list of columns"),
        );
        check(json!([]), Err("invalid length 0, expected at least one column"));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = parse::<CleanConfig>("transform", "clean", json!({"from": "t", "rejects": []}))
            .expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "transform `clean` has no setting `rejects`; did you mean `reject`?"
        );
    }

    #[test]
    fn the_schema_says_what_texts_mean() {
        let schema = schema_of::<CleanConfig>();
        assert_eq!(schema["x-outputs"], json!(["rejects", "duplicates"]));
        assert_eq!(schema["properties"]["from"]["format"], "table");
        assert_eq!(schema["properties"]["columns"]["additionalProperties"]["format"], "sql-expr");
        assert_eq!(schema["$defs"]["RejectRule"]["properties"]["where"]["format"], "sql-expr");
    }
}
