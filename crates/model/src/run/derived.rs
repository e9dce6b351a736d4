//! What follows from the records of a run, kept in step with every event: counts of upstreams,
//! what is ready, due or under way, and what groups and mapped tasks wait for.

use std::sync::Arc;

use serde_json::Value;

use super::DagRun;
use super::items::MapRun;
use super::records::{MapCounts, StoredItem, TaskRun};
use crate::dag::{Dag, Mapping};
use crate::decide::items_of;
use crate::event::MapPlan;
use crate::id::{Instance, TaskIx};
use crate::state::{RunState, TaskState};
use crate::time::Timestamp;
use crate::trigger_rule::{Upstreams, Verdict};

impl DagRun {
    /// What the trigger rule of an instance says now; while its group is not running, what follows
    /// from the group.
    pub fn verdict(&self, at: Instance) -> Verdict {
        let state = self.container(at).and_then(|group| self.instance(group)).map(|g| g.state);
        match state {
            None | Some(TaskState::Running) => {
                self.dag.task(at.task).trigger_rule.verdict(self.waits_of(at))
            }
            // Of a group that was given or removed, no member has begun.
            Some(TaskState::Skipped | TaskState::Succeeded | TaskState::Removed) => Verdict::Skip,
            Some(state) if state.is_final() => Verdict::UpstreamFailed,
            Some(_) => Verdict::Wait,
        }
    }

    fn waits_of(&self, at: Instance) -> Upstreams {
        let Some(item) = at.item else { return self.waits[at.task.at()] };
        let root = self.dag.root(at.task).and_then(|root| self.maps.get(&root));
        let of_item = root.and_then(|map| map.item(item));
        let waits = of_item.and_then(|of_item| of_item.waits.get(self.dag.ordinal(at.task)));
        waits.copied().unwrap_or_default()
    }

    fn waits_mut(&mut self, at: Instance) -> Option<&mut Upstreams> {
        let Some(item) = at.item else { return self.waits.get_mut(at.task.at()) };
        let root = self.dag.root(at.task)?;
        let ordinal = self.dag.ordinal(at.task);
        self.maps.get_mut(&root)?.item_mut(item)?.waits.get_mut(ordinal)
    }

    pub(super) fn instance_mut(&mut self, at: Instance) -> Option<&mut TaskRun> {
        let Some(item) = at.item else { return self.tasks.get_mut(at.task.at()) };
        let root = self.dag.root(at.task)?;
        let ordinal = self.dag.ordinal(at.task);
        self.maps.get_mut(&root)?.item_mut(item)?.runs.get_mut(ordinal)
    }

    /// How much of what a container holds has begun and not ended.
    pub(crate) fn open_inside(&self, at: Instance) -> u32 {
        if self.is_map(at) {
            return self.task(at.task).map.as_ref().map_or(0, |map| map.open());
        }
        match at.item {
            None => self.open_members[at.task.at()],
            Some(item) => {
                self.maps.get(&at.task).and_then(|map| map.item(item)).map_or(0, |item| item.open)
            }
        }
    }

    fn open_mut(&mut self, at: Instance) -> Option<&mut u32> {
        match at.item {
            None => self.open_members.get_mut(at.task.at()),
            Some(item) => Some(&mut self.maps.get_mut(&at.task)?.item_mut(item)?.open),
        }
    }

    // ---- groups and items ---------------------------------------------------------------------

    /// The next item of a mapped task is there, and pending.
    pub(super) fn begin_item(&mut self, at: Instance) {
        let Some(item) = at.item else { return };
        let base = self.tasks[at.task.at()].map.as_ref().map_or(0, |counts| counts.base);
        if let Some(map) = self.maps.get_mut(&at.task) {
            map.begin(item, base);
        }
        if let Some(counts) = self.tasks[at.task.at()].map.as_mut() {
            counts.begun += 1;
            counts.counts[TaskState::Pending as usize] += 1;
        }
        // It was idle from the beginning.
        self.idle += 1;
    }

    /// A mapped task knows its items. Its members are from now on what their instances are together.
    pub(super) fn begin_map(&mut self, root: TaskIx, plan: MapPlan, at: Timestamp) {
        let attempt = self.tasks[root.at()].attempts;
        let MapPlan { items, tolerated } = plan;
        let base = self.tasks[root.at()].item_attempts;
        let counts = MapCounts { attempt, items, tolerated, base, ..MapCounts::default() };
        self.tasks[root.at()].map = Some(Box::new(counts.clone()));
        let dag = Arc::clone(&self.dag);
        for member in dag.members(root) {
            let map = Some(Box::new(counts.clone()));
            let state = TaskState::Running;
            self.tasks[member.at()] =
                TaskRun { state, started_at: Some(at), map, ..TaskRun::default() };
        }
        let list = self.list_of(root);
        self.maps.insert(root, MapRun::new(list.into(), attempt));
    }

