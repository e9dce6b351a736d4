//! The history of a home: questions in SQL, and how it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_connector::{MemoryTable, Table};
use tidemill_history::table::{About, HistoryTable};
use tidemill_server::backend::{Column, SqlAnswer};
use tidemill_server::error::ApiError;

use crate::janitor::{Sweep, sweep};
use crate::node::{Mode, Node};
use crate::refused::{internal, stored};
use crate::rows::rows_of;

/// Answers a query over everything that is kept of runs and their tasks.
pub(crate) async fn ask(node: &Node, sql: &str, limit: usize) -> Result<SqlAnswer, ApiError> {
    let mut tables: IndexMap<String, Arc<dyn Table>> = IndexMap::new();
    let lower = sql.to_lowercase();
    for (name, about) in [("runs", About::Runs), ("tasks", About::Tasks)] {
        let (history, store) = (Arc::clone(&node.history), Arc::clone(&node.store));
        let table = Arc::new(HistoryTable::new(about, history, store));
        if lower.contains(name) {
            let table = Arc::clone(&table);
            let ready = tokio::task::spawn_blocking(move || table.ready()).await;
            ready.map_err(internal)?.map_err(internal)?;
        }
        tables.insert(name.to_owned(), table);
    }
    let failed = |error: tidemill_connector::ConnectorError| {
        let answer = ApiError::invalid(error.message.clone());
        match error.help {
            Some(help) => answer.help(help),
            None => answer,
        }
    };
    let mut rows = node.engine.query(sql, &tables, &BTreeMap::new()).await.map_err(failed)?;
    let schema = rows.schema();
    let (mut batches, mut count) = (Vec::new(), 0);
    while count <= limit
        && let Some(batch) = rows.next().await.map_err(failed)?
    {
        count += batch.num_rows();
        batches.push(batch);
    }
    drop(rows);
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        kind: tidemill_connectors::type_name(field.data_type()).into_owned(),
    });
    let columns = columns.collect();
    let found = MemoryTable::new(schema, batches);
    let rows = tokio::task::spawn_blocking(move || rows_of(&found, limit)).await;
    let rows = rows.map_err(internal)?.map_err(internal)?;
    Ok(SqlAnswer { columns, rows, more: count > limit })
}

/// How finished runs are kept.
pub(crate) fn show(node: &Node) -> Result<Value, ApiError> {
    let figures = node.history.figures();
    Ok(json!({
        "recent": node.store.run_count().map_err(stored)?,
        "runs": figures.runs,
        "tasks": figures.tasks,
        "bytes": figures.bytes,
        "segments": node.history.segments(),
    }))
}

/// Folds and drops now.
pub(crate) fn tidy(node: &Node) -> Result<Value, ApiError> {
    if node.mode == Mode::Look {
        return Err(ApiError::internal("this home is only looked at"));
    }
    let swept = sweep(node, Sweep::Everything).map_err(stored)?;
    Ok(json!({
        "folded": swept.folded.runs,
        "dropped": swept.dropped.runs,
        "bytes": swept.dropped.bytes,
    }))
}
