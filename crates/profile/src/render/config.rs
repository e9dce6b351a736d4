//! The settings of `render`.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Settings of a `render` transform.
///
/// The result has the columns of `from`, or those that `keep` names, and then a column of text for
/// each template. Rows keep their order.
///
/// A template reads a column by its name; lists and structs are lists and objects, and so are the
/// columns of `json`. Dates and instants are texts in RFC 3339. A name that no column has is an
/// error, as is a key that an object does not have. Templates may include files beside the DAG
/// file. A text has at most 1 MiB.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenderConfig {
    /// The table, a message a row.
    #[schemars(extend("format" = "table"))]
    pub from: String,
    /// The column that names a row in error messages.
    #[serde(default)]
    pub id: Option<String>,
    /// The texts to write, by the names of their columns: a Jinja template, or a mapping with
    /// `text` or `file`. In columns whose name ends in `html`, values are escaped for HTML.
    #[schemars(schema_with = "columns_schema")]
    pub columns: IndexMap<String, TemplateSource>,
    /// Columns with JSON texts that templates read as lists and objects.
    #[serde(default)]
    pub json: Vec<String>,
    /// What a null is where a template writes it.
    #[serde(default)]
    pub nulls: Nulls,
    /// The columns of `from` that the result keeps. Without it, all.
    #[serde(default)]
    pub keep: Option<Vec<String>>,
}

/// Where a template comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TemplateSource {
    /// It stands here.
    Text(String),
    /// It stands here or in a file, with further settings.
    Full(FullSource),
}

impl TemplateSource {
    /// The key below the column under which the template, or the name of its file, stands.
    pub(super) fn key(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => None,
            Self::Full(full) if full.file.is_some() => Some("file"),
            Self::Full(_) => Some("text"),
        }
    }
}

/// A template with further settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullSource {
    /// The template.
    #[serde(default)]
    pub text: Option<String>,
    /// The file with the template, relative to the folder of the DAG file.
    #[serde(default)]
    pub file: Option<String>,
    /// How values are escaped, if not by the name of the column.
    #[serde(default)]
    pub escape: Option<Escape>,
}

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// For HTML.
    Html,
    /// Not at all.
    None,
}

/// What a null is where a template writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// Nothing.
    #[default]
    Empty,
    /// An error; a template says what to write instead: `{{ name or 'friend' }}`.
    Error,
}

fn columns_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                {"type": "string", "format": "template"},
                {
                    "type": "object",
                    "properties": {
                        "text": {
                            "type": "string",
                            "format": "template",
                            "description": "The template.",
                        },
                        "file": {
                            "type": "string",
                            "format": "path",
                            "description": "The file with the template, relative to the folder \
                                of the DAG file.",
                        },
                        "escape": {
                            "enum": ["html", "none"],
                            "description": "How values are escaped, if not by the name of the \
                                column.",
                        },
                    },
                    "additionalProperties": false,
                },
            ],
        },
        "minProperties": 1,
        "maxProperties": 100,
    })
}
