//! What every store must do, as a suite. A store that passes [`exercise`] can stand behind the
//! scheduler.

mod script;

use std::fmt::Display;
use std::sync::Arc;

use tidemill_model::run::MapRun;
use tidemill_model::{
    Dag, DagEvent, DagRecord, DagRun, Event, Position, RunEvent, RunId, RunState, SmallTable,
    TaskIx, TaskState, Timestamp, Version,
};

use crate::store::{Commit, Record, RunQuery, Store, StoreError};
pub use script::{Script, chain, mapped, resolver, source_of};

/// A store under test.
pub trait Subject {
    /// The open store.
    fn store(&self) -> Arc<dyn Store>;

    /// Ends the store as a kill of its process would, and opens it again.
    fn restart(&mut self);
}

/// Runs the suite; `make` gives a new, empty store each time. Panics at the first difference.
pub fn exercise(mut make: impl FnMut() -> Box<dyn Subject>) {
    let checks: [fn(&mut dyn Subject); 9] = [
        commits_are_numbered_and_read_back,
        commits_outlast_a_restart,
        small_tables_come_back,
        newer_records_win,
        pages_show_every_run_once,
        a_checkpoint_shortens_the_replay,
        a_restart_loses_no_event,
        versions_come_back,
        items_come_back,
    ];
    for check in checks {
        check(make().as_mut());
    }
}

fn ok<T, E: Display>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn commit(store: &dyn Store, what: &Commit) -> Position {
    ok(store.commit(what), "commit")
}

fn events_of(store: &dyn Store) -> Vec<Event> {
    let events = ok(store.events(Position(0), usize::MAX), "events");
    let positions: Vec<u64> = events.iter().map(|(position, _)| position.0).collect();
    assert_eq!(positions, (1..=events.len() as u64).collect::<Vec<_>>());
    events.into_iter().map(|(_, event)| event).collect()
}

fn commits_are_numbered_and_read_back(subject: &mut dyn Subject) {
    let store = subject.store();
    let dag = chain("numbered", 3);
    assert_eq!(ok(store.events(Position(0), 10), "events"), Vec::new());
    assert_eq!(ok(store.recover(), "recover").last, Position(0));
    let (one, two) = (Script::begin(&dag, 1, 10), Script::begin(&dag, 2, 20).start().finish());
    assert_eq!(commit(&*store, &one.commit()), Position(1));
    let last = commit(&*store, &two.commit());
    assert_eq!(last, Position(1 + two.events.len() as u64));
    assert_eq!(commit(&*store, &Commit::default()), last, "a commit of nothing");
    let all = [one.commit().events, two.commit().events].concat();
    assert_eq!(events_of(&*store), all);
    let some = ok(store.events(Position(2), 3), "events");
    let expected: Vec<_> = (3..6).map(|i| (Position(i), all[i as usize - 1].clone())).collect();
    assert_eq!(some, expected);
    assert_eq!(ok(store.events(last, 3), "events"), Vec::new());
    assert_eq!(ok(store.events(Position(0), 0), "events"), Vec::new());
}

fn commits_outlast_a_restart(subject: &mut dyn Subject) {
    let dag = chain("restarted", 2);
    ok(subject.store().put_version(&dag.version, &source_of(&dag)), "version");
    let mut all = Vec::new();
    for number in 1..=5 {
        let script = Script::begin(&dag, number, 10);
        let last = commit(&*subject.store(), &script.commit());
        all.extend(script.commit().events);
        subject.restart();
        assert_eq!(ok(subject.store().recover(), "recover").last, last);
    }
    assert_eq!(events_of(&*subject.store()), all);
}

