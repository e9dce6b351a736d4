//! How the engine is set up: one session, never changed, from which every query is planned.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions};
use datafusion::sql::sqlparser::ast::DataType as SqlType;

use crate::arithmetic::Checked;
use crate::concat::UnionsInOrder;
use crate::functions;
use crate::sum::checked_sum;

/// Memory that a sort keeps back for merging what it set aside, at most.
const MERGE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The session of an engine.
///
/// One partition: a query is one stream of batches in row order. Several would be faster on large
/// tables, but rows would meet in an order that differs from run to run, and with it the sums of
/// floats, ties of `limit` and `row_number()`, and the order of results. [`crate::slices`] is where
/// that cannot be.
pub(crate) fn session(batch_rows: usize, memory_bytes: usize) -> SessionState {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(batch_rows.max(1))
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.sort_spill_reservation_bytes = MERGE_BYTES_MAX.min(memory_bytes / 8);
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(UnionsInOrder));
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build();
    // Registering in a fresh session cannot fail; a function whose name exists is replaced.
    for function in functions::all() {
        let _ = state.register_udf(function);
    }
    let _ = state.register_udaf(checked_sum());
    let _ = state.register_function_rewrite(Arc::new(Checked::new()));
    state
}

/// The options of the planner that turns syntax trees into plans.
pub(crate) fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
        .with_default_null_ordering(NullOrdering::NullsMax)
}

/// SQL's types as types of the house: `timestamp` means microseconds in UTC.
#[derive(Debug)]
pub(crate) struct HouseTypes;

impl TypePlanner for HouseTypes {
    fn plan_type_field(&self, sql: &SqlType) -> Result<Option<FieldRef>> {
        let instant = matches!(
            sql,
            SqlType::Timestamp(None | Some(0..=6), _)
                | SqlType::TimestampNtz(_)
                | SqlType::Datetime(_)
        );
        Ok(instant.then(|| {
            Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, None), true))
        }))
    }
}