    /// What is mapped over. It follows from what is stored, so it is the same at every start.
    fn list_of(&self, root: TaskIx) -> Vec<Value> {
        let list = self.dag.task(root).mapping.as_ref().map(|mapping| &mapping.list);
        list.and_then(|list| items_of(self, root, list).ok()).unwrap_or_default()
    }

    /// The members of a group may begin; after a retry of the group, again.
    pub(super) fn begin_members(&mut self, group: Instance, again: bool) {
        let dag = Arc::clone(&self.dag);
        let members = dag.members(group.task);
        if let Some(item) = group.item {
            let base = self.tasks[group.task.at()].map.as_ref().map_or(0, |counts| counts.base);
            let map = self.maps.get_mut(&group.task).and_then(|map| map.item_mut(item));
            let Some(of_item) = map else { return };
            if of_item.runs.len() <= members.len() {
                let fresh = TaskRun { attempts: base, ..TaskRun::default() };
                of_item.runs.resize(1 + members.len(), fresh);
                of_item.waits.resize_with(1 + members.len(), Upstreams::default);
                for member in members {
                    self.idle += 1;
                    if let Some(counts) = self.tasks[member.at()].map.as_mut() {
                        counts.begun += 1;
                        counts.counts[TaskState::Pending as usize] += 1;
                    }
                }
            }
        }
        if again {
            for task in members {
                self.reset(Instance { task: *task, ..group });
            }
        }
        let mut open = 0;
        for task in members {
            let at = Instance { task: *task, ..group };
            let waits = self.count_upstreams(at);
            if let Some(place) = self.waits_mut(at) {
                *place = waits;
            }
            open += u32::from(self.instance(at).is_some_and(|task| !task.state.is_final()));
        }
        if let Some(place) = self.open_mut(group) {
            *place = open;
        }
        for task in members {
            self.look_again(Instance { task: *task, ..group });
        }
    }

    /// An instance that has ended is pending again, with its past.
    fn reset(&mut self, at: Instance) {
        if self.dag.task(at.task).mapping.is_some() {
            self.maps.remove(&at.task);
        }
        let Some(task) = self.instance_mut(at) else { return };
        let before = task.state;
        *task = task.begun_anew();
        self.count_item(at, before, TaskState::Pending);
        if before.is_final() {
            self.idle += 1;
            self.unfinished += u32::from(at.item.is_none());
        }
    }

    /// Keeps the counts of a mapped task, or of its members, in step.
    pub(super) fn count_item(&mut self, at: Instance, before: TaskState, after: TaskState) {
        if at.item.is_some()
            && let Some(map) = self.tasks[at.task.at()].map.as_mut()
        {
            map.counts[before as usize] -= 1;
            map.counts[after as usize] += 1;
        }
    }

    /// An instance has ended: what waits for it and what holds it are told.
    pub(super) fn ended(&mut self, at: Instance, state: TaskState, when: Timestamp) {
        let dag = Arc::clone(&self.dag);
        let is_item = at.item.is_some() && dag.root(at.task) == Some(at.task);
        if at.item.is_none() {
            self.unfinished -= 1;
        }
        if is_item {
            if let (Some(map), Some(item)) = (self.maps.get_mut(&at.task), at.item) {
                map.note_ended(item);
            }
        } else {
            if let Some(group) = dag.task(at.task).group
                && let Some(open) = self.open_mut(Instance { task: group, ..at })
            {
                *open = open.saturating_sub(1);
            }
            for down in dag.downstream(at.task) {
                let down = Instance { task: *down, ..at };
                if let Some(waits) = self.waits_mut(down) {
                    count(waits, state);
                }
                self.look_again(down);
            }
        }
        if self.is_map(at) {
            if let Some(map) = self.maps.get_mut(&at.task) {
                map.forget_list();
            }
            self.end_repeated(&dag, at.task, state, when);
        } else if dag.task(at.task).is_group() {
            // Members that never began follow their group.
            for task in dag.members(at.task) {
                self.look_again(Instance { task: *task, ..at });
            }
        }
    }

    /// Members of a mapped group end with it, in the state that their instances add up to.
    fn end_repeated(&mut self, dag: &Dag, root: TaskIx, whole: TaskState, when: Timestamp) {
        for member in dag.members(root) {
            let task = &mut self.tasks[member.at()];
            let map = task.map.as_ref();
            let found = [
                TaskState::Failed,
                TaskState::UpstreamFailed,
                TaskState::Cancelled,
                TaskState::Succeeded,
            ];
            let found = found.into_iter().find(|s| map.is_some_and(|map| map.of(*s) > 0));
            task.state = if let Some(state) = found {
                state
            } else if map.is_some() || whole == TaskState::Skipped {
                TaskState::Skipped
            } else if whole == TaskState::Failed {
                TaskState::UpstreamFailed
            } else {
                whole
            };
            task.finished_at = Some(when);
        }
    }