fn small_tables_come_back(subject: &mut dyn Subject) {
    let store = subject.store();
    let table = |hash: &str, len: usize| SmallTable {
        hash: hash.to_owned(),
        bytes: vec![b'x'; len].into(),
    };
    let dag = chain("tables", 1);
    ok(store.put_version(&dag.version, &source_of(&dag)), "version");
    let script = Script::begin(&dag, 1, 10);
    let tables = vec![table("aa", 0), table("bb", 64 * 1024), table("bb", 64 * 1024)];
    commit(&*store, &Commit { small_tables: tables, ..script.commit() });
    let too_large = Commit { small_tables: vec![table("cc", 64 * 1024 + 1)], ..script.commit() };
    assert!(matches!(store.commit(&too_large), Err(StoreError::TooLarge { .. })));
    drop(store);
    subject.restart();
    let store = subject.store();
    let len = |hash: &str| ok(store.small_table(hash), "table").map(|bytes| bytes.len());
    assert_eq!([len("aa"), len("bb"), len("cc")], [Some(0), Some(64 * 1024), None]);
    assert_eq!(events_of(&*store).len(), 1, "the refused commit left no event");
}

fn newer_records_win(subject: &mut dyn Subject) {
    let store = subject.store();
    let dag = chain("records", 20);
    let first = Script::begin(&dag, 1, 10).start().succeed(0, 1);
    let old = first.record(Position(5));
    let newer = first.succeed(1, 7);
    ok(store.put(std::slice::from_ref(&old)), "put");
    // Only the task that changed goes with the newer record.
    let Record::Run { summary, .. } = newer.record(Position(8)) else { return };
    let changed = vec![(TaskIx(1), newer.run.task(TaskIx(1)).clone())];
    let diff = Record::Run {
        position: Position(8),
        summary: summary.clone(),
        tasks: changed,
        items: Vec::new(),
    };
    ok(store.put(&[diff, old]), "put");
    let Some(stored) = ok(store.run(&newer.run.head.id), "run") else {
        panic!("the run is stored");
    };
    assert_eq!(stored.position, Position(8));
    assert_eq!(stored.run.head, newer.run.head);
    assert_eq!(stored.run.tasks, newer.run.tasks());
    let page = ok(store.runs(&RunQuery { limit: 10, ..RunQuery::default() }), "runs");
    assert_eq!(page.runs, vec![*summary]);
    let gone: RunId = ok("records.9".parse(), "run id");
    assert!(ok(store.run(&gone), "run").is_none());
    let record = |n| DagRecord { last_run: n, ..DagRecord::default() };
    let put = |n| Record::Dag { position: Position(n), id: dag.id.clone(), record: record(n) };
    ok(store.put(&[put(3), put(9), put(4)]), "put");
    let dags = ok(store.recover(), "recover").dags;
    assert_eq!(
        dags.iter().map(|d| (d.position.0, d.record.last_run)).collect::<Vec<_>>(),
        [(9, 9)]
    );
}

fn pages_show_every_run_once(subject: &mut dyn Subject) {
    let store = subject.store();
    let dags = [chain("ab", 1), chain("a-b", 1), chain("abc", 2)];
    let mut expected = Vec::new();
    for number in 1..=12 {
        for dag in &dags {
            // Several runs share an instant, so that ids decide.
            let script = Script::begin(dag, number, (number as i64 / 3) - 2);
            let script = match number % 3 {
                0 => script,
                1 => script.start(),
                _ => script.start().finish(),
            };
            ok(store.put(&[script.record(Position(number))]), "put");
            expected.push(script.run.head);
        }
    }
    expected.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    let states = [
        vec![],
        vec![RunState::Succeeded],
        vec![RunState::Queued, RunState::Running],
        vec![RunState::Running, RunState::Succeeded],
        vec![RunState::Failed],
    ];
    for dag in [None, Some(&dags[0].id), Some(&dags[1].id)] {
        for states in &states {
            for limit in [1, 4, 100] {
                let mut query =
                    RunQuery { dag: dag.cloned(), states: states.clone(), after: None, limit };
                let mut found = Vec::new();
                loop {
                    let page = ok(store.runs(&query), "runs");
                    assert!(page.runs.len() <= limit);
                    found.extend(page.runs.into_iter().map(|run| run.head));
                    let Some(next) = page.next else { break };
                    query.after = Some(next);
                }
                let wanted: Vec<_> = (expected.iter())
                    .filter(|head| dag.is_none_or(|dag| *dag == head.id.dag))
                    .filter(|head| states.is_empty() || states.contains(&head.state))
                    .cloned()
                    .collect();
                assert_eq!(found, wanted, "{dag:?} {states:?} limit {limit}");
            }
        }
    }
}

