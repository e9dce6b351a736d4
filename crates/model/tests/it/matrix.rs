//! The state machine as one table: every event in every state, through the real `apply`. The table
//! is the manual page, which is rewritten with `TIDEMILL_UPDATE=1`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidemill_model::event::MapPlan;
use tidemill_model::run::MapCounts;
use tidemill_model::state::Guide;
use tidemill_model::{
    DagRun, FailureKind, Instance, LostCause, RunEvent, RunState, TaskError, TaskIx, TaskResult,
    TaskRun, TaskState, Version,
};

use crate::house::{Sketch, at, created, dag, dag_of, placed};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/state-machine.md");

const TASK: Instance = Instance { item: None, task: TaskIx(0) };

/// Every event about a task, with what tells apart events of one name. `attempt` is the number
/// that the attempt's events carry, `next` the one of the next attempt.
fn task_events(attempt: u32, next: u32) -> Vec<(&'static str, RunEvent)> {
    let (task, at) = (TASK, at(100));
    let error = || TaskError::new(FailureKind::Exit, "it ended with code 1");
    let failed = |retry_at| RunEvent::AttemptFailed { task, attempt, error: error(), retry_at, at };
    let cause = LostCause::Crash;
    let lost = |again| RunEvent::AttemptLost { task, attempt, cause, again, at };
    let result = TaskResult::default();
    let reason = || "a reason".to_owned();
    vec![
        ("task_queued", RunEvent::TaskQueued { task, at }),
        ("task_waiting", RunEvent::TaskWaiting { task, reason: reason(), at }),
        ("task_skipped", RunEvent::TaskSkipped { task, reason: reason(), at }),
        ("task_upstream_failed", RunEvent::TaskUpstreamFailed { task, at }),
        ("task_failed", RunEvent::TaskFailed { task, error: error(), at }),
        ("task_cancelled", RunEvent::TaskCancelled { task, at }),
        ("task_given", RunEvent::TaskGiven { task, result: Box::default(), reason: reason(), at }),
        ("task_removed", RunEvent::TaskRemoved { task, at }),
        (
            "attempt_started",
            RunEvent::AttemptStarted { task, attempt: next, map: None, until: None, at },
        ),
        ("attempt_started, of a mapped task", started_map(next)),
        ("group_stopped", RunEvent::GroupStopped { task, attempt, at }),
        ("attempt_gathers", RunEvent::AttemptGathers { task, attempt, at }),
        ("attempt_succeeded", RunEvent::AttemptSucceeded { task, attempt, result, at }),
        ("attempt_failed, with a retry", failed(Some(at))),
        ("attempt_failed, without", failed(None)),
        ("attempt_skipped", RunEvent::AttemptSkipped { task, attempt, reason: reason(), at }),
        ("attempt_cancelled", RunEvent::AttemptCancelled { task, attempt, at }),
        ("task_marked", {
            let (state, who) = (TaskState::Succeeded, "ada".to_owned());
            RunEvent::TaskMarked { task, state, who, note: None, at }
        }),
        ("retry_hastened", RunEvent::RetryHastened { task, who: "ada".to_owned(), at }),
        ("attempt_lost, again", lost(true)),
        ("attempt_lost, not again", lost(false)),
    ]
}

fn started_map(attempt: u32) -> RunEvent {
    let map = Some(MapPlan { items: 1, tolerated: 0 });
    RunEvent::AttemptStarted { task: TASK, attempt, map, until: None, at: at(100) }
}

/// Every event about the run itself.
fn run_events(version: &Version) -> Vec<(&'static str, RunEvent)> {
    let at = at(100);
    let reopened =
        |version| RunEvent::Reopened { tasks: vec![TASK.task], version, who: String::new(), at };
    vec![
        ("created", created(&dag("a"), 100)),
        ("started", RunEvent::Started { at }),
        ("cancel_requested", RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at }),
        ("finished", RunEvent::Finished { state: RunState::Succeeded, at }),
        ("timed_out", RunEvent::TimedOut { at }),
        ("held", RunEvent::Held { held: true, who: "ada".to_owned(), at }),
        ("held, no more", RunEvent::Held { held: false, who: "ada".to_owned(), at }),
        ("noted", {
            let (text, who) = ("look".to_owned(), "ada".to_owned());
            RunEvent::Noted { about: None, text, who, at }
        }),
        ("reopened", reopened(version.clone())),
        ("reopened, by another version", reopened(Version::of(b"another"))),
    ]
}

