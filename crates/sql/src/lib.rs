//! `DataFusion` behind one door: queries, row expressions, cleaning and checks over Arrow tables.
//!
//! Read in this order:
//!
//! * [`engine`]: [`Engine`], which runs a query over tables, plans it over schemas, and compiles
//!   expressions; [`rows`]: [`Rows`], a result as it is computed; [`expr`]: [`RowExpr`];
//! * [`sql`] and [`clean`]: the transforms; [`checks`]: what must hold of a task's table;
//! * [`functions`]: SQL functions of our own, and their reference page;
//! * [`binds`]: the values of `$names`.
//!
//! Behind them: `parse` (text to a checked tree), `names` (tables and functions), `session` (the
//! engine's settings), `scan` (a table as the engine reads it), `seen` (which rows came before),
//! `rejects` (rows set aside), `types` (the types of the house), `concat` (unions in order),
//! `slices` (aggregates on several threads), `arithmetic` and `sum` (numbers that do not fit),
//! `bounds` (functions that make too much), `turns` (queries that give way, and end when nobody
//! waits), `lineage` (where columns come from), `cartesian` (joins without a condition), `error` (the engine's errors in our words).
//!
//! **Invariants.** No other crate knows `DataFusion`. Only queries run: nothing here writes a file,
//! changes a setting or reads anything but the tables it is given. A value of a `$name` never
//! becomes text of SQL. The same query over the same tables gives the same rows in the same order,
//! to the last bit of a float. Instants are microseconds in UTC, without a zone. Nothing holds a
//! whole table in memory, unless a query must; then it sets rows aside on disk.

mod arithmetic;
pub mod binds;
mod bounds;
mod cartesian;
pub mod checks;
pub mod clean;
mod concat;
pub mod engine;
mod error;
pub mod expr;
pub mod functions;
mod lineage;
mod names;
mod parse;
mod rejects;
pub mod rows;
mod scan;
mod seen;
mod session;
mod slices;
pub mod sql;
mod sum;
mod turns;
mod types;

use std::sync::Arc;

use tidemill_connector::transform::SharedTransform;

pub use checks::{CheckReport, CheckRequest, run_checks};
pub use clean::CleanConfig;
pub use engine::{Described, Engine, EngineConfig};
pub use expr::RowExpr;
pub use functions::{FUNCTIONS, FunctionDoc};
pub use rows::Rows;
pub use sql::SqlConfig;

/// The transforms of this crate, in the order of the documentation.
pub fn transforms(engine: Arc<Engine>) -> Vec<SharedTransform> {
    vec![Arc::new(sql::Sql::new(engine.clone())), Arc::new(clean::Clean::new(engine))]
}
