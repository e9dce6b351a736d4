//! From a checked piece of a DAG file to a config struct.
//!
//! A config struct derives `Deserialize` and `JsonSchema` with `deny_unknown_fields`; its doc
//! comments become the reference page and the editor's hover. The schema is what the DAG language
//! checks a file against, so it carries these `format`s on strings, which say what a text means:
//!
//! | format | the text is | what the language does with it |
//! |---|---|---|
//! | `table` | the name of a table of this DAG | adds the dependency; an unknown name is a load error |
//! | `sql` | a query | parses it; tables it reads become dependencies; `$names` must be bound |
//! | `sql-expr` | a SQL expression over the columns of the input | parses it; `$names` must be bound |
//! | `template` | Jinja text | parses it |
//! | `path` | a path relative to the folder of the DAG file | nothing more |
//! | `duration` | `100ms 10s 5m 2h 1d` | parses it |
//! | `connection` | the name of a connection | an unknown name is a load error |
//!
//! and these extensions at the top of a transform's schema:
//!
//! * `x-outputs`: the names of the tables beside the main one, for example
//!   `["rejects", "duplicates"]`, or the text `"keys"` when an object's keys name them and there
//!   is no main table.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ConnectorError;

/// Reads a config struct from its JSON form.
///
/// The DAG language has checked the text against the schema when the file was loaded; what is
/// left are values that an expression gave at run time.
pub fn parse<T: DeserializeOwned>(
    kind: &str,
    name: &str,
    config: Value,
) -> Result<T, ConnectorError> {
    serde_json::from_value(config).map_err(|error| {
        ConnectorError::misconfigured(format!("the settings of {kind} `{name}` are wrong: {error}"))
    })
}

/// The JSON Schema of a config struct, as a value without the `$schema` line.
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    schema
}
