//! Items of mapped tasks, many in a value.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use tidemill_model::run::StoredItem;
use tidemill_model::{RunId, TaskIx};

use super::{Change, Records, keys, read};
use crate::store::StoreError;

impl Records {
    /// Items of a mapped task from `first` on, in order.
    pub(crate) fn items(
        &self,
        id: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        let from = keys::item_chunk(id, task, first / keys::ITEMS);
        let prefix = keys::items_of_task(id, task);
        // The first chunk may begin before `first`.
        let enough = limit.saturating_add(keys::ITEMS as usize);
        let (mut found, _) = self.item_chunks(&prefix, Bound::Included(&from), enough)?;
        found.retain(|item| item.item >= first);
        found.truncate(limit);
        Ok(found)
    }

    /// Items of whole chunks, until there are `enough`, and the key of the last chunk.
    fn item_chunks(
        &self,
        prefix: &[u8],
        from: Bound<&[u8]>,
        enough: usize,
    ) -> Result<(Vec<StoredItem>, Option<Vec<u8>>), StoreError> {
        let mut items: Vec<StoredItem> = Vec::new();
        let mut last = None;
        let mut done = Ok(());
        self.tree.scan(prefix, from, false, &mut |key, bytes| {
            done = read(self.tree.path(), key, &bytes).map(|more: Vec<StoredItem>| {
                items.extend(more);
            });
            last = Some(key.to_vec());
            if done.is_ok() && items.len() < enough {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        done.map(|()| (items, last))
    }

    /// Every item of every mapped task of a run, in order, about so many at a time.
    pub(crate) fn items_in_parts(
        &self,
        id: &RunId,
        part: usize,
        take: &mut dyn FnMut(Vec<StoredItem>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let prefix = keys::items(id);
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (items, upto) = self.item_chunks(&prefix, from, part)?;
            if upto.is_none() {
                return Ok(());
            }
            last = upto;
            take(items)?;
        }
    }
}

/// Puts items among those that lie in the same chunks.
pub(super) fn put(
    change: &mut Change<'_>,
    id: &RunId,
    items: &[StoredItem],
) -> Result<(), StoreError> {
    let mut chunks: BTreeMap<(TaskIx, u32), BTreeMap<u32, &StoredItem>> = BTreeMap::new();
    for item in items {
        let chunk = chunks.entry((item.task, item.item / keys::ITEMS)).or_default();
        chunk.insert(item.item, item);
    }
    for ((task, number), mut chunk) in chunks {
        let key = keys::item_chunk(id, task, number);
        // A chunk that changes as a whole is not read.
        let old: Vec<StoredItem> = if chunk.len() < keys::ITEMS as usize {
            change.get(&key)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        for item in &old {
            chunk.entry(item.item).or_insert(item);
        }
        change.put(key, &chunk.into_values().collect::<Vec<_>>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemill_model::{Position, TaskRun};

    use super::*;
    use crate::conformance::{Script, chain};
    use crate::records::TreeOptions;
    use crate::store::Record;

    #[test]
    fn items_that_change_one_by_one_lie_beside_those_that_do_not() {
        let dir = tempfile::tempdir().expect("dir");
        let options = TreeOptions { cache_bytes: 8 << 20, deadline: Duration::from_secs(10) };
        let records = Records::open(dir.path(), options).expect("open");
        let script = Script::begin(&chain("run", 2), 1, 10).start();
        let id = script.run.head.id.clone();
        let mut wanted: BTreeMap<(TaskIx, u32), StoredItem> = BTreeMap::new();
        for (round, stride) in (1..).zip([7, 3, 64, 1, 100]) {
            let items: Vec<StoredItem> = (0..400_u32)
                .filter(|i| i % stride == 0)
                // Not in order, and of two tasks.
                .map(|i| (TaskIx(i % 2), (i * 37) % 400))
                .map(|(task, item)| StoredItem {
                    task,
                    item,
                    attempt: round,
                    runs: vec![TaskRun { attempts: round, ..TaskRun::default() }],
                })
                .collect();
            wanted.extend(items.iter().map(|item| ((item.task, item.item), item.clone())));
            let Record::Run { summary, .. } = script.record(Position(1)) else { unreachable!() };
            let position = Position(u64::from(round));
            let record = Record::Run { position, summary, tasks: Vec::new(), items };
            records.put(&[record]).expect("put");
        }
        for task in [TaskIx(0), TaskIx(1)] {
            for (first, limit) in [(0, 500), (1, 1), (63, 2), (64, 64), (399, 9), (400, 9), (9, 0)]
            {
                let found = records.items(&id, task, first, limit).expect("items");
                let expected = wanted.range((task, first)..(TaskIx(task.0 + 1), 0));
                assert!(expected.map(|(_, item)| item).take(limit).eq(&found), "{task:?} {first}");
            }
        }
        let mut all = Vec::new();
        let mut take = |items| {
            all.extend::<Vec<_>>(items);
            Ok(())
        };
        records.items_in_parts(&id, 10, &mut take).expect("items");
        assert!(wanted.values().eq(&all));
    }
}
