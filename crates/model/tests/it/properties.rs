//! Random DAGs, random outcomes, random operators: what must hold holds after every event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use tidemill_model::decide::{settle_failure, settle_lost};
use tidemill_model::run::{LOST_ATTEMPTS_MAX, MapRun, StoredItem};
use tidemill_model::trigger_rule::{TriggerRule, Upstreams, Verdict};
use tidemill_model::{
    Admission, Dag, DagRun, Event, FailureKind, Instance, Limits, LostCause, PoolName, RunEvent,
    RunHead, RunId, RunState, TableRef, TaskError, TaskIx, TaskResult, TaskRun, TaskState,
    Timestamp, decide,
};

use crate::cases;
use crate::house::{Sketch, at, created, dag_of, stored, stored_items};

/// A small world: every run, admission, and the journal of all that happened.
struct World {
    runs: BTreeMap<RunId, DagRun>,
    admission: Admission,
    pools: Vec<(PoolName, u32)>,
    journal: HashMap<RunId, Vec<RunEvent>>,
    /// Attempts that somebody works on.
    open: BTreeSet<(RunId, Instance, u32)>,
    /// Items of mapped tasks, as they were when runs were told to forget them.
    items: BTreeMap<(RunId, TaskIx, u32), StoredItem>,
    now: i64,
}

const LIMITS: Limits = Limits { running_runs_max: 2, running_attempts_max: 3 };

fn pools(slots: [u32; 2]) -> Vec<(PoolName, u32)> {
    vec![("default".parse().unwrap(), slots[0]), ("narrow".parse().unwrap(), slots[1])]
}

impl World {
    fn new(dags: &[Arc<Dag>]) -> Self {
        let pools = pools([2, 1]);
        let mut world = Self {
            runs: BTreeMap::new(),
            admission: Admission::new(LIMITS, pools.clone()),
            pools,
            journal: HashMap::new(),
            open: BTreeSet::new(),
            items: BTreeMap::new(),
            now: 0,
        };
        for dag in dags {
            world.trigger(dag);
        }
        world
    }

    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn trigger(&mut self, dag: &Arc<Dag>) {
        let number = 1 + self.runs.keys().filter(|id| id.dag == dag.id).count() as u64;
        let id = RunId { dag: dag.id.clone(), number };
        let event = created(dag, self.now);
        let run = DagRun::create(Arc::clone(dag), id.clone(), &event).unwrap();
        self.admission.apply(&run, &event);
        self.journal.insert(id.clone(), vec![event]);
        self.runs.insert(id, run);
    }

    /// Applies an event, which must be legal, and looks at everything that must hold.
    fn record(&mut self, id: &RunId, event: &RunEvent) {
        let run = self.runs.get_mut(id).unwrap();
        if let RunEvent::TaskQueued { .. } | RunEvent::AttemptStarted { map: Some(_), .. } = event {
            // Whatever was decided together with it, it may still run.
            check_rule(run, event);
        }
        run.apply(event).unwrap();
        self.admission.apply(run, event);
        self.follow_attempt(id, event);
        self.journal.get_mut(id).unwrap().push(event.clone());
        if matches!(event, RunEvent::AttemptStarted { .. } | RunEvent::Started { .. }) {
            self.check_limits(id, event);
        }
    }

    /// Each attempt starts once, and ends once.
    fn follow_attempt(&mut self, id: &RunId, event: &RunEvent) {
        let Some(task) = event.task() else { return };
        let is_container = self.runs[id].is_container(task);
        match event {
            RunEvent::AttemptStarted { .. } if is_container => {}
            RunEvent::AttemptStarted { attempt, .. } | RunEvent::AttemptGathers { attempt, .. } => {
                assert!(self.open.insert((id.clone(), task, *attempt)), "{event:?} twice");
            }
            RunEvent::AttemptSucceeded { attempt, .. }
            | RunEvent::AttemptFailed { attempt, .. }
            | RunEvent::AttemptSkipped { attempt, .. }
            | RunEvent::AttemptCancelled { attempt, .. }
            | RunEvent::AttemptLost { attempt, .. } => {
                let was_open = self.open.remove(&(id.clone(), task, *attempt));
                assert!(was_open || is_container, "{event:?} not open");
            }
            _ => {}
        }
    }

