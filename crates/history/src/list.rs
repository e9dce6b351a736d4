//! Pages of runs, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_model::{RunId, Timestamp};
use tidemill_store::archive::Held;
use tidemill_store::{RunQuery, RunSummary, StoreError};

use crate::history::{History, State};
use crate::manifest::SegmentInfo;
use crate::segment::Segment;

/// A run that is wanted, and where it is.
struct Found {
    at: Timestamp,
    id: RunId,
    segment: usize,
    row: usize,
}

impl Found {
    fn key(&self) -> (Timestamp, &RunId) {
        (self.at, &self.id)
    }
}

impl History {
    /// Runs, newest first, one more than asked for.
    pub(crate) fn list(
        &self,
        state: &State,
        query: &RunQuery,
        held: Held<'_>,
    ) -> Result<Vec<RunSummary>, StoreError> {
        // What turns out unreadable is left out, and others take its place on the page.
        let mut unreadable = BTreeSet::new();
        loop {
            let found = self.search(state, query, held, &mut unreadable)?;
            match summaries(state, &found) {
                Ok(runs) => return Ok(runs),
                Err((segment, error)) => {
                    self.tell(&error);
                    if !unreadable.insert(segment) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The runs of a page, and where they are.
    fn search(
        &self,
        state: &State,
        query: &RunQuery,
        held: Held<'_>,
        unreadable: &mut BTreeSet<usize>,
    ) -> Result<Vec<Found>, StoreError> {
        let wanted = query.limit.saturating_add(1);
        let mut found: Vec<Found> = Vec::new();
        for (at, reach) in self.in_reach(state, query) {
            if unreadable.contains(&at) {
                continue;
            }
            // Segments overlap a little: runs end in another order than they were created in.
            if found.len() >= wanted && found.last().is_some_and(|last| last.at > reach) {
                break;
            }
            let (info, segment) = (&state.manifest.segments[at], &state.segments[at]);
            let rows = match self.matching((info, segment), query, wanted, held) {
                Ok(rows) => rows,
                // What the records say of a run is another matter.
                Err(error @ StoreError::Damaged { .. }) => {
                    self.tell(&error);
                    unreadable.insert(at);
                    continue;
                }
                Err(error) => return Err(error),
            };
            found.extend(rows.into_iter().map(|(created, id, row)| Found {
                at: created,
                id,
                segment: at,
                row,
            }));
            found.sort_by(|a, b| b.key().cmp(&a.key()));
            found.truncate(wanted);
        }
        Ok(found)
    }

    /// Segments that may hold what is asked for, with the instant that each reaches to, the newest
    /// first.
    fn in_reach(&self, state: &State, query: &RunQuery) -> Vec<(usize, Timestamp)> {
        let mut reached = Vec::new();
        for (at, (info, segment)) in state.listed().enumerate() {
            let before = |oldest: Timestamp| query.after.as_ref().is_none_or(|a| oldest <= a.0);
            let any = query.states.is_empty()
                || query.states.iter().any(|state| info.states[*state as usize] > 0);
            if !any || !before(info.created.0) {
                continue;
            }
            let Some(dag) = &query.dag else {
                reached.push((at, info.created.1));
                continue;
            };
            match segment.keys() {
                Ok(keys) => reached.extend(
                    (keys.dags.get(dag))
                        .filter(|keys| keys.in_states(&query.states) > 0 && before(keys.created.0))
                        .map(|keys| (at, keys.created.1)),
                ),
                Err(error) => self.tell(&error),
            }
        }
        reached.sort_by_key(|(_, reach)| std::cmp::Reverse(*reach));
        reached
    }

    /// The newest matching rows of a segment.
    fn matching(
        &self,
        (info, segment): (&SegmentInfo, &Segment),
        query: &RunQuery,
        wanted: usize,
        held: Held<'_>,
    ) -> Result<Vec<(Timestamp, RunId, usize)>, StoreError> {
        let (keys, index) = (segment.keys()?, self.index(segment)?);
        let rows: Box<dyn DoubleEndedIterator<Item = usize>> = match &query.dag {
            Some(dag) => match keys.dags.get(dag) {
                Some(dag) => Box::new(dag.rows()),
                None => return Ok(Vec::new()),
            },
            None => {
                let upto = query.after.as_ref().map_or(index.order.len(), |(at, _)| {
                    index.order.partition_point(|row| index.created[*row as usize] <= *at)
                });
                Box::new(index.order[..upto].iter().map(|row| *row as usize))
            }
        };
        let mut found = Vec::new();
        for row in rows.rev() {
            let (at, state) = (index.created[row], index.state[row]);
            if !(query.states.is_empty() || query.states.contains(&state))
                || query.after.as_ref().is_some_and(|(after, _)| at > *after)
                || info.hidden.contains(&(row as u32))
            {
                continue;
            }
            let Some(dag) = query.dag.as_ref().or_else(|| keys.dag_of(row)) else { continue };
            let id = RunId { dag: dag.clone(), number: index.number[row] };
            let is_after =
                query.after.as_ref().is_none_or(|(after, last)| (at, &id) < (*after, last));
            if is_after && !held(&id)? {
                found.push((at, id, row));
                if found.len() >= wanted {
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// Reads the runs that a page shows; an error names the segment.
fn summaries(state: &State, found: &[Found]) -> Result<Vec<RunSummary>, (usize, StoreError)> {
    let mut by_segment: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, found) in found.iter().enumerate() {
        by_segment.entry(found.segment).or_default().push((found.row, place));
    }
    let mut placed: Vec<(usize, RunSummary)> = Vec::with_capacity(found.len());
    for (at, mut rows) in by_segment {
        rows.sort_unstable();
        let segment: &Arc<Segment> = &state.segments[at];
        let wanted: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
        let runs = segment.summaries(&wanted).map_err(|error| (at, error))?;
        placed.extend(rows.iter().map(|(_, place)| *place).zip(runs));
    }
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, run)| run).collect())
}
