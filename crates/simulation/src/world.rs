//! Clock, operators, executor, faults and crashes around a kernel.

mod inputs;
mod operators;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidemill_model::{
    AttemptId, Dag, DagId, Event, Limits, PoolName, Position, ReportOutcome, TaskResult, Timestamp,
    Version,
};
use tidemill_scheduler::Kernel;
use tidemill_scheduler::restore::{Carry, Past, Restored, restore, settle_restart};
use tidemill_store::{Commit, DagSource, Fault, MemoryStore, Store, StoreError};

use crate::check::{kernel_is_true, nothing_is_stuck};
use crate::draw::Draw;
use crate::plan::{Traits, any_dag, begin, pools};
use crate::shelf::Shelf;
use crate::truth::{Terms, Truth, same};
use crate::{Rule, hold};

/// What happened in a story, so that a test can tell that something did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commits that became durable.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Runs.
    pub runs: u64,
    /// Attempts that started.
    pub attempts: u64,
    /// Ticks that fired.
    pub fired: u64,
    /// Ticks that were passed over.
    pub passed_over: u64,
    /// Crashes.
    pub crashes: u64,
    /// Commits that a full disk refused at first.
    pub full: u64,
    /// Commits of which nobody knew whether they were durable, and were.
    pub doubtful: u64,
    /// Reports of attempts that were no longer wanted.
    pub refused: u64,
    /// Checkpoints.
    pub checkpoints: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.events += other.events;
        self.runs += other.runs;
        self.attempts += other.attempts;
        self.fired += other.fired;
        self.passed_over += other.passed_over;
        self.crashes += other.crashes;
        self.full += other.full;
        self.doubtful += other.doubtful;
        self.refused += other.refused;
        self.checkpoints += other.checkpoints;
    }
}

/// An attempt that somebody works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    cancelled: bool,
    /// It hangs, and is ended at this instant.
    hangs_until: Option<Timestamp>,
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// With the commit decided and nothing of it written.
    Before,
    /// In the sync: whether it is durable is drawn.
    During,
    /// With the commit durable, and nobody told.
    After,
    /// With a part of the effects gone out.
    Midway,
}

impl Crash {
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::During, Self::After, Self::Midway];
}

/// How often things go wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// Crashes, in a thousand commits.
    pub(crate) crashes: u64,
    /// Full disks, in a thousand commits.
    pub(crate) full: u64,
    /// The one commit that crashes whatever is drawn, by its number from 1.
    pub(crate) crash_at: Option<(u64, Crash)>,
}

const LIMITS: Limits = Limits { running_runs_max: 3, running_attempts_max: 5 };

/// A kernel and everything around it.
pub(crate) struct World {
    pub(crate) draw: Draw,
    pub(crate) now: Timestamp,
    pub(crate) kernel: Kernel,
    pub(crate) truth: Truth,
    pub(crate) weather: Weather,
    pub(crate) work: BTreeMap<AttemptId, Work>,
    store: MemoryStore,
    shelf: Shelf,
    versions: HashMap<Version, Arc<Dag>>,
    /// The DAG files, by name; `None` while a file is gone.
    files: BTreeMap<DagId, Option<Arc<Dag>>>,
    pools: Vec<(PoolName, u32)>,
    /// Attempts that nobody works on any more.
    over: Vec<AttemptId>,
    ordered: BTreeSet<AttemptId>,
    asked: u64,
    figures: Figures,
    trace: Vec<String>,
}

struct Library<'a> {
    versions: &'a HashMap<Version, Arc<Dag>>,
    store: &'a MemoryStore,
}

impl Past for Library<'_> {
    fn dag(&self, version: &Version) -> Option<Arc<Dag>> {
        // A version loads only if its text was made durable.
        self.store.version(version).ok()??;
        self.versions.get(version).cloned()
    }

    fn store(&self) -> &dyn Store {
        self.store
    }
}

