//! The keys of records. Numbers are big-endian, so that keys sort as their meaning does.
//!
//! | key | value |
//! |---|---|
//! | `m format` | the format, 2 |
//! | `m checkpoint`, `m high` | a position |
//! | `r DAG 0 number` | a run without its tasks |
//! | `t DAG 0 number chunk` | tasks of a run, [`CHUNK`] in a chunk |
//! | `i DAG 0 number task chunk` | items of a mapped task, [`ITEMS`] in a chunk |
//! | `a created DAG 0 number` | the state of a run: the list of all, newest last |
//! | `d DAG 0 created number` | the same per DAG |
//! | `u DAG 0 number` | a run that is not finished |
//! | `g DAG` | a DAG |
//!
//! The tree itself keeps a sum over all of it, and further parts of long values, behind byte 0.

use tidemill_model::{DagId, RunId, TaskIx, Timestamp};

/// Tasks in one value: few enough that a value stays small, enough that a run is few values.
pub(crate) const CHUNK: usize = 8;

/// Items in one value. They are alike, so many together are compressed to what few would take; those
/// that run at the same time are near each other, so what changes is few values.
pub(crate) const ITEMS: u32 = 64;

pub(crate) const CHECKPOINT: &[u8] = b"mcheckpoint";
pub(crate) const FORMAT: &[u8] = b"mformat";
pub(crate) const HIGH: &[u8] = b"mhigh";
pub(crate) const RUNS: &[u8] = b"r";
pub(crate) const ALL: &[u8] = b"a";
pub(crate) const UNFINISHED: &[u8] = b"u";
pub(crate) const DAGS: &[u8] = b"g";

fn with_run(prefix: u8, id: &RunId) -> Vec<u8> {
    let mut key = vec![prefix];
    key.extend(id.dag.as_str().as_bytes());
    key.push(0);
    key.extend(id.number.to_be_bytes());
    key
}

pub(crate) fn run(id: &RunId) -> Vec<u8> {
    with_run(b'r', id)
}

pub(crate) fn unfinished(id: &RunId) -> Vec<u8> {
    with_run(b'u', id)
}

pub(crate) fn chunk(id: &RunId, chunk: usize) -> Vec<u8> {
    let mut key = with_run(b't', id);
    key.extend((chunk as u32).to_be_bytes());
    key
}

/// What the items of all mapped tasks of a run start with.
pub(crate) fn items(id: &RunId) -> Vec<u8> {
    with_run(b'i', id)
}

pub(crate) fn items_of_task(id: &RunId, task: TaskIx) -> Vec<u8> {
    let mut key = items(id);
    key.extend(task.0.to_be_bytes());
    key
}

/// Where the items of a chunk are.
pub(crate) fn item_chunk(id: &RunId, task: TaskIx, chunk: u32) -> Vec<u8> {
    let mut key = items_of_task(id, task);
    key.extend(chunk.to_be_bytes());
    key
}

pub(crate) fn dag(id: &DagId) -> Vec<u8> {
    let mut key = vec![b'g'];
    key.extend(id.as_str().as_bytes());
    key
}

/// An instant as bytes that sort like it.
fn sortable(at: Timestamp) -> [u8; 8] {
    (at.as_micros() as u64 ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn in_all(created: Timestamp, id: &RunId) -> Vec<u8> {
    let mut key = vec![b'a'];
    key.extend(sortable(created));
    key.extend(&with_run(b'a', id)[1..]);
    key
}

pub(crate) fn of_dag(dag: &DagId) -> Vec<u8> {
    let mut key = vec![b'd'];
    key.extend(dag.as_str().as_bytes());
    key.push(0);
    key
}

pub(crate) fn in_dag(created: Timestamp, id: &RunId) -> Vec<u8> {
    let mut key = of_dag(&id.dag);
    key.extend(sortable(created));
    key.extend(id.number.to_be_bytes());
    key
}

/// The instant of a key of the list of all runs.
pub(crate) fn created_of(key: &[u8]) -> Option<Timestamp> {
    let sorted = u64::from_be_bytes(*key.get(1..)?.first_chunk::<8>()?);
    Some(Timestamp::from_micros((sorted ^ (1 << 63)) as i64))
}

/// The run of a key of the list of all runs, or of the list of a DAG.
pub(crate) fn listed(key: &[u8]) -> Option<RunId> {
    let rest = &key[1..];
    let dag = if key.first() == Some(&b'a') {
        rest.get(8..)?.split(|byte| *byte == 0).next()?
    } else {
        rest.split(|byte| *byte == 0).next()?
    };
    id_of(dag, key)
}

/// The run of a key of [`RUNS`] or [`UNFINISHED`].
pub(crate) fn run_of(key: &[u8]) -> Option<RunId> {
    let dag = key.get(1..)?.split(|byte| *byte == 0).next()?;
    id_of(dag, key)
}

fn id_of(dag: &[u8], key: &[u8]) -> Option<RunId> {
    let number = key.last_chunk::<8>()?;
    Some(RunId {
        dag: std::str::from_utf8(dag).ok()?.parse().ok()?,
        number: u64::from_be_bytes(*number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_runs_do_and_can_be_read_back() {
        let id = |text: &str| text.parse::<RunId>().expect("run id");
        let at = Timestamp::from_micros;
        let newest_last = [
            (at(-5), id("z.9")),
            (at(0), id("a.1")),
            (at(0), id("a.2")),
            (at(0), id("a.10")),
            (at(0), id("a-b.1")),
            (at(0), id("ab.1")),
            (at(7), id("a.1")),
        ];
        let keys: Vec<Vec<u8>> = newest_last.iter().map(|(at, id)| in_all(*at, id)).collect();
        assert!(keys.is_sorted());
        for ((at, id), key) in newest_last.iter().zip(&keys) {
            assert_eq!(listed(key).as_ref(), Some(id));
            assert_eq!(created_of(key), Some(*at));
            assert_eq!(listed(&in_dag(*at, id)).as_ref(), Some(id));
            assert_eq!(run_of(&run(id)).as_ref(), Some(id));
            assert!(in_dag(*at, id).starts_with(&of_dag(&id.dag)));
        }
        assert!(!in_dag(at(0), &id("ab.1")).starts_with(&of_dag(&id("a.1").dag)));
    }
}