fn a_checkpoint_shortens_the_replay(subject: &mut dyn Subject) {
    let store = subject.store();
    let dag = chain("checkpoint", 2);
    ok(store.put_version(&dag.version, &source_of(&dag)), "version");
    let (done, open) = (Script::begin(&dag, 1, 10).start().finish(), Script::begin(&dag, 2, 20));
    let at_done = commit(&*store, &done.commit());
    let at_open = commit(&*store, &open.commit());
    ok(store.put(&[done.record(at_done), open.record(at_open)]), "put");
    ok(store.checkpoint(at_open), "checkpoint");
    drop(store);
    subject.restart();
    let store = subject.store();
    let recovered = ok(store.recover(), "recover");
    assert_eq!(recovered.tail, Vec::new());
    assert_eq!(recovered.last, at_open);
    let heads: Vec<_> = recovered.unfinished.iter().map(|r| r.run.head.clone()).collect();
    assert_eq!(heads, std::slice::from_ref(&open.run.head));
    let stored = ok(store.run(&done.run.head.id), "run");
    assert_eq!(stored.map(|stored| stored.run.tasks), Some(done.run.tasks().to_vec()));
}

/// Whatever of the records survives: records and tail together give the state of every run.
fn a_restart_loses_no_event(subject: &mut dyn Subject) {
    let dag = chain("lossless", 10);
    ok(subject.store().put_version(&dag.version, &source_of(&dag)), "version");
    let deployed = DagEvent::Deployed {
        listens: std::collections::BTreeMap::new(),
        version: dag.version.clone(),
        served: true,
        triggers: Vec::new(),
        at: Timestamp::MIN,
    };
    let mut known = DagRecord::default();
    known.apply(&deployed);
    let deploy = Commit { events: vec![Event::Dag(dag.id.clone(), deployed)], ..Commit::default() };
    commit(&*subject.store(), &deploy);
    let mut scripts: Vec<Script> = Vec::new();
    for round in 0..6_u64 {
        let store = subject.store();
        scripts.push(Script::begin(&dag, round + 1, round as i64));
        let mut records = Vec::new();
        for (i, slot) in scripts.iter_mut().enumerate() {
            let before = slot.events.len();
            let script = std::mem::replace(slot, Script::begin(&dag, u64::MAX, 0));
            let age = round - i as u64;
            *slot = match age {
                0 => script.start(),
                1..4 => script.succeed(age as u32 - 1, age),
                4 => script.finish(),
                _ => script,
            };
            let skip = if age == 0 { 0 } else { before };
            let position = commit(&*store, &slot.commit_from(skip));
            if age == 0 {
                known.created(round + 1);
                let (id, record) = (dag.id.clone(), known.clone());
                records.push(Record::Dag { position, id, record });
            }
            records.push(slot.record(position));
        }
        let reached = ok(store.recover(), "recover").last;
        if round % 2 == 0 {
            ok(store.put(&records), "put");
        }
        if round == 2 {
            ok(store.checkpoint(reached), "checkpoint");
        }
        drop(store);
        subject.restart();
        check_complete(&*subject.store(), &dag, &scripts);
    }
}

fn check_complete(store: &dyn Store, dag: &Arc<Dag>, scripts: &[Script]) {
    let recovered = ok(store.recover(), "recover");
    for script in scripts {
        let id = &script.run.head.id;
        let stored = ok(store.run(id), "run");
        let mut position = stored.as_ref().map_or(Position(0), |stored| stored.position);
        let mut run = stored.map(|stored| DagRun::restore(Arc::clone(dag), stored.run));
        for (at, event) in &recovered.tail {
            let Event::Run(run_id, event) = event else { continue };
            if run_id != id || *at <= position {
                continue;
            }
            position = *at;
            match &mut run {
                Some(run) => ok(run.apply(event), "apply"),
                None => {
                    run = Some(ok(DagRun::create(Arc::clone(dag), id.clone(), event), "create"));
                }
            }
        }
        let Some(run) = run else { panic!("run {id} is gone") };
        assert_eq!(run.head, script.run.head);
        assert_eq!(run.tasks(), script.run.tasks());
    }
    let mut record =
        recovered.dags.into_iter().find(|d| d.id == dag.id).map(|d| d.record).unwrap_or_default();
    for (_, event) in &recovered.tail {
        match event {
            Event::Dag(_, event) => record.apply(event),
            Event::Run(id, RunEvent::Created { .. }) => record.created(id.number),
            Event::Run(..) => {}
        }
    }
    assert_eq!(record.version.as_ref(), Some(&dag.version));
    assert_eq!(record.last_run, scripts.len() as u64);
}

