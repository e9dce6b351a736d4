//! The settings of a `profiles` sink.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Settings of a `profiles` sink.
///
/// Each row becomes a JSON object, which starts with the id under the name of its column and ends
/// with `meta`: `version` (which counts the changes of the profile), `updated_at`, and what the
/// setting `meta` adds. Nulls are left out, and so are objects of which nothing is left; inside
/// lists, structs and JSON texts they stay. Dates and instants are texts in RFC 3339.
///
/// A load owns the top-level keys that it writes, so several loads may each keep a part of the same
/// profiles. A row that changes nothing leaves its profile as it is, version and all. Nothing is
/// seen before the end of the load. Two rows with the same id are an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilesConfig {
    /// The column with the id: a text of 1 to 128 bytes, or an integer.
    pub id: String,
    /// The shape of a profile: keys with the name of a column, or with a mapping of the same kind.
    /// Without it, every column is a key of its name; a column `tx.frequency` is the key
    /// `frequency` of the object `tx`.
    #[serde(default)]
    #[schemars(schema_with = "nodes_schema")]
    pub document: IndexMap<String, Node>,
    /// Columns with JSON texts, which are stored as the lists and objects that they write.
    #[serde(default)]
    pub json: Vec<String>,
    /// Columns by whose values a profile can be found: `email:a@b.test`. A row without a value has
    /// no such identity.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub identities: Vec<IdentityColumn>,
    /// What stands in `meta` beside `version` and `updated_at`, in the form of `document`.
    #[serde(default)]
    #[schemars(schema_with = "nodes_schema")]
    pub meta: IndexMap<String, Node>,
    /// What becomes of profiles that are there.
    #[serde(default)]
    pub mode: Mode,
}

/// A column or an object of columns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Node {
    /// The column with the value.
    Column(String),
    /// An object.
    Object(IndexMap<String, Node>),
}

impl JsonSchema for Node {
    fn schema_name() -> Cow<'static, str> {
        "Node".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let node = generator.subschema_for::<Node>();
        json_schema!({
            "description": "The name of a column, or an object of such names.",
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": node, "minProperties": 1},
            ],
        })
    }
}

fn nodes_schema(generator: &mut SchemaGenerator) -> Schema {
    let node = generator.subschema_for::<Node>();
    json_schema!({"type": "object", "additionalProperties": node, "default": {}})
}

/// A column whose values lead to profiles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityColumn {
    /// The type of identity, for example `email`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub kind: String,
    /// The column with its value.
    pub column: String,
}

/// What becomes of profiles that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Profiles without a row stay, and so do the keys of other loads.
    #[default]
    Merge,
    /// Profiles without a row are removed, and the others hold what their row says and nothing
    /// else.
    Replace,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidemill_connector::config::{parse, schema_of};

    use super::*;

    #[test]
    fn documents_nest() {
        let settings =
            json!({"id": "c", "document": {"email": "e", "tx": {"n": "n", "a": {"b": "b"}}}});
        let config: ProfilesConfig = parse("connector", "profiles", settings).expect("settings");
        let keys: Vec<&String> = config.document.keys().collect();
        assert_eq!(keys, ["email", "tx"]);
        let Node::Object(tx) = &config.document["tx"] else { panic!("an object") };
        assert_eq!(tx["n"], Node::Column("n".to_owned()));
        assert!(matches!(&tx["a"], Node::Object(_)));
    }

    #[test]
    fn the_schema_nests() {
        let schema = schema_of::<ProfilesConfig>();
        let node = json!({"$ref": "#/$defs/Node"});
        assert_eq!(schema["properties"]["document"]["additionalProperties"], node);
        assert_eq!(schema["$defs"]["Node"]["anyOf"][1]["additionalProperties"], node);
    }
}
