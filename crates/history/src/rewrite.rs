//! Several segments into one, or one into a smaller one.

use std::ops::Range;
use std::sync::Arc;

use tidemill_model::run::StoredItem;
use tidemill_model::{RunId, TaskRun, Timestamp};
use tidemill_store::{StoreError, WholeRun};

use crate::columns::{RECORD, RunRecord, task_count};
use crate::fold::GoOn;
use crate::history::History;
use crate::manifest::SegmentInfo;
use crate::read::Forward;
use crate::segment::Segment;
use crate::write::SegmentWriter;

/// So many small segments are put together.
const SMALL_MAX: usize = 8;

/// A run of a segment that is rewritten.
pub(crate) struct Row {
    pub(crate) id: RunId,
    pub(crate) created: Timestamp,
    pub(crate) at: usize,
}

/// A segment that is read from the front to the back.
struct Input<'s> {
    segment: &'s Segment,
    runs: Forward<'s>,
    tasks: Forward<'s>,
    items: Option<Forward<'s>>,
}

impl<'s> Input<'s> {
    fn open(segment: &'s Segment) -> Result<Self, StoreError> {
        let items = segment.items.as_ref().map(|file| Forward::new(file, &[RECORD]));
        Ok(Self {
            segment,
            runs: Forward::new(&segment.runs, &[RECORD])?,
            tasks: Forward::new(&segment.tasks, &["task", RECORD])?,
            items: items.transpose()?,
        })
    }

    /// Copies a run. Runs are asked for in the order of their rows.
    fn copy(&mut self, row: usize, writer: &mut SegmentWriter) -> Result<(), StoreError> {
        let file = &self.segment.runs;
        let (batch, at) = self.runs.at(row)?;
        let record: RunRecord =
            file.record(file.binary(batch, RECORD)?.iter().nth(at).flatten())?;
        let RunRecord { position, summary, tasks_from, items } = record;
        let mut written = 0;
        if let Some(input) = &mut self.items {
            let (from, count) = items;
            for row in from as usize..from as usize + count as usize {
                let (batch, at) = input.at(row)?;
                let file = self.segment.items.as_ref().unwrap_or(file);
                let value = file.binary(batch, RECORD)?;
                let items: Vec<StoredItem> = file.record(Some(value.value(at)))?;
                written += writer.items(&items)?;
            }
        }
        let file = &self.segment.tasks;
        let rows: Range<usize> = tasks_from as usize..tasks_from as usize + task_count(&summary);
        let (mut names, mut tasks) = (Vec::new(), Vec::new());
        for row in rows {
            let (batch, at) = self.tasks.at(row)?;
            names.push(file.text(batch, "task")?.value(at).to_owned());
            let task: TaskRun = file.record(Some(file.binary(batch, RECORD)?.value(at)))?;
            tasks.push(task);
        }
        writer.run(WholeRun { position, summary, tasks }, &names, written)
    }
}

impl History {
    /// The runs of a segment that are shown, in the order of rows.
    pub(crate) fn rows(
        &self,
        info: &SegmentInfo,
        segment: &Segment,
    ) -> Result<Vec<Row>, StoreError> {
        let (keys, index) = (segment.keys()?, self.index(segment)?);
        let mut rows = Vec::with_capacity(index.number.len());
        for (dag, keys) in &keys.dags {
            let shown = keys.rows().filter(|row| !info.hidden.contains(&(*row as u32)));
            rows.extend(shown.map(|row| Row {
                id: RunId { dag: dag.clone(), number: index.number[row] },
                created: index.created[row],
                at: row,
            }));
        }
        rows.sort_by_key(|row| row.at);
        Ok(rows)
    }

    /// Writes these runs of segments into a new one. `None` where nothing is left, or where it was
    /// not to go on.
    pub(crate) fn rewrite(
        &self,
        name: String,
        inputs: &[(&Arc<Segment>, Vec<Row>)],
        go_on: GoOn<'_>,
    ) -> Result<Option<SegmentInfo>, StoreError> {
        let replaces = inputs.iter().map(|(segment, _)| segment.name.clone()).collect();
        let mut all: Vec<(&Row, usize)> = Vec::new();
        for (at, (_, rows)) in inputs.iter().enumerate() {
            all.extend(rows.iter().map(|row| (row, at)));
        }
        all.sort_by(|(a, _), (b, _)| {
            (&a.id.dag, a.created, a.id.number).cmp(&(&b.id.dag, b.created, b.id.number))
        });
        let mut open = inputs
            .iter()
            .map(|(segment, _)| Input::open(segment))
            .collect::<Result<Vec<_>, _>>()?;
        let mut writer = SegmentWriter::begin(&self.files, &self.root, name, replaces)?;
        for (row, at) in all {
            if !go_on() {
                return Ok(None);
            }
            open[at].copy(row.at, &mut writer)?;
        }
        writer.finish()
    }

    /// Puts small segments together once there are many. The caller holds [`History::upkeep`].
    pub(crate) fn join_small(&self, go_on: GoOn<'_>) -> Result<(), StoreError> {
        let limit = self.settings.segment_runs as u64;
        loop {
            let state = self.state();
            let is_small = |info: &SegmentInfo| info.runs - (info.hidden.len() as u64) < limit / 2;
            let small: Vec<_> = state.listed().filter(|(info, _)| is_small(info)).collect();
            if small.len() < SMALL_MAX || !go_on() {
                return Ok(());
            }
            let mut sum = 0;
            let mut inputs = Vec::new();
            for (info, segment) in small {
                let rows = match self.rows(info, segment) {
                    Ok(rows) => rows,
                    Err(error) => {
                        self.tell(&error);
                        continue;
                    }
                };
                sum += info.runs;
                if inputs.len() >= 2 && sum > limit {
                    break;
                }
                inputs.push((segment, rows));
            }
            if inputs.len() < 2 {
                return Ok(());
            }
            let mut manifest = state.manifest.clone();
            let name = Self::next_name(&mut manifest);
            let joined = match self.rewrite(name, &inputs, go_on) {
                Err(error @ StoreError::Damaged { .. }) => {
                    self.tell(&error);
                    return Ok(());
                }
                joined => joined?,
            };
            if !go_on() {
                return Ok(());
            }
            let gone = |info: &SegmentInfo| inputs.iter().any(|(of, _)| of.name == info.name);
            manifest.segments.retain(|info| !gone(info));
            manifest.segments.extend(joined);
            self.publish(manifest)?;
        }
    }
}
