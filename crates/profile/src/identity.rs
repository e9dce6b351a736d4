//! `identity`: which identities belong together, found in the rows where they stand side by side.
//!
//! * [`config`]: the settings; `graph`: identities and their groups, as a pure structure;
//! * `tables`: the tables that come out.
//!
//! An identity is a type and a value, written `type:value`: `customer:17850`, `email:a@b.test`.

mod config;
mod graph;
mod tables;

use arrow::array::{Array, StringArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::config::Findings;
use tidemill_connector::{ConnectorError, Transform, TransformContext};

pub use config::{IdentityConfig, Link, OnConflict, SourceColumns};

use crate::cells::{column, ids};
use graph::Graph;

/// The transform.
#[derive(Debug, Clone, Copy)]
pub struct Identity;

/// Values of identities have at most this many bytes.
const VALUE_BYTES_MAX: usize = 512;

#[async_trait]
impl Transform for Identity {
    type Config = IdentityConfig;

    const NAME: &'static str = "identity";
    const SUMMARY: &'static str = "Finds which identities belong to one customer, from the rows \
        where they stand side by side.";
    const EXAMPLE: &'static str = "\
links:
  - {from: events, columns: {anonymous: anonymous_id, customer: customer_id}}
  - {from: crm, columns: {customer: customer_id, email: [email, second_email]}}
id: customer
";

    fn check(config: &IdentityConfig, found: &mut Findings) {
        found.note(&[&["id"], &["links"]], config.check());
    }

    async fn run(
        &self,
        config: IdentityConfig,
        cx: TransformContext,
    ) -> Result<(), ConnectorError> {
        let mut graph = Graph::new(config.types());
        for (at, link) in config.links.iter().enumerate() {
            read(link, &config, &cx, &mut graph)
                .map_err(|error| error.blame(&["links", &at.to_string()]))?;
        }
        tables::write(&graph.resolve(&config), &config, &cx)
    }
}

/// Adds the identities of a table, and their links, to the graph.
fn read(
    link: &Link,
    config: &IdentityConfig,
    cx: &TransformContext,
    graph: &mut Graph,
) -> Result<(), ConnectorError> {
    let table = cx.table(&link.from)?;
    let schema = table.schema();
    let mut columns = Vec::new();
    for (kind, of) in &link.columns {
        for name in of.names() {
            columns.push((config.type_number(kind), column("columns", name, &schema)?));
        }
    }
    let mut first_row = 1;
    for batch in table.scan()? {
        let batch = batch?;
        let values = columns
            .iter()
            .map(|(kind, at)| {
                let array = ids("columns", schema.field(*at), batch.column(*at), first_row)?;
                Ok((*kind, *at, array))
            })
            .collect::<Result<Vec<_>, ConnectorError>>()
            .map_err(|error| error.within(&link.from))?;
        for row in 0..batch.num_rows() {
            add_row(&values, row, graph, |at| {
                too_long(&batch, at, &link.from, first_row + row as u64)
            })?;
        }
        first_row += batch.num_rows() as u64;
    }
    Ok(())
}

/// Adds one row; `too_long` is the error for a value in a column.
fn add_row(
    values: &[(u16, usize, StringArray)],
    row: usize,
    graph: &mut Graph,
    too_long: impl Fn(usize) -> ConnectorError,
) -> Result<(), ConnectorError> {
    let mut first = None;
    for (kind, at, array) in values {
        if array.is_null(row) || array.value(row).is_empty() {
            continue;
        }
        let value = array.value(row);
        if value.len() > VALUE_BYTES_MAX {
            return Err(too_long(*at));
        }
        let number = graph.add(*kind, value)?;
        graph.join(*first.get_or_insert(number), number);
    }
    Ok(())
}

fn too_long(batch: &RecordBatch, at: usize, table: &str, row: u64) -> ConnectorError {
    let name = batch.schema().field(at).name().clone();
    ConnectorError::data(format!("an identity has more than {VALUE_BYTES_MAX} bytes"))
        .at(format!("{table}, row {row}, column {name}"))
        .help("clean the column first, or leave it out of `columns`")
}