    /// Groups end after their members; mapped tasks keep their bounds.
    fn check_containers(&self) {
        for run in self.runs.values() {
            for at in run.open_instances() {
                let outer = run.container(at).and_then(|outer| run.instance(outer));
                assert!(
                    outer.is_none_or(|outer| {
                        outer.state == TaskState::Running
                            || run.instance(at).unwrap().state == TaskState::Pending
                    }),
                    "{} is open in {:?}",
                    run.dag().name_of(at),
                    outer
                );
            }
            for (root, task) in run.dag().tasks().iter().enumerate() {
                let whole = run.task(TaskIx(root as u32));
                let (Some(mapping), Some(counts)) = (&task.mapping, whole.map.as_deref()) else {
                    continue;
                };
                assert!(counts.open() <= mapping.at_once() && counts.begun <= counts.items);
                if whole.state == TaskState::Succeeded {
                    assert!(counts.begun == counts.items && counts.failed() <= counts.tolerated);
                }
            }
        }
    }

    /// What just started is within the limits, counted anew from the runs.
    fn check_limits(&self, id: &RunId, event: &RunEvent) {
        let running = self.runs.values().filter(|run| run.head.state == RunState::Running);
        assert!(running.count() <= LIMITS.running_runs_max as usize);
        let RunEvent::AttemptStarted { task, .. } = event else { return };
        let run = &self.runs[id];
        if run.is_container(*task) {
            return;
        }
        let open = || self.open.iter().filter(|(run, task, _)| !self.runs[run].is_container(*task));
        assert!(open().count() <= LIMITS.running_attempts_max as usize);
        let pool = &run.dag().task(task.task).pool;
        let slots = self.pools.iter().find(|(name, _)| name == pool).map_or(0, |(_, slots)| *slots);
        let used =
            open().filter(|(run, task, _)| self.runs[run].dag().task(task.task).pool == *pool);
        assert!(used.count() <= slots as usize, "pool {pool} of {slots}");
    }

    /// Everything that follows, as a scheduler does it.
    fn settle(&mut self) {
        loop {
            let ids: Vec<RunId> = self.runs.keys().cloned().collect();
            for id in ids {
                loop {
                    let events = decide(&self.runs[&id], self.now());
                    if events.is_empty() {
                        break;
                    }
                    for event in &events {
                        check_rule(&self.runs[&id], event);
                    }
                    for event in events {
                        self.record(&id, &event);
                    }
                }
            }
            let started = self.admission.admit(self.now());
            if started.is_empty() {
                break;
            }
            for event in started {
                let Event::Run(id, event) = event else { panic!("{event:?}") };
                self.record(&id, &event);
            }
        }
    }

    /// One thing that the world does, drawn from a number.
    fn step(&mut self, dags: &[Arc<Dag>], draw: u32) {
        let pick = (draw / 16) as usize;
        match draw % 16 {
            0..9 => self.report(pick, draw % 16),
            9 => self.lose_all(),
            10 => self.stale_report(pick),
            11 | 12 => self.now += [1, 10, 30, 700][pick % 4],
            13 => self.cancel(pick),
            14 => self.set_pools(pick),
            _ => self.trigger_or_rerun(dags, pick),
        }
        self.settle();
    }

    /// Runs forget ended items once those are stored.
    fn store_items(&mut self) {
        for (id, run) in &mut self.runs {
            for item in stored_items(run) {
                self.items.insert((id.clone(), item.task, item.item), item);
            }
            run.forget_ended_items();
        }
    }

    fn restored(&self, run: &DagRun) -> DagRun {
        let id = &run.head.id;
        let items = self.items.iter().filter(|((run, ..), _)| run == id).map(|(_, item)| item);
        restored(run, items.cloned().collect())
    }