    // ---- lists --------------------------------------------------------------------------------

    /// When time alone moves an instance.
    fn timer_of(&self, at: Instance, task: &TaskRun) -> Option<Timestamp> {
        match task.state {
            TaskState::UpForRetry => task.retry_at,
            TaskState::Queued => {
                let limit = self.dag.task(at.task).queue_timeout?;
                Some(task.queued_at?.plus(limit))
            }
            TaskState::Waiting if !self.takes_slot(at) => {
                let timeout = self.dag.task(at.task).timeout;
                let late = timeout.and_then(|timeout| Some(task.started_at?.plus(timeout)));
                task.until.into_iter().chain(late).min()
            }
            TaskState::Running if !task.stopping && self.dag.task(at.task).is_group() => {
                let timeout = self.dag.task(at.task).timeout.filter(|_| !self.is_map(at))?;
                Some(task.started_at?.plus(timeout))
            }
            _ => None,
        }
    }

    /// Whether an instance has not ended, and can be taken back: nothing works on it, and no run that
    /// it called for.
    pub(crate) fn is_idle(&self, at: Instance, task: &TaskRun) -> bool {
        match task.state {
            TaskState::Running => false,
            TaskState::Waiting => self.takes_slot(at) || task.called.is_none(),
            state => !state.is_final(),
        }
    }

    fn is_under_way(&self, at: Instance, task: &TaskRun) -> bool {
        task.state == TaskState::Running && (task.gathering || !self.is_container(at))
    }

    /// Takes an instance off every list, as its record stands.
    pub(super) fn unlist(&mut self, at: Instance) {
        let Some(task) = self.instance(at) else { return };
        let (timer, idle) = (self.timer_of(at, task), self.is_idle(at, task));
        if let Some(due) = timer {
            self.timers.remove(&(due, at));
        }
        self.calls.remove(&at);
        self.running.remove(&at);
        self.ready.remove(&at);
        self.stirred.remove(&at);
        self.idle -= u32::from(idle);
    }

    /// Puts an instance on the lists where its record belongs.
    pub(super) fn list(&mut self, at: Instance) {
        let Some(task) = self.instance(at) else { return };
        let (timer, state) = (self.timer_of(at, task), task.state);
        let (under_way, idle) = (self.is_under_way(at, task), self.is_idle(at, task));
        let called = task.called.clone().filter(|_| state == TaskState::Waiting);
        if let Some(run) = called {
            self.calls.insert(at, run);
        }
        if let Some(due) = timer {
            self.timers.insert((due, at));
        }
        if under_way {
            self.running.insert(at);
        }
        self.idle += u32::from(idle);
        if state == TaskState::Running && self.is_container(at) {
            self.stir(at);
        } else {
            self.look_again(at);
        }
    }

    /// Looks whether a pending instance can be decided on.
    pub(super) fn look_again(&mut self, at: Instance) {
        if self.head.state == RunState::Running
            && self.instance(at).is_some_and(|task| task.state == TaskState::Pending)
            && (at.item.is_some() || !self.dag.is_repeated(at.task))
            && self.verdict(at) != Verdict::Wait
        {
            self.ready.insert(at);
        }
    }

    /// Looks whether there is something to decide for what holds an instance.
    pub(super) fn look_at_container(&mut self, at: Instance) {
        if let Some(outer) = self.container(at) {
            self.stir(outer);
        }
    }

    pub(super) fn stir(&mut self, at: Instance) {
        if self.is_stirred(at) {
            self.stirred.insert(at);
        } else {
            self.stirred.remove(&at);
        }
    }

    /// Whether a group or a mapped task has something to decide: it holds nothing that goes on, or
    /// it is to end, or its next item may begin.
    fn is_stirred(&self, at: Instance) -> bool {
        let Some(task) = self.instance(at) else { return false };
        if task.state != TaskState::Running || task.gathering || !self.is_container(at) {
            return false;
        }
        let open = self.open_inside(at);
        let is_to_end = task.stopping || self.is_stopping(at);
        open == 0 || is_to_end || (self.is_map(at) && self.may_begin_item(at.task, task, open))
    }

    /// Whether the next item of a mapped task may begin.
    fn may_begin_item(&self, root: TaskIx, task: &TaskRun, open: u32) -> bool {
        let parallel = self.dag.task(root).mapping.as_ref().map_or(1, Mapping::at_once);
        !self.head.cancel_requested
            && open < parallel
            && task.map.as_ref().is_some_and(|map| map.has_next())
            && !self.is_stopping(root.into())
    }

