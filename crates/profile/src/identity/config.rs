//! The settings of `identity`.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tidemill_connector::ConnectorError;

/// Settings of an `identity` transform.
///
/// Identities that stand in one row belong together, and so do those that are joined by a chain of
/// rows. Nulls and empty texts are no identities. The order of rows and tables does not matter.
///
/// The result has one row for each identity, in the order of `identity`: `identity`
/// (`type:value`), `type`, `value`, the id of its group in a column named by `as`, `conflict`, and
/// `group_size`. A group with one identity of the type `id` is named by its value; one without is
/// named by its first identity, in the form `type:value`. `TASK.conflicts` has one row for each
/// group in conflict: its first identity (`identity`), `reason` (`several_ids` or `too_large`),
/// `group_size` and `ids`, a JSON list of at most 100 values of the type `id`.
///
/// No row of an input is changed: join the result where an identity has to become a customer, for
/// example `coalesce(events.customer_id, identities.customer_id)`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-outputs" = ["conflicts"]))]
pub struct IdentityConfig {
    /// The tables whose rows join identities.
    #[schemars(length(min = 1, max = 100))]
    pub links: Vec<Link>,
    /// The type of identity that names a group, for example `customer`.
    pub id: String,
    /// The column with the id of the group. Without it, the type and `_id`: `customer_id`.
    #[serde(default, rename = "as")]
    pub column: Option<String>,
    /// Larger groups are in conflict, and their identities are not put together: a value that many
    /// share, such as a test address, joins what does not belong together.
    #[serde(default = "max_group")]
    #[schemars(range(min = 2))]
    pub max_group: u64,
    /// What becomes of a group with several identities of the type `id`. It is in conflict either
    /// way.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

fn max_group() -> u64 {
    50
}

/// A table whose rows join identities.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The table.
    #[schemars(extend("format" = "table"))]
    pub from: String,
    /// The columns with identities, by the type of identity: a column, or a list of columns.
    #[schemars(schema_with = "columns_schema")]
    pub columns: IndexMap<String, SourceColumns>,
}

/// One column or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum SourceColumns {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl SourceColumns {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// What becomes of a group with several identities of the type that names groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// All are put together under the smallest of these ids, as texts.
    #[default]
    Smallest,
    /// Nothing is put together: each identity is named by itself.
    Separate,
}

fn columns_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {"pattern": TYPE_PATTERN},
        "additionalProperties": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        },
        "minProperties": 1,
    })
}

const TYPE_PATTERN: &str = "^[a-z][a-z0-9_]{0,62}$";

impl IdentityConfig {
    /// Refuses settings that make no sense.
    pub(super) fn check(&self) -> Result<(), ConnectorError> {
        let types = self.types();
        if let Some(bad) = types.iter().find(|kind| !is_type(kind)) {
            let message = format!("`{bad}` is no type of identity");
            return Err(ConnectorError::misconfigured(message)
                .help("a type is a word of lowercase letters, digits and `_`"));
        }
        if !types.contains(&self.id.as_str()) {
            let message = format!("no link has a column of the type `{}`", self.id);
            return Err(ConnectorError::misconfigured(message)
                .help(format!("`id` names one of the types: {}", types.join(", "))));
        }
        Ok(())
    }

    /// The types of identities, in the order of their names.
    pub(super) fn types(&self) -> Vec<&str> {
        let mut types: Vec<&str> =
            self.links.iter().flat_map(|link| link.columns.keys()).map(String::as_str).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// The position of a type in the order of their names.
    pub(super) fn type_number(&self, kind: &str) -> u16 {
        let types = self.types();
        types.iter().position(|other| *other == kind).unwrap_or(types.len()) as u16
    }

    /// The column with the id of the group.
    pub(super) fn column(&self) -> String {
        self.column.clone().unwrap_or_else(|| format!("{}_id", self.id))
    }
}

fn is_type(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidemill_connector::config::{parse, schema_of};

    use super::*;

    #[test]
    fn types_are_checked() {
        let check = |columns: Value, id: &str, expected: Result<(), &str>| {
            let config: IdentityConfig = parse(
                "transform",
                "identity",
                json!({"links": [{"from": "t", "columns": columns}], "id": id}),
            )
            .expect("settings");
            let got = config.check().map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned));
        };
        check(json!({"customer": "c", "email": ["a", "b"]}), "customer", Ok(()));
        check(
            json!({"customer": "c", "email": "e"}),
            "customer_id",
            Err("no link has a column of the type `customer_id`; \
                 `id` names one of the types: customer, email"),
        );
        check(
            json!({"E-Mail": "c"}),
            "E-Mail",
            Err("`E-Mail` is no type of identity; \
                 a type is a word of lowercase letters, digits and `_`"),
        );
    }

    #[test]
    fn the_schema_names_tables_and_outputs() {
        let schema = schema_of::<IdentityConfig>();
        assert_eq!(schema["x-outputs"], json!(["conflicts"]));
        assert_eq!(schema["$defs"]["Link"]["properties"]["from"]["format"], "table");
    }
}