    fn open_attempt(&self, pick: usize) -> Option<(RunId, Instance, u32)> {
        self.open.iter().nth(pick % self.open.len().max(1)).cloned()
    }

    fn report(&mut self, pick: usize, outcome: u32) {
        let Some((id, task, attempt)) = self.open_attempt(pick) else { return };
        let at = self.now();
        let run = &self.runs[&id];
        let event = match outcome {
            0..3 => RunEvent::AttemptSucceeded { task, attempt, result: TaskResult::default(), at },
            3 => RunEvent::AttemptSucceeded { task, attempt, result: with_table(), at },
            4 | 5 => settle_failure(run, task, TaskError::new(FailureKind::Exit, "no"), at),
            6 => settle_failure(run, task, TaskError::new(FailureKind::Refused, "no"), at),
            7 => RunEvent::AttemptSkipped { task, attempt, reason: "nothing".to_owned(), at },
            _ if run.head.cancel_requested => RunEvent::AttemptCancelled { task, attempt, at },
            8 => settle_lost(run, task, LostCause::Shutdown, at),
            _ => settle_lost(run, task, LostCause::Crash, at),
        };
        if let RunEvent::AttemptLost { cause, again, .. } = event {
            let may = cause == LostCause::Shutdown
                || run.instance(task).unwrap().lost < LOST_ATTEMPTS_MAX;
            assert_eq!(again, may && !run.head.cancel_requested && !run.is_stopping(task));
        }
        self.record(&id, &event);
    }

    /// The server was killed: whoever ran the attempts is gone, and the rest comes back from what
    /// is stored.
    fn lose_all(&mut self) {
        let back = self.runs.iter().map(|(id, run)| (id.clone(), self.restored(run)));
        self.runs = back.collect();
        self.admission = Admission::new(LIMITS, self.pools.clone());
        self.runs.values().for_each(|run| self.admission.adopt(run));
        for (id, task, _) in self.open.clone() {
            let event = settle_lost(&self.runs[&id], task, LostCause::Crash, self.now());
            self.record(&id, &event);
        }
    }

    /// A report with an old number is refused and changes nothing.
    fn stale_report(&mut self, pick: usize) {
        let Some((id, task, attempt)) = self.open_attempt(pick) else { return };
        let run = self.runs.get_mut(&id).unwrap();
        let before = format!("{run:?}");
        let old = RunEvent::AttemptSucceeded {
            task,
            attempt: attempt - 1,
            result: TaskResult::default(),
            at: at(self.now),
        };
        assert!(run.apply(&old).is_err());
        assert_eq!(format!("{run:?}"), before);
    }

