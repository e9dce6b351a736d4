//! The model against oracles, tables and chance.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at a surprise")]
#![allow(clippy::disallowed_methods, reason = "tests read the manual page and their settings")]

mod admission;
mod clock_changes;
mod dags;
mod days;
mod due;
mod effects;
mod events;
mod groups;
mod house;
mod matrix;
mod properties;
mod runs;
mod schedule;
mod selection;
mod timers;
mod waiting;

use proptest::prelude::ProptestConfig;

/// Whether the long forms are wanted.
fn long() -> bool {
    std::env::var_os("TIDEMILL_LONG").is_some()
}

/// A property test of so many cases, and of fifty times as many in its long form.
fn cases(n: u32) -> ProptestConfig {
    let cases = if long() { n * 50 } else { n };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
