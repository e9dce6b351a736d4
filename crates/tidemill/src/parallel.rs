//! Work on many files, on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tidemill_spec::READER_STACK_BYTES;

/// What `work` makes of each item, in the order of the items. It may use as much stack as reading a
/// DAG file needs: with less, each reading would set up one of its own.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        std::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            Some((at, work(items.get(at)?)))
        })
        .collect::<Vec<_>>()
    };
    let mut made: Vec<(usize, R)> = thread::scope(|scope| {
        let spawn = |_| {
            let thread = thread::Builder::new().stack_size(READER_STACK_BYTES);
            thread.spawn_scoped(scope, take).ok()
        };
        let others: Vec<_> = (0..threads).filter_map(spawn).collect();
        // Where no thread can be had, all of it is done here.
        let mut made = if others.is_empty() { take() } else { Vec::new() };
        for other in others {
            match other.join() {
                Ok(more) => made.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        made
    });
    made.sort_unstable_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_of_the_items() {
        for count in [0, 1, 2, 1_000] {
            let items: Vec<u64> = (0..count).collect();
            let expected: Vec<u64> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, |item| item * 2), expected);
        }
    }
}