    fn cancel(&mut self, pick: usize) {
        let open: Vec<RunId> = self
            .runs
            .values()
            .filter(|run| !run.head.state.is_final())
            .map(|run| run.head.id.clone())
            .collect();
        if let Some(id) = open.get(pick % open.len().max(1)) {
            let event =
                RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: self.now() };
            self.record(id, &event);
        }
    }

    fn set_pools(&mut self, pick: usize) {
        let slots = [[2, 1], [1, 0], [0, 2], [3, 3]][pick % 4];
        self.pools = pools(slots);
        self.admission.set_pools(self.pools.clone());
    }

    /// A finished run goes again from a task on; without one, a new run is called for.
    fn trigger_or_rerun(&mut self, dags: &[Arc<Dag>], pick: usize) {
        let done = self.runs.values().find(|run| run.head.state.is_final());
        let Some(run) = done.filter(|_| pick.is_multiple_of(2)) else {
            if self.runs.len() < 6 {
                self.trigger(&dags[pick % dags.len()]);
            }
            return;
        };
        let dag = Arc::clone(run.dag());
        let mut chosen = BTreeSet::from([TaskIx((pick % dag.tasks().len()) as u32)]);
        for ix in dag.order() {
            if chosen.contains(ix) {
                chosen.extend(dag.downstream(*ix));
            }
        }
        let id = run.head.id.clone();
        let event = RunEvent::Reopened {
            tasks: chosen.into_iter().collect(),
            version: dag.version.clone(),
            who: String::new(),
            at: self.now(),
        };
        self.record(&id, &event);
    }

    /// Everything goes well from now on.
    fn drain(&mut self) {
        self.set_pools(3);
        self.settle();
        for _ in 0..10_000 {
            if self.runs.values().all(|run| run.head.state.is_final()) {
                return;
            }
            self.now += 600;
            match self.open_attempt(0) {
                Some(_) => self.report(0, 0),
                None => assert!(
                    self.runs.values().any(|run| run.next_timer().is_some())
                        || !self.admission.admit(self.now()).is_empty(),
                    "nothing is under way, nothing is due, and runs are not finished"
                ),
            }
            self.settle();
        }
        panic!("runs did not end");
    }

    /// What is stored is what is live: the runs, and admission over them.
    fn check_stored(&self) {
        let mut fresh = Admission::new(LIMITS, self.pools.clone());
        for run in self.runs.values() {
            check_same(&self.restored(run), run);
            fresh.adopt(run);
        }
        assert_eq!(figures(&fresh), figures(&self.admission));
        assert_eq!(fresh.admit(self.now()), self.admission.admit(self.now()));
    }

    /// What is replayed from the journal's text is what is live.
    fn check_replayed(&self) {
        for (id, run) in &self.runs {
            let text: Vec<String> = (self.journal[id].iter())
                .map(|event| serde_json::to_string(event).unwrap())
                .collect();
            let mut events = text.iter().map(|text| serde_json::from_str(text).unwrap());
            let dag = Arc::clone(run.dag());
            let mut replayed = DagRun::create(dag, id.clone(), &events.next().unwrap()).unwrap();
            events.for_each(|event| replayed.apply(&event).unwrap());
            check_same(&replayed, run);
        }
    }
}

/// Two runs are the same, with all that is derived.
fn check_same(one: &DagRun, other: &DagRun) {
    assert_eq!(one.head, other.head);
    assert_eq!(one.tasks(), other.tasks());
    let derived = |run: &DagRun| {
        let verdicts: Vec<(Instance, Verdict)> =
            run.open_instances().map(|at| (at, run.verdict(at))).collect();
        let (ready, running) = (run.ready().collect::<Vec<_>>(), run.running().collect::<Vec<_>>());
        let due: Vec<Instance> = run.due(Timestamp::MAX).collect();
        let counts = (run.next_timer(), run.unfinished(), run.idle());
        (verdicts, ready, running, due, counts, run.stirred().collect::<Vec<_>>())
    };
    assert_eq!(derived(one), derived(other));
    let items = |run: &DagRun| -> Vec<String> {
        let of_map = |(root, map): (TaskIx, &MapRun)| {
            let ended: Vec<_> = map.ended().collect();
            let open: Vec<_> =
                map.items().filter(|(i, _)| !ended.iter().any(|e| e.0 == *i)).collect();
            format!("{root:?} {ended:?} {open:?} {:?}", map.first_failure())
        };
        run.maps().map(of_map).collect()
    };
    assert_eq!(items(one), items(other));
}

/// A run as it comes back from its stored form.
fn restored(run: &DagRun, mut items: Vec<StoredItem>) -> DagRun {
    let stored = stored(run);
    let head: RunHead =
        serde_json::from_str(&serde_json::to_string(&stored.head).unwrap()).unwrap();
    let tasks: Vec<TaskRun> =
        serde_json::from_str(&serde_json::to_string(&stored.tasks).unwrap()).unwrap();
    // What the run still remembers in full is newer.
    let fresh = stored.items;
    items.retain(|old| !fresh.iter().any(|new| (new.task, new.item) == (old.task, old.item)));
    items.extend(fresh);
    DagRun::restore(Arc::clone(run.dag()), tidemill_model::run::StoredRun { head, tasks, items })
}