/// A task's record in a state, after two attempts.
fn task_in(state: TaskState) -> TaskRun {
    let retry_at = (state == TaskState::UpForRetry).then(|| at(90));
    TaskRun { state, attempts: 2, retry_at, ..TaskRun::default() }
}

/// A run of one task.
fn run_in(state: RunState, cancelled: bool, task: TaskState) -> DagRun {
    placed(&dag("a"), state, cancelled, vec![task_in(task)])
}

/// Applies an event; a refused one must change nothing.
fn outcome(mut run: DagRun, event: &RunEvent) -> Option<DagRun> {
    let before = format!("{run:?}");
    match run.apply(event) {
        Ok(()) => Some(run),
        Err(refused) => {
            assert_eq!(format!("{run:?}"), before, "{refused} but something changed");
            assert_eq!(refused.event, event.name());
            None
        }
    }
}

/// Where an event about the task leads, for each of its states.
fn task_row(state: RunState, cancelled: bool, event: &RunEvent) -> Vec<Option<TaskState>> {
    row_of(&|task| run_in(state, cancelled, task), event)
}

fn row_of(run_in: &dyn Fn(TaskState) -> DagRun, event: &RunEvent) -> Vec<Option<TaskState>> {
    let after = |task| Some(outcome(run_in(task), event)?.task(TASK.task).state);
    TaskState::ALL.into_iter().map(after).collect()
}

/// What a group or a mapped task holds.
#[derive(Clone, Copy)]
enum Inside {
    /// A member that has not ended.
    Open,
    /// A member that has ended.
    Ended,
    /// An item that has ended.
    Item,
    /// An item that has ended, and whose table is being put into the whole.
    Gathering,
}

/// A running run of a group, or of a mapped task, in a state.
fn container_in(inside: Inside, state: TaskState) -> DagRun {
    let whole = task_in(state);
    match inside {
        Inside::Open | Inside::Ended => {
            let group = Sketch { name: "g".to_owned(), holds: true, ..Sketch::default() };
            let member = Sketch { name: "g.m".to_owned(), group: Some(0), ..Sketch::default() };
            let is_open = matches!(inside, Inside::Open);
            let of_member = if is_open { TaskState::Running } else { TaskState::Succeeded };
            let tasks = vec![whole, task_in(of_member)];
            placed(&dag_of("d", &[group, member]), RunState::Running, false, tasks)
        }
        Inside::Item | Inside::Gathering => {
            let map = Some((1, 1, 0));
            let mapped = Sketch { name: "g".to_owned(), map, ..Sketch::default() };
            let mut counts = [0; 11];
            counts[TaskState::Succeeded as usize] = 1;
            let map = MapCounts { attempt: 2, items: 1, tolerated: 0, base: 0, begun: 1, counts };
            let gathering = matches!(inside, Inside::Gathering) && state == TaskState::Running;
            let tasks = vec![TaskRun { map: Some(Box::new(map)), gathering, ..whole }];
            placed(&dag_of("d", &[mapped]), RunState::Running, false, tasks)
        }
    }
}

/// A run as the page tells them apart: its state, whether it is being cancelled, and whether its
/// task is final.
const RUN_ROWS: [(&str, RunState, bool, TaskState); 9] = [
    ("queued", RunState::Queued, false, TaskState::Pending),
    ("queued, all tasks final", RunState::Queued, false, TaskState::Succeeded),
    ("queued, being cancelled", RunState::Queued, true, TaskState::Pending),
    ("queued, being cancelled, all tasks final", RunState::Queued, true, TaskState::Cancelled),
    ("running", RunState::Running, false, TaskState::Running),
    ("running, all tasks final", RunState::Running, false, TaskState::Succeeded),
    ("succeeded", RunState::Succeeded, false, TaskState::Succeeded),
    ("failed", RunState::Failed, false, TaskState::Failed),
    ("cancelled", RunState::Cancelled, true, TaskState::Cancelled),
];

