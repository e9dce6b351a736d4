//! Triggers by the clock: what is due after a start, a pause, an edit; and what a trigger says of
//! its runs.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_model::dag::{DagHead, Param, ParamKind, Task, TriggerDef};
use tidemill_model::schedule::{CAUGHT_UP_MAX, Catchup, Clock, Every, Schedule, Timer};
use tidemill_model::template::Template;
use tidemill_model::{
    Action, Dag, DagId, DagRun, Event, RunEvent, RunId, RunState, TaskState, Timestamp, Trigger,
    Version,
};

use crate::desk::Desk;

const HOUR: Duration = Duration::from_hours(1);

fn at(text: &str) -> Timestamp {
    let whole = if text.len() == 5 { format!("2026-03-02T{text}:00Z") } else { text.to_owned() };
    whole.parse().unwrap()
}

fn cron(line: &str) -> Timer {
    Timer::new(Clock::Cron(Schedule::parse(line, Tz::UTC).unwrap()), Tz::UTC)
}

fn catching(line: &str, catchup: Catchup) -> Timer {
    Timer { catchup, ..cron(line) }
}

/// A DAG of one task that has these triggers.
fn dag_of(triggers: Vec<TriggerDef>) -> Arc<Dag> {
    let region = Param {
        kind: ParamKind::String,
        default: Some(json!("eu")),
        allowed: vec![json!("eu"), json!("us"), json!("2026-03-02T11:00:00Z")],
        description: None,
    };
    let version = Version::of(format!("{triggers:?}").as_bytes());
    let head = DagHead {
        triggers,
        params: IndexMap::from([("region".parse().unwrap(), region)]),
        ..DagHead::new(id(), version)
    };
    let task = Task::new("a".parse().unwrap(), "default".parse().unwrap(), Action::Noop);
    Arc::new(Dag::new(head, vec![task]).unwrap())
}

fn timed(timers: impl IntoIterator<Item = Timer>) -> Arc<Dag> {
    dag_of(timers.into_iter().map(TriggerDef::by_clock).collect())
}

fn telling(timer: Timer, params: &Value, when: Option<&str>) -> TriggerDef {
    let params = Template::parse(params).unwrap();
    let when = when.map(|text| tidemill_model::expr::Expr::parse(text).unwrap());
    TriggerDef { params, when, ..TriggerDef::by_clock(timer) }
}

/// The ticks of the runs that the last inputs made.
fn ticks(made: &[Event]) -> Vec<String> {
    let tick = |event: &Event| match event {
        Event::Run(_, RunEvent::Created { trigger: Trigger::Schedule { tick, .. }, .. }) => {
            Some(tick.to_utc().format("%H:%M").to_string())
        }
        _ => None,
    };
    made.iter().filter_map(tick).collect()
}

/// A kernel with one DAG, by the times of a day.
struct Day(Desk);

impl Day {
    fn new() -> Self {
        Self(Desk::new([]))
    }

    fn step(&mut self, now: &str) -> Vec<String> {
        ticks(&self.0.step(at(now)))
    }

    fn deploy(&mut self, dag: &Arc<Dag>, now: &str) -> Vec<String> {
        ticks(&self.0.deploy(dag, at(now)))
    }

    fn pause(&mut self, paused: bool, now: &str) -> Vec<String> {
        self.0.kernel.pause(&id(), paused, "ada", at(now)).unwrap();
        self.step(now)
    }

    /// Ends, and begins again from what was committed.
    fn restart(&mut self, dag: &Arc<Dag>, now: &str) -> Vec<String> {
        self.0.restart(at(now));
        self.deploy(dag, now)
    }

    fn next(&self) -> String {
        let next = self.0.kernel.dags()[&id()].next;
        next.map_or("never".to_owned(), |at| at.to_utc().format("%H:%M").to_string())
    }

    fn run(&self, number: u64) -> &DagRun {
        self.0.kernel.run(&RunId { dag: id(), number }).unwrap()
    }
}

fn id() -> DagId {
    "d".parse().unwrap()
}