/// Pools in use, and what counts over all of them.
fn figures(admission: &Admission) -> (Vec<String>, u32, u32, usize) {
    let waits = admission.waits(Timestamp::MIN);
    let pools = waits.pools().iter().filter(|pool| pool.used > 0 || pool.queued > 0);
    (
        pools.map(|pool| format!("{pool:?}")).collect(),
        admission.running_attempts(),
        admission.running_runs(),
        admission.queued_runs(),
    )
}

fn with_table() -> TaskResult {
    let table = TableRef {
        name: "t".to_owned(),
        hash: "00".to_owned(),
        rows: 1,
        bytes: 1,
        schema: "0".to_owned(),
    };
    TaskResult { tables: vec![table], ..TaskResult::default() }
}

/// How the upstreams of an instance ended, counted anew.
fn upstreams(run: &DagRun, at: Instance) -> Upstreams {
    let mut up = Upstreams::default();
    for edge in &run.dag().task(at.task).upstream {
        up.total += 1;
        match run.instance(Instance { task: edge.task, ..at }).unwrap().state {
            TaskState::Succeeded => up.succeeded += 1,
            TaskState::Skipped => up.skipped += 1,
            TaskState::Failed | TaskState::Cancelled => up.failed += 1,
            TaskState::UpstreamFailed => up.upstream_failed += 1,
            TaskState::Removed => up.total -= 1,
            _ => {}
        }
    }
    up
}

/// What lets an instance begin, or keeps it from it, as counted anew.
fn verdict(run: &DagRun, at: Instance) -> Verdict {
    let outer = run.container(at).map(|outer| run.instance(outer).unwrap().state);
    match outer {
        None | Some(TaskState::Running) => {
            run.dag().task(at.task).trigger_rule.verdict(upstreams(run, at))
        }
        Some(TaskState::Skipped) => Verdict::Skip,
        Some(TaskState::Pending) => Verdict::Wait,
        Some(_) => Verdict::UpstreamFailed,
    }
}

/// No task leaves `Pending` unless its trigger rule says so, as counted anew.
fn check_rule(run: &DagRun, event: &RunEvent) {
    let is_pending =
        |at: &Instance| run.instance(*at).is_some_and(|task| task.state == TaskState::Pending);
    let Some(at) = event.task().filter(is_pending) else { return };
    let task = run.dag().task(at.task);
    let verdict = verdict(run, at);
    let expected = match event {
        RunEvent::TaskQueued { .. } | RunEvent::TaskFailed { .. } => Verdict::Run,
        RunEvent::AttemptStarted { .. } if run.is_container(at) => Verdict::Run,
        RunEvent::TaskSkipped { .. } if verdict == Verdict::Run => {
            let when = task.when.as_ref().map(tidemill_model::expr::Expr::source);
            let is_empty = task.mapping.as_ref().is_some_and(|m| m.list.source() == "[]");
            assert!(when == Some("1 == 2") || is_empty, "{event:?}");
            Verdict::Run
        }
        RunEvent::TaskSkipped { .. } => Verdict::Skip,
        RunEvent::TaskUpstreamFailed { .. } => Verdict::UpstreamFailed,
        _ => return,
    };
    assert_eq!(verdict, expected, "{event:?} of {:?}", task.name);
}

fn sketch(i: usize) -> impl Strategy<Value = Sketch> {
    let rule = prop_oneof![
        2 => Just(TriggerRule::AllSuccess),
        1 => prop::sample::select(TriggerRule::ALL.to_vec()),
    ];
    let upstream = prop::collection::btree_set(0..i.max(1), 0..=i.min(3));
    let pool = prop::sample::select(vec!["default", "default", "narrow"]);
    let when = prop_oneof![
        8 => Just(None),
        1 => Just(Some("1 == 1")),
        1 => Just(Some("1 == 2")),
        1 => Just(Some("params.missing == 1")),
    ];
    (rule, upstream, 0..3_u32, pool, when).prop_map(move |(rule, upstream, retries, pool, when)| {
        Sketch {
            name: format!("t{i}"),
            upstream: upstream.into_iter().filter(|up| *up < i).collect(),
            rule,
            retries,
            pool,
            when,
            ..Sketch::default()
        }
    })
}

