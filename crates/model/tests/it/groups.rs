//! Groups and mapped tasks, case by case.

use std::sync::Arc;

use tidemill_model::admission::Limits;
use tidemill_model::dag::ITEMS_MAX;
use tidemill_model::decide::{settle_failure, settle_lost};
use tidemill_model::run::StoredRun;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{
    Admission, Counts, Dag, DagRun, Effect, Event, FailureKind, LostCause, RunEvent, TableRef,
    TaskError, TaskIx, TaskResult, TaskState, effects,
};

use crate::house::{Sketch, at, begun, dag_of, sketches, stored_items};
use crate::runs::settle;

/// Sketches from text such as `g: a, b < a; c < g`: members of `g` behind the colon, with their
/// upstreams. A name may end in `*ITEMS/PARALLEL~TOLERATED`.
fn groups(text: &str) -> Vec<Sketch> {
    let flat: Vec<String> = (text.split(';').map(str::trim))
        .flat_map(|row| match row.split_once(':') {
            None => vec![row.to_owned()],
            Some((group, members)) => {
                let name = group.split(['*', '<']).next().unwrap_or(group).trim().to_owned();
                let members = members.split('&').map(|member| {
                    let words = member.split_whitespace();
                    let whole = |word: &str| match word {
                        "<" => "<".to_owned(),
                        word => match word.strip_suffix(',') {
                            Some(word) => format!("{name}.{word},"),
                            None => format!("{name}.{word}"),
                        },
                    };
                    words.map(whole).collect::<Vec<_>>().join(" ")
                });
                std::iter::once(group.trim().to_owned()).chain(members).collect()
            }
        })
        .collect();
    let marks: Vec<Option<(u32, u32, u32)>> = flat.iter().map(|row| mark(row)).collect();
    let plain: Vec<String> = flat
        .iter()
        .map(|row| {
            let words = row.split_whitespace().map(|word| word.split('*').next().unwrap_or(word));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let mut all = sketches(&plain.join(";"));
    let names: Vec<String> = all.iter().map(|sketch| sketch.name.clone()).collect();
    for (sketch, map) in all.iter_mut().zip(marks) {
        sketch.map = map;
        sketch.holds = names.iter().any(|name| name.starts_with(&format!("{}.", sketch.name)));
        let group = sketch.name.split_once('.').map(|(group, _)| group);
        sketch.group = group.and_then(|group| names.iter().position(|name| name == group));
    }
    all
}

fn mark(row: &str) -> Option<(u32, u32, u32)> {
    let word = row.split_whitespace().find(|word| word.contains('*'))?;
    let numbers: Vec<u32> =
        word.split(['*', '/', '~']).skip(1).map(|n| n.parse().unwrap()).collect();
    Some((numbers[0], numbers[1], numbers[2]))
}

fn run_of(text: &str) -> DagRun {
    run_with(&groups(text))
}

fn run_with(sketches: &[Sketch]) -> DagRun {
    let mut run = begun(&dag_of("d", sketches), 1);
    settle(&mut run, at(2));
    run
}

/// Starts the next attempt of an instance and ends it as `outcome` says.
fn attempt(run: &mut DagRun, name: &str, outcome: &str, second: i64) {
    start(run, name, second);
    end(run, name, outcome, second);
}

fn start(run: &mut DagRun, name: &str, second: i64) {
    let task = run.dag().find_instance(name).unwrap();
    let attempt = run.instance(task).map_or(0, |task| task.attempts) + 1;
    let event = RunEvent::AttemptStarted { task, attempt, map: None, until: None, at: at(second) };
    run.apply(&event).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn end(run: &mut DagRun, name: &str, outcome: &str, second: i64) {
    let task = run.dag().find_instance(name).unwrap();
    let attempt = run.instance(task).unwrap().attempts;
    let now = at(second);
    let event = match outcome {
        "ok" => {
            RunEvent::AttemptSucceeded { task, attempt, result: TaskResult::default(), at: now }
        }
        "table" => RunEvent::AttemptSucceeded { task, attempt, result: table(name), at: now },
        "fail" => settle_failure(run, task, TaskError::new(FailureKind::Exit, "no"), now),
        "refuse" => settle_failure(run, task, TaskError::new(FailureKind::Refused, "no"), now),
        "lose" => settle_lost(run, task, LostCause::Crash, now),
        "cancel" => RunEvent::AttemptCancelled { task, attempt, at: now },
        "skip" => RunEvent::AttemptSkipped { task, attempt, reason: "no".into(), at: now },
        other => panic!("{other}"),
    };
    run.apply(&event).unwrap_or_else(|error| panic!("{name}: {error}"));
    settle(run, now);
}

fn table(name: &str) -> TaskResult {
    let table = TableRef {
        name: name.split('[').next().unwrap().to_owned(),
        hash: name.to_owned(),
        rows: 2,
        bytes: 9,
        schema: "0".to_owned(),
    };
    let counts = Counts { rows_in: 3, rows_out: 2, ..Counts::default() };
    TaskResult { tables: vec![table], counts, ..TaskResult::default() }
}

/// `name=state` of instances.
fn states(run: &DagRun, names: &str) -> String {
    let state = |name: &str| {
        let at = run.dag().find_instance(name).unwrap();
        run.instance(at).map_or("none", |task| task.state.label())
    };
    let pairs = names.split_whitespace().map(|name| format!("{name}={}", state(name)));
    pairs.collect::<Vec<_>>().join(" ")
}

fn error(run: &DagRun, name: &str) -> String {
    let at = run.dag().find_instance(name).unwrap();
    run.instance(at).unwrap().error.as_ref().unwrap().to_string()
}

#[test]
fn a_group_ends_after_its_members_and_holds_what_waits_for_it() {
    let mut run = run_of("a; g < a: x & y < x; z < g");
    assert_eq!(states(&run, "a g g.x z"), "a=queued g=pending g.x=pending z=pending");
    attempt(&mut run, "a", "ok", 3);
    assert_eq!(states(&run, "g g.x g.y z"), "g=running g.x=queued g.y=pending z=pending");
    attempt(&mut run, "g.x", "ok", 4);
    assert_eq!(states(&run, "g g.y z"), "g=running g.y=queued z=pending");
    attempt(&mut run, "g.y", "ok", 5);
    assert_eq!(states(&run, "g z"), "g=succeeded z=queued");
    let group = run.task(TaskIx(1));
    assert_eq!((group.attempts, group.history.len()), (1, 1));
    attempt(&mut run, "z", "ok", 6);
    assert_eq!(run.head.state.label(), "succeeded");
}

#[test]
fn members_of_a_group_that_does_not_begin_follow_it() {
    for (outcome, state) in [("skip", "skipped"), ("fail", "upstream_failed")] {
        let mut run = run_of("a; g < a: x & y < x; z < g");
        attempt(&mut run, "a", outcome, 3);
        let expected = format!("g={state} g.x={state} g.y={state} z={state}");
        assert_eq!(states(&run, "g g.x g.y z"), expected);
    }
    let mut sketches = groups("g: x & y < x");
    sketches[0].when = Some("1 == 2");
    assert_eq!(states(&run_with(&sketches), "g g.x g.y"), "g=skipped g.x=skipped g.y=skipped");
    sketches[0].when = Some("params.missing");
    let run = run_with(&sketches);
    assert_eq!(states(&run, "g g.x"), "g=failed g.x=upstream_failed");
    assert_eq!(run.head.state.label(), "failed");
}

#[test]
fn the_leaves_of_a_group_decide() {
    let mut sketches = groups("g: x & y < x; z < g");
    sketches[2].rule = TriggerRule::AllDone;
    let mut run = run_with(&sketches);
    attempt(&mut run, "g.x", "fail", 3);
    attempt(&mut run, "g.y", "ok", 4);
    assert_eq!(states(&run, "g g.x z"), "g=succeeded g.x=failed z=queued");
    let mut run = run_of("g: x & y; z < g");
    attempt(&mut run, "g.x", "refuse", 3);
    assert_eq!(states(&run, "g g.y"), "g=running g.y=queued");
    attempt(&mut run, "g.y", "ok", 4);
    assert_eq!(states(&run, "g z"), "g=failed z=upstream_failed");
    assert_eq!(error(&run, "g"), "`g.x` failed: no");
    let mut run = run_of("g: x & y");
    attempt(&mut run, "g.x", "skip", 3);
    attempt(&mut run, "g.y", "skip", 4);
    assert_eq!(states(&run, "g"), "g=skipped");
}

#[test]
fn a_group_is_tried_again_as_a_whole() {
    let mut sketches = groups("g: x & y < x; z < g");
    sketches[0].retries = 1;
    let mut run = run_with(&sketches);
    attempt(&mut run, "g.x", "ok", 3);
    attempt(&mut run, "g.y", "fail", 4);
    assert_eq!(states(&run, "g g.x g.y z"), "g=up_for_retry g.x=succeeded g.y=failed z=pending");
    settle(&mut run, at(13));
    assert_eq!(states(&run, "g"), "g=up_for_retry");
    settle(&mut run, at(14));
    assert_eq!(states(&run, "g g.x g.y"), "g=running g.x=queued g.y=pending");
    attempt(&mut run, "g.x", "ok", 15);
    attempt(&mut run, "g.y", "ok", 16);
    assert_eq!(states(&run, "g z"), "g=succeeded z=queued");
    let past: Vec<usize> = run.tasks().iter().map(|task| task.history.len()).collect();
    assert_eq!(past, [2, 2, 2, 0], "every attempt is remembered");
    assert_eq!(run.task(TaskIx(1)).attempts, 2);
    // What cannot be helped is not tried again.
    let mut run = run_with(&sketches);
    attempt(&mut run, "g.x", "refuse", 3);
    assert_eq!(states(&run, "g g.y"), "g=failed g.y=upstream_failed");
}

#[test]
fn a_group_that_takes_too_long_is_ended_and_finally_is_done() {
    let mut sketches = groups("g: x & y & later < x & f < x, y, later; z < g");
    sketches[0].timeout = Some(10);
    sketches[0].retries = 1;
    sketches[4].is_finally = true;
    sketches[4].rule = TriggerRule::AllDone;
    let mut run = run_with(&sketches);
    start(&mut run, "g.x", 3);
    assert_eq!(run.next_timer(), Some(at(12)), "it began at 2");
    let event = RunEvent::GroupStopped { task: TaskIx(0).into(), attempt: 1, at: at(12) };
    assert_eq!(tidemill_model::decide(&run, at(12)), std::slice::from_ref(&event));
    run.apply(&event).unwrap();
    let cancelled = effects(&run, &event);
    assert!(
        matches!(cancelled.as_slice(), [Effect::CancelAttempt(id)] if id.task.task == TaskIx(1))
    );
    settle(&mut run, at(12));
    let expected = "g=running g.x=running g.y=cancelled g.later=cancelled g.f=pending";
    assert_eq!(states(&run, "g g.x g.y g.later g.f"), expected);
    end(&mut run, "g.x", "cancel", 13);
    assert_eq!(states(&run, "g g.x g.f"), "g=running g.x=cancelled g.f=queued");
    attempt(&mut run, "g.f", "ok", 14);
    assert_eq!(states(&run, "g"), "g=up_for_retry");
    let text = error(&run, "g");
    assert!(text.starts_with("took longer than its timeout of 10.0 s"), "{text}");
    settle(&mut run, at(24));
    assert_eq!(states(&run, "g g.x g.y g.f"), "g=running g.x=queued g.y=queued g.f=pending");
    for member in ["g.x", "g.y", "g.later"] {
        attempt(&mut run, member, "ok", 25);
    }
    // What comes last has no say.
    attempt(&mut run, "g.f", "fail", 26);
    assert_eq!(states(&run, "g z"), "g=succeeded z=queued");
}

#[test]
fn an_empty_list_is_skipped_and_a_bad_one_fails() {
    let mut run = run_of("m*0/1~0; z < m");
    assert_eq!(states(&run, "m z"), "m=skipped z=skipped");
    assert_eq!(run.task(TaskIx(0)).reason.as_deref(), Some("the list of `for_each` is empty"));
    let list = |list: &str| {
        let mut tasks: Vec<_> = groups("m*1/1~0").iter().map(Sketch::task).collect();
        let list = tidemill_model::expr::Expr::parse(list).unwrap();
        tasks[0].mapping.as_mut().unwrap().list = list;
        let head = crate::house::head("d", b"list");
        run = begun(&Arc::new(Dag::new(head, tasks).unwrap()), 1);
        settle(&mut run, at(2));
        error(&run, "m")
    };
    let mut list = list;
    assert_eq!(list("'text'"), "`'text'` gives a text, not a list (`for_each` of task `m`)");
    assert!(list("params.missing").starts_with("`params.missing` has no value"));
    let too_long = list(&format!("range({ITEMS_MAX}) + [1]"));
    assert!(too_long.contains("at most 1000000 can be mapped over"), "{too_long}");
}

#[test]
fn items_begin_in_order_and_never_too_many() {
    let mut run = run_of("m*5/2~0; z < m");
    assert_eq!(states(&run, "m m[0] m[1] m[2]"), "m=running m[0]=queued m[1]=queued m[2]=none");
    attempt(&mut run, "m[1]", "ok", 3);
    assert_eq!(
        states(&run, "m[0] m[1] m[2] m[3]"),
        "m[0]=queued m[1]=succeeded m[2]=queued m[3]=none"
    );
    for item in ["m[0]", "m[2]", "m[3]", "m[4]"] {
        assert_eq!(states(&run, "m z"), "m=running z=pending");
        attempt(&mut run, item, "ok", 4);
    }
    assert_eq!(states(&run, "m z"), "m=succeeded z=queued");
    let map = run.task(TaskIx(0)).map.as_deref().unwrap();
    assert_eq!((map.items, map.begun, map.of(TaskState::Succeeded)), (5, 5, 5));
}

#[test]
fn an_item_that_waits_for_its_retry_is_under_way() {
    let mut sketches = groups("m*3/1~0");
    sketches[0].retries = 1;
    let mut run = run_with(&sketches);
    attempt(&mut run, "m[0]", "fail", 3);
    assert_eq!(states(&run, "m[0] m[1]"), "m[0]=up_for_retry m[1]=none");
    settle(&mut run, at(13));
    assert_eq!(states(&run, "m[0]"), "m[0]=queued");
    attempt(&mut run, "m[0]", "ok", 14);
    assert_eq!(states(&run, "m[0] m[1]"), "m[0]=succeeded m[1]=queued");
}

#[test]
fn failed_items_are_tolerated_up_to_a_number() {
    let mut run = run_of("m*4/1~1; z < m");
    for (item, outcome) in [("m[0]", "ok"), ("m[1]", "fail"), ("m[2]", "ok"), ("m[3]", "ok")] {
        attempt(&mut run, item, outcome, 3);
    }
    assert_eq!(states(&run, "m z"), "m=succeeded z=queued");
    let result = run.task(TaskIx(0)).result.as_deref().unwrap();
    assert_eq!(result.warnings, ["1 of 4 items failed, which is tolerated; `m[1]`: no"]);
    let mut run = run_of("m*9/2~1; z < m");
    attempt(&mut run, "m[0]", "fail", 3);
    attempt(&mut run, "m[2]", "fail", 4);
    // No further item begins, and what is under way is let end.
    assert_eq!(states(&run, "m m[1] m[3]"), "m=running m[1]=queued m[3]=none");
    attempt(&mut run, "m[1]", "ok", 5);
    assert_eq!(states(&run, "m z"), "m=failed z=upstream_failed");
    let expected =
        "2 of 9 items failed, 1 is tolerated; 6 items did not begin any more; `m[0]`: no";
    assert_eq!(error(&run, "m"), expected);
}

#[test]
fn a_mapped_group_goes_depth_first() {
    let mut run = run_of("g*3/3~0: x & y < x");
    let pools = vec![("default".parse().unwrap(), 1)];
    let mut admission = Admission::new(Limits::default(), pools);
    admission.adopt(&run);
    let mut order = Vec::new();
    loop {
        let mut changes = admission.admit(at(3));
        let Some(Event::Run(_, event)) = changes.pop() else { break };
        let task = event.task().unwrap();
        order.push(run.dag().name_of(task));
        let ended = RunEvent::AttemptSucceeded {
            task,
            attempt: 1,
            result: TaskResult::default(),
            at: at(4),
        };
        let mut todo = vec![event, ended];
        while !todo.is_empty() {
            for event in todo {
                run.apply(&event).unwrap();
                admission.apply(&run, &event);
            }
            todo = tidemill_model::decide(&run, at(4));
        }
    }
    assert_eq!(order.join(" "), "g[0].x g[0].y g[1].x g[1].y g[2].x g[2].y");
    assert_eq!(run.head.state.label(), "succeeded");
    let counts = |ix| run.task(TaskIx(ix)).map.as_deref().unwrap().of(TaskState::Succeeded);
    assert_eq!((counts(0), counts(1), counts(2)), (3, 3, 3));
    assert_eq!(states(&run, "g.x g.y"), "g.x=succeeded g.y=succeeded");
}

#[test]
fn tables_of_items_are_put_together_and_a_crash_repeats_that_alone() {
    let mut run = run_of("m*3/3~1; z < m");
    attempt(&mut run, "m[2]", "table", 3);
    attempt(&mut run, "m[1]", "fail", 4);
    start(&mut run, "m[0]", 5);
    run.forget_ended_items();
    end(&mut run, "m[0]", "table", 5);
    assert!(run.task(TaskIx(0)).gathering);
    let gathers = RunEvent::AttemptGathers { task: TaskIx(0).into(), attempt: 1, at: at(5) };
    let Some(Effect::StartAttempt(order)) = effects(&run, &gathers).pop() else {
        panic!("no order")
    };
    let gather = order.gather.as_ref().unwrap();
    let hashes: Vec<(u32, &str)> =
        gather.items.iter().map(|(item, tables)| (*item, tables[0].hash.as_str())).collect();
    assert_eq!(hashes, [(0, "m[0]"), (2, "m[2]")]);
    assert_eq!((gather.counts.rows_in, gather.counts.rows_out), (6, 4));
    assert_eq!(gather.warnings, ["1 of 3 items failed, which is tolerated; `m[1]`: no"]);
    end(&mut run, "m", "lose", 6);
    let whole = run.task(TaskIx(0));
    assert!(whole.gathering && whole.attempts == 2, "under a number of its own");
    assert_eq!(states(&run, "m m[0]"), "m=running m[0]=succeeded");
    end(&mut run, "m", "table", 7);
    assert_eq!(states(&run, "m z"), "m=succeeded z=queued");
}

#[test]
fn a_cancelled_run_begins_no_further_items() {
    let mut run = run_of("m*9/2~0; g*9/1~0: x & y < x; z < m, g");
    start(&mut run, "m[0]", 3);
    let event = RunEvent::CancelRequested { who: "ada".into(), reason: None, at: at(4) };
    run.apply(&event).unwrap();
    settle(&mut run, at(4));
    let expected = "m=running m[0]=running m[1]=cancelled m[2]=none g=cancelled z=cancelled";
    assert_eq!(states(&run, "m m[0] m[1] m[2] g z"), expected);
    end(&mut run, "m[0]", "cancel", 5);
    assert_eq!(states(&run, "m g.x"), "m=cancelled g.x=cancelled");
    assert_eq!(run.head.state.label(), "cancelled");
}

#[test]
fn a_run_comes_back_with_its_items() {
    let mut run = run_of("g*9/2~9: x & y < x; z < g");
    attempt(&mut run, "g[0].x", "ok", 3);
    attempt(&mut run, "g[0].y", "table", 4);
    attempt(&mut run, "g[1].x", "fail", 5);
    start(&mut run, "g[2].x", 6);
    let items = stored_items(&run);
    let stored = StoredRun { head: run.head.clone(), tasks: run.tasks().to_vec(), items };
    let mut back = DagRun::restore(Arc::clone(run.dag()), stored);
    assert_eq!(format!("{:?}", back.task(TaskIx(0)).map), format!("{:?}", run.task(TaskIx(0)).map));
    let names = "g[0].x g[0].y g[1] g[2].x g[2].y g[3].x";
    assert_eq!(states(&back, names), states(&run, names));
    assert_eq!(back.running().count(), 1);
    end(&mut back, "g[2].x", "ok", 7);
    assert_eq!(states(&back, "g[2].y"), "g[2].y=queued");
    assert_eq!(
        back.map(TaskIx(0)).unwrap().first_failure(),
        Some(&(1, "`g[1].x` failed: no".to_owned()))
    );
}

#[test]
fn instances_are_written_as_they_are_read() {
    let dag = dag_of("d", &groups("g*3/3~0: x; m*2/1~0; p"));
    for name in ["g", "g.x", "g[2]", "g[0].x", "m", "m[17]", "p"] {
        assert_eq!(dag.name_of(dag.find_instance(name).unwrap()), name);
    }
    for name in [
        "q", "p[0]", "g[x]", "g[1", "g[01]", "g[-1]", "g[+1]", "g[1].y", "m[0].x", "g.x[1]", "[1]",
        "g[1]x",
    ] {
        assert_eq!(dag.find_instance(name), None, "{name}");
    }
}