fn versions_come_back(subject: &mut dyn Subject) {
    let dags = [chain("v", 1), chain("v", 2), chain("v", 3)];
    let all: Vec<_> = dags.iter().map(|dag| (dag.version.clone(), source_of(dag))).collect();
    ok(subject.store().put_version(&all[0].0, &all[0].1), "version");
    ok(subject.store().put_versions(&all), "versions");
    subject.restart();
    for (version, source) in &all {
        assert_eq!(ok(subject.store().version(version), "version").as_ref(), Some(source));
    }
    assert_eq!(ok(subject.store().version(&Version::of(b"?")), "version"), None);
}

/// Items of a mapped task come back with their run while it goes on, and by themselves for ever,
/// whichever part of them a checkpoint or the journal brings.
fn items_come_back(subject: &mut dyn Subject) {
    const ITEMS: u32 = 2_500;
    let dag = mapped("mapped", ITEMS);
    ok(subject.store().put_version(&dag.version, &source_of(&dag)), "version");
    let mut script = Script::begin(&dag, 1, 10).start().map_over(ITEMS);
    commit(&*subject.store(), &script.commit());
    for upto in [900, 1_700, 2_400] {
        let store = subject.store();
        let before = script.events.len();
        let begun = script.run.task(TaskIx(0)).map.as_ref().map_or(0, |map| map.begun);
        for item in begun..upto {
            script = script.item(item);
        }
        let last = commit(&*store, &script.commit_from(before));
        if upto != 1_700 {
            ok(store.put(&[script.record(last)]), "put");
        }
        if upto == 900 {
            ok(store.checkpoint(last), "checkpoint");
        }
        drop(store);
        subject.restart();
        let run = ok(subject.store().recover(), "recover").unfinished.pop();
        let Some(stored) = run else {
            // Only the journal knows it.
            continue;
        };
        let run = DagRun::restore(Arc::clone(&dag), stored.run);
        let ended = |run: &DagRun| {
            let map = run.map(TaskIx(0));
            map.into_iter().flat_map(MapRun::ended).map(|(item, ..)| item).collect::<Vec<_>>()
        };
        if stored.position == last {
            assert!(ended(&run) == ended(&script.run), "{} ended", ended(&run).len());
        }
    }
    let store = subject.store();
    let before = script.events.len();
    let script = (2_400..ITEMS).fold(script, Script::item).gather().finish();
    let last = commit(&*store, &script.commit_from(before));
    ok(store.put(&[script.record(last)]), "put");
    ok(store.checkpoint(last), "checkpoint");
    drop(store);
    subject.restart();
    let store = subject.store();
    let id = &script.run.head.id;
    let items = |first, limit| ok(store.items(id, TaskIx(0), first, limit), "items");
    let all = items(0, usize::MAX);
    let numbers: Vec<u32> = all.iter().map(|item| item.item).collect();
    assert!(numbers.iter().copied().eq(0..ITEMS), "{} items", numbers.len());
    assert!(all.iter().all(|item| item.runs[0].state == TaskState::Succeeded));
    assert_eq!(items(2_498, 9), all[2_498..]);
    assert_eq!(items(7, 2), all[7..9]);
    assert_eq!(items(ITEMS, 9), []);
    assert_eq!(ok(store.items(id, TaskIx(1), 0, 9), "items"), []);
    let stored = ok(store.run(id), "run");
    assert_eq!(stored.map(|stored| stored.run.items), Some(Vec::new()), "it is finished");
}