/// One rule for a restart, a pause and an edit: what is missed is made up for as the trigger says.
#[test]
fn what_was_missed_is_made_up_for_the_same_way_whatever_the_reason() {
    let missed: [(Catchup, &[&str]); 3] = [
        (Catchup::None, &[]),
        (Catchup::Latest, &["14:00"]),
        (Catchup::All, &["11:00", "12:00", "13:00", "14:00"]),
    ];
    for (catchup, expected) in missed {
        let dag = timed([catching("0 * * * *", catchup)]);
        let begun = || {
            let mut desk = Day::new();
            assert_eq!(desk.deploy(&dag, "09:30"), [""; 0]);
            assert_eq!(desk.step("10:00"), ["10:00"]);
            desk
        };
        let mut desk = begun();
        assert_eq!(desk.restart(&dag, "14:30"), expected, "{catchup:?}, a restart");
        assert_eq!(desk.next(), "15:00");
        let mut desk = begun();
        assert_eq!(desk.pause(true, "10:30"), [""; 0]);
        assert_eq!(desk.step("14:29"), [""; 0]);
        assert_eq!(desk.next(), "never");
        assert_eq!(desk.pause(false, "14:30"), expected, "{catchup:?}, a pause");
        // Stopped, edited, started: half past is new, and goes on from ten.
        let mut desk = begun();
        let edited = timed([catching("0,30 * * * *", catchup)]);
        let runs = desk.restart(&edited, "14:34");
        match catchup {
            Catchup::None | Catchup::Latest => assert_eq!(runs, ["14:30"]),
            Catchup::All => assert_eq!(runs.len(), 9),
        }
        assert_eq!(desk.step("14:35"), [""; 0]);
        // The file was gone for a while.
        let mut desk = begun();
        desk.0.kernel.retire(&id(), at("10:30"));
        assert_eq!(desk.step("14:29"), [""; 0]);
        assert_eq!(desk.deploy(&dag, "14:30"), expected, "{catchup:?}, a file that came back");
    }
}

/// Without catch-up a tick that has only just passed is not missed: grace is a tenth of the period,
/// five minutes at least.
#[test]
fn a_tick_that_has_just_passed_is_run() {
    let dag = timed([cron("0 3 * * *")]);
    for (now, expected) in [("03:05", &["03:00"][..]), ("05:24", &["03:00"]), ("12:05", &[])] {
        assert_eq!(Day::new().deploy(&dag, now), expected, "deployed at {now}");
    }
    let mut desk = Day::new();
    desk.deploy(&dag, "02:00");
    assert_eq!(desk.restart(&dag, "03:05"), ["03:00"]);
    // Once: not again by another start.
    assert_eq!(desk.restart(&dag, "03:06"), [""; 0]);
}

/// A tick that comes while the server is down is owed from the day that the DAG was deployed, also
/// when it has never run.
#[test]
fn the_first_tick_can_be_missed_and_made_up_for() {
    let dag = timed([catching("0 3 * * *", Catchup::Latest)]);
    let mut desk = Day::new();
    assert_eq!(desk.deploy(&dag, "01:00"), [""; 0]);
    assert_eq!(desk.restart(&dag, "12:00"), ["03:00"]);
    // What had passed before it was deployed is nobody's miss.
    assert_eq!(Day::new().deploy(&dag, "12:00"), [""; 0]);
    // A single instant survives a restart, and is consumed once.
    let once = || timed([Timer::new(Clock::At(at("11:00")), Tz::UTC)]);
    let mut desk = Day::new();
    desk.deploy(&once(), "10:00");
    assert_eq!(desk.restart(&once(), "10:30"), [""; 0]);
    assert_eq!(desk.step("11:00"), ["11:00"]);
    assert_eq!((desk.restart(&once(), "11:01"), desk.next()), (vec![], "never".to_owned()));
}

#[test]
fn catching_up_has_a_window_and_an_end() {
    let dag = timed([Timer { window: Some(2 * HOUR), ..catching("0 * * * *", Catchup::All) }]);
    let mut desk = Day::new();
    desk.deploy(&dag, "08:30");
    assert_eq!(desk.restart(&dag, "14:30"), ["13:00", "14:00"]);
    // Every minute of 30 days: the newest, and no more.
    let dag = timed([catching("* * * * *", Catchup::All)]);
    let mut desk = Day::new();
    desk.deploy(&dag, "2026-02-01T00:00:30Z");
    let made = desk.restart(&dag, "2026-03-02T12:00:30Z");
    assert_eq!((made.len(), made.last().map(String::as_str)), (CAUGHT_UP_MAX, Some("12:00")));
}

#[test]
fn a_schedule_that_was_changed_repeats_nothing() {
    // Hourly until noon, then daily at noon.
    let mut desk = Day::new();
    desk.deploy(&timed([cron("0 * * * *")]), "11:30");
    assert_eq!(desk.step("12:00"), ["12:00"]);
    assert_eq!(desk.deploy(&timed([cron("0 12 * * *")]), "12:01"), [""; 0]);
    assert_eq!(desk.next(), "12:00");
    assert_eq!(desk.step("2026-03-03T12:00:00Z"), ["12:00"]);
    // A trigger beside it that has just been written takes the tick that has just passed.
    let both = timed([cron("0 12 * * *"), cron("58 * * * *")]);
    assert_eq!(desk.deploy(&both, "2026-03-03T13:00:00Z"), ["12:58"]);
}

