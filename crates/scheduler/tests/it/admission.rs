//! Who may begin: the limits of DAGs, pools with slots and priorities, paces.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::json;
use tidemill_model::dag::{
    Concurrency, DagHead, Overlap, Param, ParamKind, Rate, Task, TriggerDef,
};
use tidemill_model::expr::Expr;
use tidemill_model::schedule::{Clock, Every, Timer};
use tidemill_model::{Action, Dag, RunState, Timestamp, Version};

use crate::desk::Desk;

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_770_000_000_000_000).plus(Duration::from_secs(second))
}

fn task(name: &str) -> Task {
    Task::new(name.parse().unwrap(), "default".parse().unwrap(), Action::Noop)
}

fn dag(name: &str, concurrency: Option<Concurrency>, tasks: Vec<Task>) -> Arc<Dag> {
    let region = Param {
        kind: ParamKind::String,
        default: Some(json!("eu")),
        allowed: Vec::new(),
        description: None,
    };
    let version = Version::of(format!("{name} {concurrency:?} {tasks:?}").as_bytes());
    let head = DagHead {
        concurrency,
        params: IndexMap::from([("region".parse().unwrap(), region)]),
        ..DagHead::new(name.parse().unwrap(), version)
    };
    Arc::new(Dag::new(head, tasks).unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "as the head of a DAG has it")]
fn at_once(limit: u32, overlap: Overlap) -> Option<Concurrency> {
    Some(Concurrency { limit, overlap, key: None })
}

/// One at its limit holds back its own runs alone, and they begin in their order, without gaps.
#[test]
fn runs_beyond_the_limit_wait_in_their_order() {
    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&dag("d", at_once(1, Overlap::Queue), vec![task("a")]), at(0));
    desk.deploy(&dag("other", None, vec![task("a")]), at(0));
    for _ in 0..3 {
        desk.call("d", at(1));
    }
    desk.call("other", at(1));
    assert_eq!(desk.under_way(), ["d.1/a", "other.1/a"]);
    let why = "`concurrency` allows 1 run at once, and d.1 is under way";
    assert_eq!([desk.why("d.2", at(1)), desk.why("d.3", at(1))], [why, why]);
    // A restart changes nothing of it.
    desk.restart(at(2));
    desk.step(at(2));
    assert_eq!(desk.under_way(), ["d.1/a", "other.1/a"]);
    assert_eq!(desk.why("d.3", at(2)), why);
    desk.finish("d.1", at(3));
    assert_eq!(desk.under_way(), ["d.2/a", "other.1/a"]);
    // A cancelled run gives its place to the next.
    desk.kernel.cancel(&"d.2".parse().unwrap(), "ada", at(4)).unwrap();
    desk.step(at(4));
    assert_eq!(desk.under_way(), ["d.2/a", "other.1/a"], "its attempt has not ended");
    desk.finish("d.2", at(5));
    assert_eq!(desk.under_way(), ["d.3/a", "other.1/a"]);
}

#[test]
fn a_limit_that_was_raised_lets_go_at_once() {
    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&dag("d", at_once(1, Overlap::Queue), vec![task("a")]), at(0));
    for _ in 0..4 {
        desk.call("d", at(1));
    }
    desk.deploy(&dag("d", at_once(3, Overlap::Queue), vec![task("a")]), at(2));
    assert_eq!(desk.under_way(), ["d.1/a", "d.2/a", "d.3/a"]);
    // Cut below what is under way: nothing ends, nothing begins.
    desk.deploy(&dag("d", at_once(2, Overlap::Queue), vec![task("a")]), at(3));
    desk.finish("d.1", at(4));
    assert_eq!(desk.under_way(), ["d.2/a", "d.3/a"]);
    desk.finish("d.2", at(5));
    assert_eq!(desk.under_way(), ["d.3/a", "d.4/a"]);
}

#[test]
fn each_value_of_the_key_has_a_limit_of_its_own() {
    let key = Some(Expr::parse("params.region").unwrap());
    let limit = Concurrency { limit: 1, overlap: Overlap::Queue, key };
    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&dag("d", Some(limit), vec![task("a")]), at(0));
    for region in ["eu", "us", "eu"] {
        desk.trigger("d", json!({"region": region}), at(1));
    }
    assert_eq!(desk.under_way(), ["d.1/a", "d.2/a"]);
    let why = "`concurrency` allows 1 run at once for eu, and d.1 is under way";
    assert_eq!(desk.why("d.3", at(1)), why);
    // A key that cannot be computed: the run has failed, and says why.
    let key = Some(Expr::parse("int(params.region)").unwrap());
    let limit = Concurrency { limit: 1, overlap: Overlap::Queue, key };
    desk.deploy(&dag("e", Some(limit), vec![task("a")]), at(2));
    desk.call("e", at(3));
    assert_eq!(desk.state("e.1"), RunState::Failed);
    let run = desk.kernel.run(&"e.1".parse().unwrap()).unwrap();
    let error = run.tasks()[0].error.as_ref().unwrap();
    assert_eq!(error.place.as_deref(), Some("`concurrency.key`"));
}