/// What makes a group of a task, or maps it.
type Shape = (Vec<Sketch>, Option<(u32, u32, u32)>, Option<u64>, bool);

fn shape() -> impl Strategy<Value = Shape> {
    let members = prop_oneof![
        2 => Just(Vec::new()),
        1 => (1..4_usize).prop_flat_map(|n| (0..n).map(sketch).collect::<Vec<_>>()),
    ];
    let map = || prop::option::weighted(0.4, (0..5_u32, 1..3_u32, 0..3_u32));
    let timeout = prop::option::weighted(0.3, 5..40_u64);
    (members, map(), map(), timeout, any::<bool>()).prop_map(
        |(mut members, map, inner, timeout, is_finally)| {
            if let (None, Some(member)) = (map, members.first_mut()) {
                member.map = inner;
            }
            (members, map, timeout, is_finally)
        },
    )
}

/// The tasks, then the members of each that is a group.
fn grouped(tops: Vec<Sketch>, shapes: Vec<Shape>) -> Vec<Sketch> {
    let mut all = tops;
    for (i, (mut members, map, timeout, is_finally)) in shapes.into_iter().enumerate() {
        all[i].map = map;
        if members.is_empty() {
            continue;
        }
        (all[i].holds, all[i].timeout) = (true, timeout);
        let first = all.len();
        for (k, member) in members.iter_mut().enumerate() {
            member.name = format!("{}.m{k}", all[i].name);
            member.group = Some(i);
            member.upstream.iter_mut().for_each(|up| *up += first);
        }
        let last = members.len() - 1;
        if is_finally && last > 0 {
            let upstream = (first..first + last).collect();
            members[last] = Sketch {
                name: members[last].name.clone(),
                group: Some(i),
                upstream,
                rule: TriggerRule::AllDone,
                is_finally: true,
                ..Sketch::default()
            };
        }
        all.extend(members);
    }
    all
}

fn any_dag() -> impl Strategy<Value = Vec<Sketch>> {
    (1..8_usize).prop_flat_map(|n| {
        let tops = (0..n).map(sketch).collect::<Vec<_>>();
        (tops, prop::collection::vec(shape(), n)).prop_map(|(tops, shapes)| grouped(tops, shapes))
    })
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn whatever_happens(
        dags in prop::collection::vec(any_dag(), 1..4),
        draws in prop::collection::vec(any::<u32>(), 0..80),
    ) {
        let dags: Vec<Arc<Dag>> =
            dags.iter().enumerate().map(|(i, dag)| dag_of(&format!("d{i}"), dag)).collect();
        let mut world = World::new(&dags);
        world.settle();
        for draw in draws {
            world.step(&dags, draw);
            world.check_stored();
            world.check_containers();
            if draw % 3 == 0 {
                world.store_items();
            }
        }
        world.check_replayed();
        world.drain();
        world.check_stored();
        world.check_replayed();
        prop_assert!(world.open.is_empty());
        for run in world.runs.values() {
            prop_assert!(run.tasks().iter().all(|task| task.state.is_final()));
            let failed_leaf = run.tasks().iter().enumerate().any(|(i, task)| {
                run.dag().downstream(TaskIx(i as u32)).is_empty()
                    && run.dag().tasks()[i].group.is_none()
                    && matches!(
                        task.state,
                        TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled
                    )
            });
            match run.head.state {
                RunState::Succeeded => prop_assert!(!failed_leaf),
                RunState::Failed => prop_assert!(failed_leaf),
                RunState::Cancelled => prop_assert!(run.head.cancel_requested),
                state => prop_assert!(false, "{:?}", state),
            }
        }
    }
}
