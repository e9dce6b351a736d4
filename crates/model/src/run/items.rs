//! The items of a mapped task while its run is not finished.
//!
//! An item costs nothing before it begins, and after it has ended only what may still be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::records::{StoredItem, TaskRun};
use crate::state::TaskState;
use crate::table::TaskResult;
use crate::trigger_rule::Upstreams;

/// The items of a mapped task.
#[derive(Debug, Clone)]
pub struct MapRun {
    list: Arc<[Value]>,
    attempt: u32,
    items: BTreeMap<u32, Item>,
    /// Ended items of which the rest is forgotten, by their place; `None` for those above.
    ended: Vec<Option<EndedItem>>,
    /// Ended items of which nothing is forgotten yet.
    fresh: Vec<u32>,
    /// The failed item with the lowest number, and what it said.
    first_failure: Option<(u32, String)>,
}

/// An item that has begun and is remembered in full.
#[derive(Debug, Clone)]
pub struct Item {
    /// What became of it: of a plain task the task; of a group the group, then its members once it
    /// has begun.
    pub runs: Vec<TaskRun>,
    pub(super) waits: Vec<Upstreams>,
    /// Members that have not ended.
    pub(super) open: u32,
}

/// What is remembered of an item that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedItem {
    /// How it ended.
    pub state: TaskState,
    /// What it gave.
    pub result: Option<Box<TaskResult>>,
}

impl Item {
    pub(super) fn new(attempts: u32) -> Self {
        let whole = TaskRun { attempts, ..TaskRun::default() };
        Self { runs: vec![whole], waits: vec![Upstreams::default()], open: 0 }
    }

    /// The item as a whole: the task, or the group.
    fn whole(&self) -> Option<&TaskRun> {
        self.runs.first()
    }

    fn has_ended(&self) -> bool {
        self.whole().is_some_and(|task| task.state.is_final())
    }
}

impl MapRun {
    pub(super) fn new(list: Arc<[Value]>, attempt: u32) -> Self {
        Self {
            list,
            attempt,
            items: BTreeMap::new(),
            ended: Vec::new(),
            fresh: Vec::new(),
            first_failure: None,
        }
    }

    /// The value of an item; null beyond the end of the list.
    pub fn value(&self, item: u32) -> Value {
        self.list.get(item as usize).cloned().unwrap_or_default()
    }

    pub(super) fn forget_list(&mut self) {
        self.list = Arc::new([]);
    }

    /// The attempt of the mapped task.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An item that is remembered in full.
    pub fn item(&self, item: u32) -> Option<&Item> {
        self.items.get(&item)
    }

    /// The items that are remembered in full.
    pub fn items(&self) -> impl Iterator<Item = (u32, &Item)> {
        self.items.iter().map(|(item, of_item)| (*item, of_item))
    }

    pub(super) fn item_mut(&mut self, item: u32) -> Option<&mut Item> {
        self.items.get_mut(&item)
    }

    pub(super) fn begin(&mut self, item: u32, attempts: u32) {
        self.items.insert(item, Item::new(attempts));
    }

    /// The state and the result of every item that has ended, in order.
    pub fn ended(&self) -> impl Iterator<Item = (u32, TaskState, Option<&TaskResult>)> {
        let last = self.items.last_key_value().map_or(0, |(item, _)| *item + 1);
        (0..last.max(self.ended.len() as u32)).filter_map(|item| {
            if let Some(whole) = self.items.get(&item).and_then(Item::whole) {
                let ended = whole.state.is_final();
                return ended.then_some((item, whole.state, whole.result.as_deref()));
            }
            let ended = self.ended.get(item as usize)?.as_ref()?;
            Some((item, ended.state, ended.result.as_deref()))
        })
    }

    /// The failed item with the lowest number, and what it said.
    pub fn first_failure(&self) -> Option<&(u32, String)> {
        self.first_failure.as_ref()
    }

    /// What is open inside of its items is about to be counted anew.
    pub(super) fn count_anew(&mut self) {
        self.items.values_mut().for_each(|item| item.open = 0);
    }

    /// Takes note that an item has ended.
    pub(super) fn note_ended(&mut self, item: u32) {
        let Some(whole) = self.items.get(&item).and_then(Item::whole) else { return };
        let failed = matches!(whole.state, TaskState::Failed | TaskState::UpstreamFailed);
        if failed && self.first_failure.as_ref().is_none_or(|(first, _)| item < *first) {
            let line = whole.error.as_ref().map(|error| super::apply::line_of(&error.message));
            self.first_failure = Some((item, line.unwrap_or_default()));
        }
        self.fresh.push(item);
    }

    pub(super) fn forget_ended(&mut self) {
        for item in std::mem::take(&mut self.fresh) {
            let Some(of_item) = self.items.remove(&item) else { continue };
            let Some(whole) = of_item.runs.into_iter().next() else { continue };
            let place = item as usize;
            if self.ended.len() <= place {
                self.ended.resize(place + 1, None);
            }
            self.ended[place] = Some(EndedItem { state: whole.state, result: whole.result });
        }
    }

    /// Takes in a stored item.
    pub(super) fn take_in(&mut self, stored: StoredItem) {
        let waits = vec![Upstreams::default(); stored.runs.len()];
        let item = Item { runs: stored.runs, waits, open: 0 };
        let has_ended = item.has_ended();
        self.items.insert(stored.item, item);
        if has_ended {
            self.note_ended(stored.item);
        }
    }
}