impl World {
    /// A world of drawn DAGs in rough weather.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self::empty(seed);
        world.weather = Weather { crashes: 30, full: 10, crash_at: None };
        let traits = Traits { scheduled: true, timed: true, around: world.now };
        for i in 0..=world.draw.below(3) {
            world.write_file(&format!("d{i}"), i, traits);
        }
        world
    }

    /// A world without DAGs, in which nothing goes wrong.
    pub(crate) fn empty(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let now = begin(&mut draw);
        let pools = pools([3, 1]);
        Self {
            draw,
            now,
            kernel: Kernel::new(LIMITS, pools.clone()),
            truth: Truth::default(),
            weather: Weather::default(),
            work: BTreeMap::new(),
            store: MemoryStore::new(),
            shelf: Shelf::default(),
            versions: HashMap::new(),
            files: BTreeMap::new(),
            pools,
            over: Vec::new(),
            ordered: BTreeSet::new(),
            asked: 0,
            figures: Figures::default(),
            trace: Vec::new(),
        }
    }

    /// Writes a version of a DAG's file.
    pub(crate) fn write_file(&mut self, name: &str, salt: u64, traits: Traits) {
        if let Some(dag) = any_dag(&mut self.draw, name, salt, traits) {
            self.versions.insert(dag.version.clone(), Arc::clone(&dag));
            self.files.insert(dag.id.clone(), Some(dag));
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            runs: self.truth.runs.len() as u64,
            events: self.truth.events.len() as u64,
            attempts: self.ordered.len() as u64,
            fired: self.truth.fired,
            passed_over: self.truth.passed_over,
            ..self.figures
        }
    }

    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    fn say(&mut self, what: impl Into<String>) {
        self.trace.push(format!("{} {}", self.now, what.into()));
    }

    pub(crate) fn dag_names(&self) -> Vec<DagId> {
        self.files.keys().cloned().collect()
    }

    /// The process starts: the files are deployed.
    pub(crate) fn begin(&mut self) -> Rule {
        for dag in self.files.values().flatten().cloned().collect::<Vec<_>>() {
            self.deploy(&dag)?;
        }
        self.turn()
    }

    fn deploy(&mut self, dag: &Arc<Dag>) -> Rule {
        // The text is durable before an event names its version.
        let source =
            DagSource { path: "dag.yaml".into(), text: dag.version.to_string(), defaults: None };
        self.store.put_version(&dag.version, &source).map_err(|e| e.to_string())?;
        self.kernel.deploy(Arc::clone(dag), self.now);
        Ok(())
    }

    /// Some inputs, and a turn of the scheduler's loop.
    pub(crate) fn step(&mut self) -> Rule {
        for _ in 0..=self.draw.below(3) {
            self.input()?;
        }
        self.turn()?;
        self.step_behind()
    }

    fn put(&mut self) -> Rule {
        self.shelf.put(&self.store).map_err(|e| e.to_string())
    }

    pub(crate) fn checkpoint(&mut self) -> Rule {
        self.figures.checkpoints += 1;
        self.shelf.checkpoint(&self.store).map_err(|e| e.to_string())
    }

    /// What the scheduler's thread does once: wake, settle, commit, tell.
    pub(crate) fn turn(&mut self) -> Rule {
        self.kernel.wake(self.now);
        self.kernel.settle(self.now);
        self.commit()?;
        self.check()
    }

    fn check(&mut self) -> Rule {
        kernel_is_true(&self.kernel, &self.truth)?;
        nothing_is_stuck(&self.kernel, self.now, |id| self.work.contains_key(id))
    }

    // ---- commits and crashes ------------------------------------------------------------------

    /// Where this commit's process dies, if it does.
    fn crash_here(&mut self) -> Option<Crash> {
        let number = self.figures.commits + 1;
        match self.weather.crash_at {
            Some((at, crash)) if at == number => {
                self.weather.crash_at = None;
                Some(crash)
            }
            _ if self.draw.permille(self.weather.crashes) => self.draw.pick(&Crash::ALL),
            _ => None,
        }
    }

    fn commit(&mut self) -> Rule {
        let batch = self.kernel.take_batch();
        let commit = Commit { events: batch.events, small_tables: batch.small_tables };
        let crash = if commit.events.is_empty() { None } else { self.crash_here() };
        if crash == Some(Crash::Before) {
            return self.crash("before the commit", None);
        }
        if !commit.events.is_empty() {
            if !self.make_durable(&commit, crash == Some(Crash::During))? {
                return self.crash("during the commit", Some(commit.events));
            }
            self.believe(&commit.events)?;
            if crash == Some(Crash::After) {
                return self.crash("after the commit", None);
            }
            self.shelf.publish(&self.kernel, &commit.events);
        }
        self.kernel.take_changed_dags();
        self.kernel.forget_finished();
        let told = match crash {
            Some(Crash::Midway) => self.draw.below(batch.effects.len() as u64 + 1) as usize,
            _ => batch.effects.len(),
        };
        for effect in batch.effects.into_iter().take(told) {
            self.effect(effect)?;
        }
        if crash == Some(Crash::Midway) {
            return self.crash("among the effects", None);
        }
        Ok(())
    }

    /// Whether the commit is durable; otherwise nobody knows.
    fn make_durable(&mut self, commit: &Commit, breaks: bool) -> Result<bool, String> {
        let next = self.store.commits() + 1;
        if breaks {
            self.store.fail_commit_at(next, Fault::Broken);
        } else if self.draw.permille(self.weather.full) {
            self.store.fail_commit_at(next, Fault::Full);
        }
        loop {
            match self.store.commit(commit) {
                Ok(position) => {
                    let expected = self.truth.events.len() + commit.events.len();
                    hold_position(position, expected)?;
                    self.figures.commits += 1;
                    return Ok(true);
                }
                Err(StoreError::Full { .. }) => self.figures.full += 1,
                Err(StoreError::Broken { .. }) => return Ok(false),
                Err(other) => return Err(other.to_string()),
            }
        }
    }

    fn believe(&mut self, events: &[Event]) -> Rule {
        let terms = Terms { versions: &self.versions, limits: LIMITS, pools: &self.pools };
        self.truth.commit(events, &terms)
    }

    /// The power goes, and comes back some time later.
    fn crash(&mut self, when: &str, doubtful: Option<Vec<Event>>) -> Rule {
        self.say(format!("crash {when}"));
        self.figures.crashes += 1;
        self.store = self.store.durable_copy(self.draw.next());
        // Some commands go on while nobody is there; the others fall with their supervisor.
        for (id, work) in std::mem::take(&mut self.work) {
            if self.draw.permille(500) {
                self.work.insert(id, work);
            } else {
                self.over.push(id);
            }
        }
        self.compare_journal(doubtful)?;
        self.now = match self.draw.below(10) {
            _ if self.weather.crash_at.is_none() && self.weather.crashes == 0 => self.now,
            0..5 => self.now.plus(Duration::from_millis(self.draw.below(2_000))),
            5..9 => self.now.plus(Duration::from_mins(self.draw.below(200))),
            _ => self.now.minus(Duration::from_mins(self.draw.below(60))),
        };
        self.recover()?;
        let held: Vec<AttemptId> = self.work.keys().cloned().collect();
        settle_restart(&mut self.kernel, &held, self.now);
        self.commit()?;
        self.begin()
    }

    /// Everything acknowledged is in the journal, and nothing but a commit that was in doubt.
    fn compare_journal(&mut self, doubtful: Option<Vec<Event>>) -> Rule {
        let journal = self.store.events(Position(0), usize::MAX).map_err(|e| e.to_string())?;
        let events: Vec<Event> = journal.into_iter().map(|(_, event)| event).collect();
        let known = self.truth.events.len();
        hold!(events.len() >= known, "{} of {known} acknowledged events are left", events.len());
        hold!(events[..known] == self.truth.events[..], "the journal is another one");
        if events.len() > known {
            let doubtful = doubtful.unwrap_or_default();
            hold!(events[known..] == doubtful[..], "the journal holds what nobody committed");
            self.figures.commits += 1;
            self.figures.doubtful += 1;
            self.believe(&doubtful)?;
        }
        Ok(())
    }

    /// The kernel as it comes back; it must be what is durable.
    fn recover(&mut self) -> Rule {
        let recovered = self.store.recover().map_err(|e| e.to_string())?;
        let (tail, last) = (recovered.tail.clone(), recovered.last);
        let library = Library { versions: &self.versions, store: &self.store };
        let restored = restore(recovered, &library, LIMITS, self.pools.clone(), &Carry::Everything)
            .map_err(|e| e.to_string())?;
        hold!(restored.notes.is_empty(), "the restart complains: {:?}", restored.notes);
        self.compare_finished(&restored)?;
        self.shelf = Shelf::restored(&restored, &tail, last);
        self.kernel = restored.kernel;
        kernel_is_true(&self.kernel, &self.truth).map_err(|what| format!("after a restart, {what}"))
    }

    /// Each finished run is in the records or comes back from the tail.
    fn compare_finished(&self, restored: &Restored) -> Rule {
        for run in self.truth.runs.values().filter(|run| run.head.state.is_final()) {
            let id = &run.head.id;
            if let Some(back) = restored.aside.iter().find(|back| back.head.id == *id) {
                same(back, run)?;
                continue;
            }
            let stored = self.store.run(id).map_err(|e| e.to_string())?;
            let stored = stored.ok_or_else(|| format!("finished run {id} is lost"))?.run;
            hold!(stored.head == run.head, "finished run {id} is stored as {:?}", stored.head);
            let other = stored.tasks.iter().zip(run.tasks()).find(|(stored, task)| stored != task);
            hold!(other.is_none(), "a task of finished run {id} is stored wrongly: {other:?}");
            hold!(stored.tasks.len() == run.tasks().len(), "finished run {id} has lost tasks");
        }
        Ok(())
    }

    // ---- the end ------------------------------------------------------------------------------

    /// Peace: no faults, room for everything, nothing new. Every run ends.
    pub(crate) fn end(&mut self) -> Rule {
        self.say("peace");
        self.weather = Weather::default();
        for id in self.dag_names() {
            let _ = self.kernel.pause(&id, true, "ada", self.now);
        }
        // Tasks of a pool that does not exist wait for an operator.
        let gone = "gone".parse().ok().map(|name| (name, 9));
        self.pools = pools([9, 9]).into_iter().chain(gone).collect();
        self.kernel.set_pools(self.pools.clone());
        self.turn()?;
        for _ in 0..100_000 {
            if self.kernel.runs().next().is_none() {
                return self.last_look();
            }
            self.resume_all();
            self.answer_some(false);
            match self.work.keys().next().cloned() {
                Some(id) => self.report(&id, ReportOutcome::Succeeded(TaskResult::default()))?,
                None => {
                    // An answer may have moved everything on.
                    let wake = self.kernel.next_wake(self.now);
                    self.now = self.now.max(wake.unwrap_or(self.now));
                }
            }
            self.turn()?;
        }
        let left = self.kernel.runs().map(|run| {
            let open = run.open_instances().filter_map(|at| {
                let task = run.instance(at)?;
                Some(format!("{} {}", run.dag().name_of(at), task.state.label()))
            });
            format!(
                "{} {}: {}",
                run.head.id,
                run.head.state.label(),
                open.collect::<Vec<_>>().join(", ")
            )
        });
        Err(format!("runs do not end: {}", left.take(3).collect::<Vec<_>>().join("; ")))
    }

    fn last_look(&mut self) -> Rule {
        hold!(self.work.is_empty(), "attempts are under way without a run: {:?}", self.work);
        hold!(self.truth.open.is_empty(), "attempts have no end: {:?}", self.truth.open);
        for run in self.truth.runs.values() {
            let tables = run.tasks().iter().filter_map(|task| task.result.as_ref());
            for table in tables.flat_map(|result| &result.tables) {
                let bytes = self.store.small_table(&table.hash).map_err(|e| e.to_string())?;
                hold!(bytes.is_some(), "table {} of run {} is lost", table.name, run.head.id);
            }
        }
        self.crash("at the end", None)?;
        hold!(self.kernel.runs().next().is_none(), "a run comes back from its end");
        Ok(())
    }
}

fn hold_position(position: Position, expected: usize) -> Rule {
    hold!(position.0 as usize == expected, "the commit ends at {position:?}, not at {expected}");
    Ok(())
}
