//! The language as its users see it: text in, diagnostics and DAG out.

#![allow(clippy::disallowed_methods, reason = "`UPDATE=1` rewrites the expected outcomes")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod big;
mod cases;
mod corpus;
mod defaults;
mod files;
mod format;
mod fuzzed;
mod later;
mod layouts;
mod meaning;
mod schema;
mod support;
mod survive;
mod validate;
mod version;