    /// The items of a mapped task that begin now.
    pub(crate) fn next_items(&self, root: TaskIx) -> std::ops::Range<u32> {
        let task = self.task(root);
        let open = self.open_inside(root.into());
        let Some(map) = task.map.as_ref().filter(|_| self.may_begin_item(root, task, open)) else {
            return 0..0;
        };
        let parallel = self.dag.task(root).mapping.as_ref().map_or(1, Mapping::at_once);
        map.begun..map.items.min(map.begun + (parallel - open))
    }

    pub(super) fn look_again_at_all(&mut self) {
        for i in 0..self.tasks.len() {
            self.look_again(TaskIx(i as u32).into());
        }
    }

    /// Looks at every group and mapped task, because the run itself has changed.
    pub(super) fn stir_all(&mut self) {
        let open: Vec<Instance> = self.open_instances().collect();
        for at in open {
            self.stir(at);
        }
    }

    // ---- from the records ---------------------------------------------------------------------

    /// Takes in the stored items of mapped tasks. Those of an earlier attempt are of the past.
    pub(super) fn take_in(&mut self, items: Vec<StoredItem>) {
        let dag = Arc::clone(&self.dag);
        for (i, task) in dag.tasks().iter().enumerate() {
            let root = TaskIx(i as u32);
            let run = &self.tasks[i];
            let Some(map) = run.map.as_ref().filter(|_| task.mapping.is_some()) else { continue };
            let attempt = map.attempt;
            // Once it has ended, nobody asks for the values of its items any more.
            let list = if run.state.is_final() { Vec::new() } else { self.list_of(root) };
            self.maps.insert(root, MapRun::new(list.into(), attempt));
        }
        for stored in items {
            let Some(counts) = self.tasks.get(stored.task.at()).and_then(|t| t.map.as_ref()) else {
                continue;
            };
            if stored.attempt == counts.attempt
                && stored.item < counts.begun
                && let Some(map) = self.maps.get_mut(&stored.task)
            {
                map.take_in(stored);
            }
        }
    }

    /// Derives everything anew.
    pub(super) fn derive(&mut self) {
        self.ready.clear();
        self.timers.clear();
        self.running.clear();
        self.stirred.clear();
        self.calls.clear();
        (self.unfinished, self.idle) = (0, 0);
        self.open_members = vec![0; self.tasks.len()];
        self.maps.values_mut().for_each(MapRun::count_anew);
        self.waits = vec![Upstreams::default(); self.tasks.len()];
        let tasks = (0..self.tasks.len() as u32).map(TaskIx);
        let mut all: Vec<Instance> =
            tasks.filter(|ix| !self.dag.is_repeated(*ix)).map(Instance::from).collect();
        self.unfinished =
            all.iter().filter(|at| !self.task(at.task).state.is_final()).count() as u32;
        all.extend(self.instances_of_items());
        for at in &all {
            let waits = self.count_upstreams(*at);
            if let Some(place) = self.waits_mut(*at) {
                *place = waits;
            }
            let group = self.container(*at).filter(|outer| !self.is_map(*outer));
            if self.instance(*at).is_some_and(|task| !task.state.is_final())
                && let Some(open) = group.and_then(|group| self.open_mut(group))
            {
                *open += 1;
            }
        }
        for at in all {
            self.list(at);
        }
    }

    fn instances_of_items(&self) -> Vec<Instance> {
        let mut all = Vec::new();
        for (root, map) in &self.maps {
            for (item, of_item) in map.items() {
                let whole = std::iter::once(root).chain(self.dag.members(*root));
                let begun = whole.take(of_item.runs.len());
                all.extend(begun.map(|task| Instance::of_item(*task, item)));
            }
        }
        all
    }

    /// How the upstreams of an instance ended, counted anew.
    fn count_upstreams(&self, at: Instance) -> Upstreams {
        let is_item = at.item.is_some() && self.dag.root(at.task) == Some(at.task);
        let upstream = self.dag.task(at.task).upstream.iter().filter(|_| !is_item);
        let mut waits = Upstreams::default();
        for edge in upstream {
            waits.total += 1;
            if let Some(task) = self.instance(Instance { task: edge.task, ..at }) {
                count(&mut waits, task.state);
            }
        }
        waits
    }
}

fn count(waits: &mut Upstreams, state: TaskState) {
    match state {
        TaskState::Succeeded => waits.succeeded += 1,
        TaskState::Skipped => waits.skipped += 1,
        TaskState::Failed | TaskState::Cancelled => waits.failed += 1,
        TaskState::UpstreamFailed => waits.upstream_failed += 1,
        // A removed task is no upstream any more.
        TaskState::Removed => waits.total -= 1,
        _ => {}
    }
}
