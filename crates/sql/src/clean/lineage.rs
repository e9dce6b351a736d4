//! Where the columns of cleaned rows come from.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use tidemill_connector::{Binds, ConnectorError};
use tidemill_model::lineage::{Origins, TableLineage, Way};

use super::config::{CleanConfig, Dedupe};
use super::pass;
use crate::engine::Engine;
use crate::expr::RowExpr;

/// The lineage of the rows that pass, of those set aside and of those that were repeated.
pub(super) fn of(
    engine: &Engine,
    config: &CleanConfig,
    input: &SchemaRef,
    binds: &Binds,
) -> Result<BTreeMap<String, TableLineage>, ConnectorError> {
    let names = || input.fields().iter().map(|field| field.name().as_str());
    let same = || TableLineage::same(&config.from, names());
    let mut good = match pass::projection(engine, config, input, binds)? {
        None => same(),
        Some((schema, columns)) => {
            let names = schema.fields().iter().map(|field| field.name().clone());
            let origins = columns.iter().map(|column| column.origins(&config.from, input));
            TableLineage { columns: names.zip(origins).collect(), ..TableLineage::default() }
        }
    };
    for rule in &config.reject {
        let condition = engine.condition(&rule.condition, input, binds)?;
        good.rows.add(&condition.origins(&config.from, input).then(Way::Filter));
    }
    let repeated: Vec<&str> = match &config.dedupe {
        None => Vec::new(),
        Some(Dedupe::All) => names().collect(),
        Some(Dedupe::Columns(columns)) => columns.iter().map(String::as_str).collect(),
    };
    for column in repeated {
        good.rows.add(&Origins::identity(&config.from, column).then(Way::Filter));
    }
    let mut rejects = same();
    rejects.columns.insert("reason".to_owned(), good.rows.clone());
    Ok(BTreeMap::from([
        (String::new(), good),
        ("rejects".to_owned(), rejects),
        ("duplicates".to_owned(), same()),
    ]))
}

impl RowExpr {
    /// Where its values come from, if `schema` is what it was compiled for and the columns are those
    /// of the table `table`.
    pub fn origins(&self, table: &str, schema: &SchemaRef) -> Origins {
        let names = self.columns().iter().map(|at| schema.field(*at).name());
        let way = |name: &str| {
            let is_it = self.text() == name || self.text() == format!("\"{name}\"");
            if is_it { Way::Identity } else { Way::Transformation }
        };
        names.map(|name| Origins::identity(table, name).then(way(name))).collect()
    }
}