#[test]
fn overlap_skips_or_replaces() {
    let every = Every::new(Duration::from_secs(10), None, chrono_tz::UTC).unwrap();
    let timer = Timer::new(Clock::Every(every), chrono_tz::UTC);
    let scheduled = |overlap| {
        let dag = dag("d", at_once(1, overlap), vec![task("a")]);
        let head =
            DagHead { triggers: vec![TriggerDef::by_clock(timer.clone())], ..(**dag).clone() };
        Arc::new(Dag::new(head, vec![task("a")]).unwrap())
    };
    let mut desk = Desk::new([("default", 9)]);
    // The tick that has just passed.
    desk.deploy(&scheduled(Overlap::Skip), at(1));
    // The next one finds its run at work: a run says so, and is over.
    desk.step(at(10));
    assert_eq!(desk.state("d.2"), RunState::Cancelled);
    let reason = |desk: &Desk, run: &str| {
        desk.kernel.run(&run.parse().unwrap()).unwrap().head.reason.clone().unwrap_or_default()
    };
    assert_eq!(reason(&desk, "d.2"), "`overlap: skip`: d.1 is under way");
    assert_eq!(desk.under_way(), ["d.1/a"]);
    // So does one that somebody asks for.
    desk.call("d", at(11));
    assert_eq!(desk.state("d.3"), RunState::Cancelled);
    desk.finish("d.1", at(12));
    desk.step(at(20));
    assert_eq!(desk.under_way(), ["d.4/a"]);

    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&scheduled(Overlap::Replace), at(1));
    desk.step(at(10));
    assert_eq!(reason(&desk, "d.1"), "`overlap: replace`: d.2 takes its place");
    // The new one begins when the old one has ended, and not before.
    assert_eq!(desk.under_way(), ["d.1/a"]);
    desk.step(at(20));
    assert_eq!(reason(&desk, "d.2"), "`overlap: replace`: d.3 takes its place");
    assert_eq!(desk.state("d.2"), RunState::Cancelled);
    desk.finish("d.1", at(21));
    assert_eq!(desk.under_way(), ["d.3/a"]);
}

/// The highest priority goes first, whatever the age of its run; then the oldest run.
#[test]
fn priority_goes_before_age() {
    let mut desk = Desk::new([("default", 1)]);
    let with = |name: &str, priority| dag(name, None, vec![Task { priority, ..task("a") }]);
    for (name, priority) in [("low", -1), ("plain", 0), ("high", 5)] {
        desk.deploy(&with(name, priority), at(0));
    }
    for (second, name) in [(1, "plain"), (2, "low"), (3, "plain"), (4, "high")] {
        desk.call(name, at(second));
    }
    for expected in ["plain.1", "high.1", "plain.2", "low.1"] {
        assert_eq!(desk.under_way(), [format!("{expected}/a")]);
        desk.finish(expected, at(9));
    }
}

/// One that takes more slots than are free lets others pass.
#[test]
fn a_task_takes_as_many_slots_as_it_says() {
    let mut desk = Desk::new([("default", 3)]);
    let with =
        |name: &str, priority, slots| dag(name, None, vec![Task { priority, slots, ..task("a") }]);
    for dag in [with("two", 0, 2), with("high", 9, 2), with("one", 0, 1), with("four", 0, 4)] {
        desk.deploy(&dag, at(0));
    }
    for name in ["two", "high", "one", "one", "four"] {
        desk.call(name, at(1));
    }
    assert_eq!(desk.under_way(), ["one.1/a", "two.1/a"]);
    let why = |desk: &Desk, run: &str| desk.why(run, at(1));
    assert_eq!(why(&desk, "high.1"), "all 3 slots of pool `default` are taken, and it takes 2");
    let four = "it takes 4 slots, and pool `default` has 3; change one of the two";
    assert_eq!(why(&desk, "four.1"), four);
    desk.finish("one.1", at(2));
    assert_eq!(desk.under_way(), ["one.2/a", "two.1/a"]);
    desk.finish("one.2", at(2));
    assert_eq!(why(&desk, "high.1"), "2 of 3 slots of pool `default` are taken, and it takes 2");
    desk.finish("two.1", at(3));
    assert_eq!(desk.under_way(), ["high.1/a"]);
    desk.restart(at(4));
    desk.step(at(4));
    assert_eq!(desk.under_way(), ["high.1/a"]);
    // More slots for the pool, and the last one goes, too.
    desk.kernel.set_pools([("default".parse().unwrap(), 6)]);
    desk.step(at(5));
    assert_eq!(desk.under_way(), ["four.1/a", "high.1/a"]);
}

/// Attempts of a task begin no more often than its rate says, over all runs and restarts; others do
/// not wait for it.
#[test]
fn a_rate_holds_over_all_runs_and_restarts() {
    let rate = Some(Rate { limit: 2, per: Duration::from_mins(1) });
    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&dag("d", None, vec![Task { rate, ..task("paced") }, task("free")]), at(0));
    for second in [10, 11, 12] {
        desk.call("d", at(second));
    }
    let begun = ["d.1/free", "d.1/paced", "d.2/free", "d.2/paced", "d.3/free"];
    assert_eq!(desk.under_way(), begun);
    let why = desk.why("d.3", at(12));
    assert!(why.starts_with("`rate` allows 2 in 1m; the next may begin at "), "{why}");
    let next = desk.kernel.next_wake(at(12)).unwrap();
    assert!(next > at(70) && next <= at(72), "{next}");
    // Attempts that a restart begins anew would count, too.
    desk.finish("d.1", at(13));
    desk.finish("d.2", at(13));
    desk.restart(at(13));
    assert_eq!(desk.kernel.next_wake(at(13)), Some(next));
    desk.step(at(69));
    assert!(!desk.under_way().contains(&"d.3/paced".to_owned()));
    desk.step(next);
    assert!(desk.under_way().contains(&"d.3/paced".to_owned()));
}