/// Ticks of several triggers are one order, and what is due at once for the same is one run.
#[test]
fn several_triggers_are_one_schedule() {
    let dag = timed([
        catching("0 * * * *", Catchup::All),
        catching("30 * * * *", Catchup::All),
        catching("0 11 * * *", Catchup::All),
    ]);
    let mut desk = Day::new();
    desk.deploy(&dag, "09:45");
    assert_eq!(desk.restart(&dag, "11:45"), ["10:00", "10:30", "11:00", "11:30"]);
    // For other params it is another run.
    let eu = telling(cron("0 * * * *"), &Value::Null, None);
    let us = telling(cron("0 11 * * *"), &json!({"region": "us"}), None);
    let mut desk = Day::new();
    desk.deploy(&dag_of(vec![eu, us]), "10:45");
    assert_eq!(desk.step("11:00"), ["11:00", "11:00"]);
    let region = |number| desk.run(number).head.params["region"].clone();
    assert_eq!((region(1), region(2)), (json!("eu"), json!("us")));
}

/// Each begins later by its own share, always the same, and loses nothing by it.
#[test]
fn jitter_moves_the_beginning_and_not_the_tick() {
    let dag = timed([Timer { offset: Duration::from_mins(20), ..cron("0 * * * *") }]);
    let mut desk = Day::new();
    // The tick of ten has passed, its run has not begun.
    assert_eq!(desk.deploy(&dag, "10:10"), [""; 0]);
    assert_eq!(desk.next(), "10:20");
    assert_eq!(desk.step("10:19"), [""; 0]);
    assert_eq!(desk.restart(&dag, "10:19"), [""; 0]);
    assert_eq!(desk.step("10:20"), ["10:00"]);
    assert_eq!(desk.restart(&dag, "10:21"), [""; 0]);
    let interval = desk.run(1).head.interval.unwrap();
    assert_eq!((interval.start, interval.end), (at("09:00"), at("10:00")));
}

#[test]
fn a_trigger_says_which_runs_start_and_with_what() {
    let every = || Timer::new(Clock::Every(Every::new(HOUR, None, Tz::UTC).unwrap()), Tz::UTC);
    let with_tick = telling(
        every(),
        &json!({"region": "${{ trigger.tick }}"}),
        Some("trigger.by == 'schedule' && params.region.contains('T11')"),
    );
    let mut desk = Day::new();
    desk.deploy(&dag_of(vec![with_tick]), "10:30");
    assert_eq!(desk.step("11:00"), ["11:00"]);
    assert_eq!(desk.run(1).head.params["region"], json!("2026-03-02T11:00:00Z"));
    assert_eq!(desk.run(1).head.trigger.label(), "schedule");
    // Twelve is no region: that is a run that failed, and everybody sees why.
    assert_eq!(desk.step("12:00"), ["12:00"]);
    let run = desk.run(2);
    assert_eq!(run.head.state, RunState::Failed);
    assert_eq!(run.tasks()[0].state, TaskState::Failed);
    let error = run.tasks()[0].error.as_ref().unwrap();
    assert!(error.message.contains("param `region` must be one of"), "{error:?}");
    assert_eq!(error.place.as_deref(), Some("`params` of trigger `every 1h`"));
    // Nothing starts where `when` says so, and that is dealt with.
    let never = telling(every(), &Value::Null, Some("trigger.tick.contains('T13')"));
    let mut desk = Day::new();
    desk.deploy(&dag_of(vec![never]), "10:30");
    assert_eq!(desk.step("12:00"), [""; 0]);
    assert_eq!(desk.step("13:00"), ["13:00"]);
    // What cannot be said of it fails, too.
    let wrong = telling(every(), &Value::Null, Some("trigger.rows > 3"));
    let mut desk = Day::new();
    desk.deploy(&dag_of(vec![wrong]), "10:30");
    desk.step("11:00");
    let error = desk.run(1).tasks()[0].error.as_ref().unwrap();
    assert_eq!(error.place.as_deref(), Some("`when` of trigger `every 1h`"));
}

#[test]
fn one_that_is_not_served_fires_nothing() {
    let dag = timed([catching("0 * * * *", Catchup::All)]);
    let mut desk = Day::new();
    desk.0.kernel.bring(Arc::clone(&dag), at("09:30"));
    assert_eq!((desk.step("12:00"), desk.next()), (vec![], "never".to_owned()));
    // Deployed while it stands still, it is owed what comes from then on.
    desk.0.kernel.pause(&id(), true, "ada", at("12:00")).unwrap();
    assert_eq!(desk.deploy(&dag, "12:01"), [""; 0]);
    assert_eq!(desk.pause(false, "14:30"), ["13:00", "14:00"]);
}
