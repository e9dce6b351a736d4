//! The frame of a new connector: one file; the line in the list is left to its author.

use std::path::Path;

/// Writes `crates/connectors/src/NAME.rs` and says what is left to do.
pub(crate) fn connector(root: &Path, name: &str) -> Result<String, String> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letters) {
        return Err(format!("`{name}` is no connector name: use `[a-z][a-z0-9_]*`"));
    }
    let path = root.join("crates/connectors/src").join(format!("{name}.rs"));
    if path.exists() {
        return Err(format!("{} exists already", path.display()));
    }
    std::fs::write(&path, frame(name))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(format!(
        "wrote {}\nnow add `mod {name};` and `Arc::new({name}::{})` to crates/connectors/src/lib.rs, \
         and see docs/writing-a-connector.md",
        path.display(),
        camel(name)
    ))
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}

fn frame(name: &str) -> String {
    let camel = camel(name);
    format!(
        r#"//! `{name}`: rows from … and to …, in one sentence.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{{Connector, ConnectorError, Guarantee, Source, SourceContext}};

/// Settings of a `{name}` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct {camel}SourceConfig {{
    /// What to read, for example `orders`.
    pub name: String,
}}

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct {camel};

#[async_trait]
impl Connector for {camel} {{
    type SourceConfig = {camel}SourceConfig;
    type SinkConfig = NoConfig;

    const NAME: &'static str = "{name}";
    const SUMMARY: &'static str = "Rows from ….";
    const SOURCE_EXAMPLE: &'static str = "{{name: orders}}";
    const SINK_EXAMPLE: &'static str = "";
    const GUARANTEE: Option<Guarantee> = None;

    async fn source(
        &self,
        config: {camel}SourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {{
        let _ = cx;
        Err(ConnectorError::misconfigured(format!("there is no `{{}}`", config.name)))
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types() {
        assert_eq!(camel("my_system"), "MySystem");
        assert!(frame("my_system").contains("impl Connector for MySystem"));
        assert!(connector(Path::new("/nowhere"), "My-System").is_err());
    }
}