fn cell(label: Option<&str>) -> &str {
    label.unwrap_or("·")
}

fn guide_table<S: Copy>(
    page: &mut String,
    states: &[S],
    label: fn(S) -> &'static str,
    guide: fn(S) -> Guide,
) {
    page.push_str("| state | means | in | out | who moves it |\n|---|---|---|---|---|\n");
    for state in states {
        let Guide { means, enters, leaves, moved_by } = guide(*state);
        let out = if leaves.is_empty() { "final" } else { leaves };
        writeln!(page, "| `{}` | {means} | {enters} | {out} | {moved_by} |", label(*state))
            .unwrap();
    }
    page.push('\n');
}

/// Arrows between states, with the events that take them.
type Arrows = BTreeMap<(&'static str, &'static str), Vec<&'static str>>;

fn diagram(page: &mut String, first: &str, finals: &[&str], arrows: &Arrows) {
    page.push_str("```mermaid\nstateDiagram-v2\n");
    writeln!(page, "    [*] --> {first}").unwrap();
    for ((from, to), events) in arrows {
        writeln!(page, "    {from} --> {to}: {}", events.join("<br>")).unwrap();
    }
    for label in finals {
        writeln!(page, "    {label} --> [*]").unwrap();
    }
    page.push_str("```\n\n");
}

fn runs(page: &mut String) {
    page.push_str("## Runs\n\n");
    let mut arrows = Arrows::new();
    let mut rows = String::new();
    for (name, state, cancelled, task) in RUN_ROWS {
        write!(rows, "| {name} |").unwrap();
        let run = run_in(state, cancelled, task);
        for (event_name, event) in run_events(&run.dag().version) {
            let after = outcome(run.clone(), &event).map(|run| run.head.state);
            if let Some(after) = after.filter(|after| *after != state) {
                let events = arrows.entry((state.label(), after.label())).or_default();
                if !events.contains(&event_name) {
                    events.push(event_name);
                }
            }
            let text = match after {
                // The event itself says which final state.
                Some(after) if event_name == "finished" && after.is_final() => "as it says",
                after => cell(after.map(RunState::label)),
            };
            write!(rows, " {text} |").unwrap();
        }
        rows.push('\n');
    }
    // `finished` carries the final state, so each of them is reached.
    for from in [RunState::Queued, RunState::Running] {
        for to in RunState::ALL.into_iter().filter(|state| state.is_final()) {
            let cancelled = from == RunState::Queued;
            let run = run_in(from, cancelled, TaskState::Succeeded);
            let finished = outcome(run, &RunEvent::Finished { state: to, at: at(100) }).unwrap();
            assert_eq!(finished.head.state, to);
            arrows.entry((from.label(), to.label())).or_insert_with(|| vec!["finished"]);
        }
    }
    let finals: Vec<&str> =
        RunState::ALL.into_iter().filter(|s| s.is_final()).map(RunState::label).collect();
    diagram(page, "queued", &finals, &arrows);
    guide_table(page, &RunState::ALL, RunState::label, RunState::guide);
    page.push_str("What an event makes of a run; `·` is refused and changes nothing.\n\n| run |");
    let events = run_events(&Version::of(b"any"));
    for (name, _) in &events {
        write!(page, " {name} |").unwrap();
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(events.len()));
    page.push('\n');
    page.push_str(&rows);
    page.push_str(
        "\nA rerun by another version goes through `DagRun::reopen`, which is given the version's \
         definition.\n\n",
    );
}

