//! The checks of a task, held to the columns of its table.

use std::sync::Arc;

use serde_json::Value;
use tidemill_connector::{MemoryOutputs, MemoryTable, Table};
use tidemill_model::TaskIx;
use tidemill_model::dag::{Check, CheckRule, OnFail};
use tidemill_model::lineage::TableLineage;
use tidemill_spec::codes;
use tidemill_sql::{CheckRequest, run_checks};

use super::tables::{Made, empty_tables};
use super::tasks::{Planner, least_sure};

impl Planner<'_> {
    /// Holds the checks of a task to its table, each by itself; gives the table of the rows that
    /// they set aside, if they do.
    pub(super) async fn checks(
        &mut self,
        ix: TaskIx,
        item: Option<&Value>,
        main: &Made,
    ) -> Option<Made> {
        let task = self.dag.task(ix);
        let (binds, sure) = self.values.binds(ix, task, item);
        let mut rejects = None;
        for (at, check) in task.checks.iter().enumerate() {
            // What a check of SQL reads may not be known.
            let Ok((inputs, _)) = self.inputs(task, &text_of(check)) else { continue };
            let outputs = MemoryOutputs::default();
            let request = CheckRequest {
                task: task.name.as_str(),
                table: Arc::new(MemoryTable::new(main.schema.clone(), Vec::new())),
                tables: &empty_tables(&inputs),
                checks: std::slice::from_ref(check),
                binds: &binds,
                outputs: &outputs,
            };
            if let Err(mut error) = run_checks(&self.toolbox.engine, request).await {
                let sure = least_sure(&sure, &text_of(check));
                if let Some(first) = error.blame.as_mut().and_then(|blame| blame.keys.first_mut()) {
                    *first = at.to_string();
                }
                self.tell_if(ix, &["checks"], (&codes::CHECK_TABLES, main.known, sure), error);
            }
            if check.on_fail == OnFail::Quarantine {
                rejects = rejects.or(outputs.table("rejects"));
            }
        }
        let columns = main.schema.fields().iter().map(|field| field.name().as_str());
        let lineage = Some(TableLineage::same(task.name.as_str(), columns));
        rejects.map(|table| Made { schema: table.schema(), known: main.known, lineage })
    }
}

fn text_of(check: &Check) -> String {
    match &check.rule {
        CheckRule::Where(text) | CheckRule::Sql(text) => text.clone(),
        _ => String::new(),
    }
}
