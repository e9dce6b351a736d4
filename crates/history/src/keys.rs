//! Which runs a segment holds, by DAG: enough to find a run without reading a row.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidemill_model::{DagId, RunId, RunState, Timestamp};
use tidemill_store::StoreError;

use crate::files::damaged;
use crate::manifest::{FileInfo, SegmentInfo};

/// The file's name.
pub(crate) const KEYS: &str = "keys.json";

/// The runs of a segment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// In the order of the rows.
    pub(crate) dags: BTreeMap<DagId, DagKeys>,
    pub(crate) runs: u64,
    pub(crate) tasks: u64,
    /// The first run and the last one, by row.
    pub(crate) ends: Option<(RunId, RunId)>,
    /// Segments that this one was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaces: Vec<String>,
}

/// The runs of a DAG in a segment. Their rows follow each other, by creation and number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DagKeys {
    /// The first row.
    pub(crate) start: u32,
    /// How many.
    pub(crate) runs: u32,
    /// Their numbers, as ranges of which both ends belong to it, ascending.
    pub(crate) numbers: Vec<(u64, u64)>,
    /// Whether the rows are in the order of numbers, too.
    pub(crate) in_order: bool,
    /// When the oldest and the newest were created.
    pub(crate) created: (Timestamp, Timestamp),
    /// By state, in the order of [`RunState::ALL`].
    pub(crate) states: [u32; 5],
    /// The newest that succeeded.
    pub(crate) last_success: Option<u64>,
}

impl DagKeys {
    /// Its rows.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.start as usize..(self.start + self.runs) as usize
    }

    /// How many of its numbers are lower, if it has this one.
    pub(crate) fn rank(&self, number: u64) -> Option<u32> {
        let mut before = 0;
        for (first, last) in &self.numbers {
            if (*first..=*last).contains(&number) {
                return Some((before + number - first) as u32);
            }
            before += last - first + 1;
        }
        None
    }

    /// Runs in any of these states; in all, if there are none.
    pub(crate) fn in_states(&self, states: &[RunState]) -> u32 {
        if states.is_empty() {
            return self.runs;
        }
        states.iter().map(|state| self.states[*state as usize]).sum()
    }
}

impl Keys {
    /// Reads them.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let text = std::fs::read(path).map_err(|error| damaged(path, error))?;
        serde_json::from_slice(&text).map_err(|error| damaged(path, error))
    }

    /// Takes in the next row.
    pub(crate) fn push(&mut self, id: &RunId, created: Timestamp, state: RunState, tasks: usize) {
        let start = self.runs as u32;
        self.runs += 1;
        self.tasks += tasks as u64;
        let first = self.ends.take().map_or_else(|| id.clone(), |(first, _)| first);
        self.ends = Some((first, id.clone()));
        let dag = self.dags.entry(id.dag.clone()).or_insert_with(|| DagKeys {
            start,
            runs: 0,
            numbers: Vec::new(),
            in_order: true,
            created: (created, created),
            states: [0; 5],
            last_success: None,
        });
        dag.runs += 1;
        dag.created.1 = created;
        dag.states[state as usize] += 1;
        if state == RunState::Succeeded {
            dag.last_success = dag.last_success.max(Some(id.number));
        }
        dag.in_order &= dag.numbers.last().is_none_or(|(_, last)| *last < id.number);
        match dag.numbers.last_mut() {
            Some((_, last)) if *last + 1 == id.number => *last += 1,
            _ => dag.numbers.push((id.number, id.number)),
        }
    }

    /// Puts the ranges of numbers in order, once every row is in.
    pub(crate) fn finish(&mut self) {
        for dag in self.dags.values_mut().filter(|dag| !dag.in_order) {
            dag.numbers.sort_unstable();
            let mut joined: Vec<(u64, u64)> = Vec::new();
            for (first, last) in dag.numbers.drain(..) {
                match joined.last_mut() {
                    Some((_, end)) if *end + 1 >= first => *end = last.max(*end),
                    _ => joined.push((first, last)),
                }
            }
            dag.numbers = joined;
        }
    }

    /// The DAG of a row.
    pub(crate) fn dag_of(&self, row: usize) -> Option<&DagId> {
        self.dags.iter().find(|(_, keys)| keys.rows().contains(&row)).map(|(dag, _)| dag)
    }

    /// What a manifest says of the segment; `None` if it holds nothing.
    pub(crate) fn info(&self, name: String, files: Vec<FileInfo>) -> Option<SegmentInfo> {
        let (first, last) = self.ends.clone()?;
        let created = (
            self.dags.values().map(|dag| dag.created.0).min()?,
            self.dags.values().map(|dag| dag.created.1).max()?,
        );
        let mut states = [0; 5];
        for dag in self.dags.values() {
            for (sum, count) in states.iter_mut().zip(dag.states) {
                *sum += u64::from(count);
            }
        }
        let hidden = std::collections::BTreeSet::new();
        let (runs, tasks) = (self.runs, self.tasks);
        Some(SegmentInfo { name, runs, tasks, first, last, created, states, files, hidden })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], ranges: &[(u64, u64)], in_order: bool) {
        let mut keys = Keys::default();
        let id = |number| RunId { dag: "d".parse().expect("name"), number };
        for (at, number) in numbers.iter().enumerate() {
            keys.push(&id(*number), Timestamp::from_micros(at as i64), RunState::Succeeded, 2);
        }
        keys.finish();
        let dag = &keys.dags[&id(0).dag];
        assert_eq!((dag.numbers.as_slice(), dag.in_order), (ranges, in_order));
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        for (rank, number) in sorted.iter().enumerate() {
            assert_eq!(dag.rank(*number), Some(rank as u32));
        }
        assert_eq!(dag.rank(1_000), None);
    }

    #[test]
    fn numbers_are_kept_as_ranges() {
        check(&[4, 5, 6], &[(4, 6)], true);
        check(&[1, 2, 7, 9, 10], &[(1, 2), (7, 7), (9, 10)], true);
        // A clock that was set back between 3 and 4.
        check(&[4, 1, 2, 3, 8], &[(1, 4), (8, 8)], false);
    }
}