fn task_table(page: &mut String, state: RunState, cancelled: bool, shown: &[TaskState]) {
    page.push_str("| event |");
    for state in shown {
        write!(page, " {} |", state.label()).unwrap();
    }
    writeln!(page, "\n|---|{}", "---|".repeat(shown.len())).unwrap();
    for (name, event) in task_events(2, 3) {
        let row = task_row(state, cancelled, &event);
        if row.iter().all(Option::is_none) {
            continue;
        }
        write!(page, "| {name} |").unwrap();
        for (from, to) in TaskState::ALL.into_iter().zip(row) {
            if shown.contains(&from) {
                write!(page, " {} |", cell(to.map(TaskState::label))).unwrap();
            }
        }
        page.push('\n');
    }
    page.push('\n');
}

fn tasks(page: &mut String) {
    page.push_str("## Tasks\n\n");
    let mut arrows = Arrows::new();
    for (name, event) in task_events(2, 3) {
        let row = task_row(RunState::Running, false, &event);
        for (from, to) in TaskState::ALL.into_iter().zip(row) {
            let Some(to) = to else { continue };
            let name = name.split(',').next().unwrap();
            let events = arrows.entry((from.label(), to.label())).or_default();
            if !events.contains(&name) {
                events.push(name);
            }
        }
    }
    let finals: Vec<&str> =
        TaskState::ALL.into_iter().filter(|s| s.is_final()).map(TaskState::label).collect();
    diagram(page, "pending", &finals, &arrows);
    guide_table(page, &TaskState::ALL, TaskState::label, TaskState::guide);
    let open: Vec<TaskState> = TaskState::ALL.into_iter().filter(|s| !s.is_final()).collect();
    page.push_str(
        "What an event makes of a task while its run is running; `·` is refused and changes \
         nothing. No event about a task moves it out of a final state; a group that is tried again makes its members pending. An attempt's event is refused unless \
         it carries the number of the attempt that is under way.\n\n",
    );
    task_table(page, RunState::Running, false, &open);
    page.push_str("While its run is being cancelled:\n\n");
    task_table(page, RunState::Running, true, &open);
    page.push_str("While its run is queued, being cancelled or not:\n\n");
    task_table(page, RunState::Queued, true, &open);
    page.push_str("While its run is final: nothing.\n\n");
}

/// Groups and mapped tasks as a whole.
fn containers(page: &mut String) {
    page.push_str(
        "## Groups and mapped tasks\n\nA group, and a mapped task as a whole, takes no slot: it is \
         what it holds, its members or its items. It begins by itself when its turn has come, and \
         ends when all that it holds has ended. An item of a mapped task is a task like any other, \
         and an item of a mapped group a group. Before its item begins, an instance does not exist.\n\n\
         While their run is running:\n\n",
    );
    let states = [TaskState::Pending, TaskState::Running, TaskState::UpForRetry];
    let columns = [
        ("a group that waits", Inside::Ended, states[0]),
        ("a group with open members", Inside::Open, states[1]),
        ("a group whose members have ended", Inside::Ended, states[1]),
        ("a group that waits for its retry", Inside::Ended, states[2]),
        ("a mapped task that waits", Inside::Item, states[0]),
        ("a mapped task whose items have ended", Inside::Item, states[1]),
        ("a mapped task whose tables are put together", Inside::Gathering, states[1]),
    ];
    page.push_str("| event |");
    for (name, ..) in columns {
        write!(page, " {name} |").unwrap();
    }
    writeln!(page, "\n|---|{}", "---|".repeat(columns.len())).unwrap();
    for (name, event) in task_events(2, 3) {
        let cells = columns.map(|(_, inside, state)| {
            let after = outcome(container_in(inside, state), &event)?;
            Some(after.task(TASK.task).state.label())
        });
        if cells.iter().any(Option::is_some) {
            writeln!(page, "| {name} | {} |", cells.map(cell).join(" | ")).unwrap();
        }
    }
    page.push('\n');
}

/// What no event can break. The tests named here would notice.
const INVARIANTS: &str = "\
## What always holds

- An event that is not legal in the current state is an error and changes nothing.
- A task leaves `pending` only when its trigger rule says so, and is looked at again each time one \
  of its direct upstreams ends. A member of a group leaves it only while the group is running, or \
  because the group has ended without it.
