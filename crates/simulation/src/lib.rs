//! The whole kernel under a seed. No threads, no clock, no sleep: one loop around the real
//! `Kernel`, the real recovery and a store in memory, in which everything else is drawn.
//!
//! Read in this order:
//!
//! * `draw`: chance, from a seed; `plan`: DAGs to run;
//! * `truth`: what is durable, folded a second time by the model alone, with all that must hold of
//!   it: trigger rules, attempts, limits, ticks, numbers;
//! * `shelf`: the records behind the journal, as the projector keeps them;
//! * `world`: clock, operators, executor, faults and crashes around a kernel; `check`: what must
//!   hold of it between two steps;
//! * `script`: the same work with a crash at each of its commits, and the same end.
//!
//! **Invariants.** The same seed gives the same story on every machine. A story that breaks a rule
//! ends with the rule, the last steps, and the command that tells it again.

mod check;
mod draw;
mod plan;
mod script;
mod shelf;
mod truth;
mod world;

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use script::every_crash_ends_the_same;
pub use world::Figures;

use world::World;

/// A rule that did not hold, in words.
type Rule = Result<(), String>;

/// Fails with a sentence unless a condition holds.
macro_rules! hold {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}
pub(crate) use hold;

/// A story that broke a rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that tells it again.
    pub seed: u64,
    /// The rule.
    pub what: String,
    /// The last steps, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "run it again: cargo run -p tidemill-simulation -- {}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// The last steps that a failure shows.
const TRACE_LINES_MAX: usize = 40;

/// Tells the story of a seed: `steps` steps of anything, then peace until every run has ended.
pub fn run(seed: u64, steps: u32) -> Result<Figures, Failure> {
    let mut world = World::new(seed);
    let told = catch_unwind(AssertUnwindSafe(|| {
        world.begin()?;
        for _ in 0..steps {
            world.step()?;
        }
        world.end()
    }));
    let told = told.unwrap_or_else(|panic| Err(panic_text(&*panic)));
    told.map(|()| world.figures()).map_err(|what| {
        let trace = world.trace();
        let from = trace.len().saturating_sub(TRACE_LINES_MAX);
        Failure { seed, what, trace: trace[from..].to_vec() }
    })
}

/// Seeds from a word: `17`, or `0..1000`.
pub fn seeds_of(word: &str) -> Option<Range<u64>> {
    match word.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => word.parse().ok().map(|seed: u64| seed..seed.saturating_add(1)),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked");
    format!("a panic: {text}")
}
