//! `render`: message texts, one a row, from templates.
//!
//! * [`config`]: the settings; `template`: one compiled template, with its limits and errors;
//! * `context`: the columns of a batch as values that templates read; `pass`: one pass over a table.

mod config;
mod context;
mod pass;
mod template;

use async_trait::async_trait;
use tidemill_connector::config::Findings;
use tidemill_connector::{Beforehand, ConnectorError, Description, Transform, TransformContext};

use self::template::Template;

pub use config::{Escape, FullSource, Nulls, RenderConfig, TemplateSource};

/// The transform.
#[derive(Debug, Clone, Copy)]
pub struct Render;

#[async_trait]
impl Transform for Render {
    type Config = RenderConfig;

    const NAME: &'static str = "render";
    const SUMMARY: &'static str = "Writes message texts, one a row, from Jinja templates over the \
        columns of a table.";
    const EXAMPLE: &'static str = r#"
from: audience
id: customer_id
json: [recs]
columns:
  subject: "{{ first_name or 'Hello' }}, {{ recs | length }} ideas for you"
  text: |
    {% for rec in recs %}* {{ rec.title }}
    {% endfor %}
  html: "<ul>{% for rec in recs %}<li>{{ rec.title }}</li>{% endfor %}</ul>"
keep: [customer_id, email]
"#;

    fn check(config: &RenderConfig, found: &mut Findings) {
        let texts = if config.columns.is_empty() {
            Err(ConnectorError::misconfigured("`columns` names no text to write")
                .help("add a template: `columns: {text: …}`"))
        } else {
            Ok(())
        };
        found.note(&[&["columns"]], texts);
    }

    async fn describe(
        &self,
        config: RenderConfig,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        let Some(input) = before.tables.get(&config.from) else {
            return Ok(Description::default());
        };
        let names: Vec<&str> = input.fields().iter().map(|field| field.name().as_str()).collect();
        let mut errors = Vec::new();
        for (column, source) in &config.columns {
            let found = match Template::compile(column, source, config.nulls, before.folder) {
                Ok(template) => template.errors(&names),
                Err(error) => vec![error],
            };
            let key = source.key();
            errors.extend(found.into_iter().map(|error| match key {
                Some(key) => error.blame(&["columns", column, key]),
                None => error.blame(&["columns", column]),
            }));
        }
        Ok(Description { errors, ..Description::default() })
    }

    async fn run(&self, config: RenderConfig, cx: TransformContext) -> Result<(), ConnectorError> {
        let table = cx.table(&config.from)?;
        let mut pass = pass::Pass::new(&config, &table.schema(), &cx)?;
        for batch in table.scan()? {
            pass.take(&batch?)?;
        }
        pass.finish()
    }
}