- A group ends after its members, a mapped task after its items. Items begin in order, and never \
  more are under way than `max_parallel` says.
- A run ends only when all its tasks have, and every run ends: each one that has not waits for an \
  attempt under way, an instant, a slot that another holds, or an operator.
- Attempts of a task, and of each item of a mapped one, are counted up over all generations; no \
  number is given twice, whichever version a rerun takes. At most one is under \
  way; only its number may report; each that starts ends exactly once.
- No attempt starts in a run that is queued, final, or being cancelled.
- Running runs, attempts under way and slots in use never exceed their limits when something starts; \
  a limit that is lowered takes nothing away from what runs.
- What is stored of a run gives back the live run, and so does its part of the journal.
- A tick is dealt with once, in order; a tick that fires creates its run in the same commit, and runs \
  of a DAG are numbered without gaps.
- A run of n tasks costs n steps: each event touches its task and the tasks directly below it.

`crates/model/tests/it/properties.rs` holds random DAGs, outcomes and operators against these, \
`crates/simulation` the whole kernel with crashes and store faults.
";

fn page() -> String {
    let mut page = String::from(
        "# State machine\n\n<!-- Generated from the code by `TIDEMILL_UPDATE=1 cargo test -p \
         tidemill-model`; a test fails when it is stale. -->\n\nThe states of runs and tasks, and \
         every event that moves them. `DagRun::apply` is the only function that does; an event \
         that is not in these tables is an error and changes nothing.\n\n",
    );
    runs(&mut page);
    tasks(&mut page);
    containers(&mut page);
    page.push_str(INVARIANTS);
    page
}

#[test]
fn the_manual_page_is_what_the_code_does() {
    let page = page();
    if std::env::var_os("TIDEMILL_UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "docs/state-machine.md is stale; run with TIDEMILL_UPDATE=1:\n{page}");
}

#[test]
fn final_states_are_final() {
    for state in [RunState::Succeeded, RunState::Failed, RunState::Cancelled] {
        for (name, event) in task_events(2, 3) {
            let row = task_row(state, false, &event);
            assert!(row.iter().all(Option::is_none), "{name} in a {} run: {row:?}", state.label());
        }
    }
    for (name, event) in task_events(2, 3) {
        for cancelled in [false, true] {
            let row = task_row(RunState::Running, cancelled, &event);
            let moved = TaskState::ALL.into_iter().zip(row);
            for (from, to) in moved.filter(|(from, _)| from.is_final()) {
                assert_eq!(to, None, "{name} moves {}", from.label());
            }
        }
    }
}

#[test]
fn a_queued_run_takes_the_same_task_events_however_it_is_cancelled() {
    for (name, event) in task_events(2, 3) {
        let rows = [false, true].map(|cancelled| task_row(RunState::Queued, cancelled, &event));
        assert_eq!(rows[0], rows[1], "{name}");
    }
}

#[test]
fn an_attempt_reports_under_its_own_number_alone() {
    for (attempt, next) in [(1, 2), (3, 4), (0, 1), (u32::MAX, 5)] {
        for (name, event) in task_events(attempt, next) {
            if name.starts_with("attempt_") {
                let row = task_row(RunState::Running, false, &event);
                assert!(row.iter().all(Option::is_none), "{name} #{attempt}, #{next}: {row:?}");
            }
        }
    }
}

#[test]
fn an_event_about_an_unknown_task_is_refused() {
    for state in TaskState::ALL {
        let mut run = run_in(RunState::Running, false, state);
        let event = RunEvent::TaskQueued { task: TaskIx(1).into(), at: at(100) };
        let refused = run.apply(&event).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`task_queued` cannot happen to run d.1 in state `running`"
        );
        let event = RunEvent::Reopened {
            tasks: vec![TaskIx(1)],
            version: run.dag().version.clone(),
            who: String::new(),
            at: at(100),
        };
        let run = run_in(RunState::Failed, false, TaskState::Failed);
        assert!(outcome(run, &event).is_none());
    }
}
