//! Work shared by the processors, with results in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads of one task, at most.
const THREADS_MAX: usize = 8;
/// Items that a thread takes at a time.
const BLOCK: usize = 64;

/// What `work` makes of every item, in the order of the items. Every thread has a state of its own.
pub(super) fn map<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(items.len().div_ceil(BLOCK));
    if threads <= 1 {
        let mut state = state();
        return items.iter().map(|item| work(&mut state, item)).collect();
    }
    let blocks: Vec<&[T]> = items.chunks(BLOCK).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = state();
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = blocks.get(at) else { return done };
            let results: Vec<R> = block.iter().map(|item| work(&mut state, item)).collect();
            done.push((at, results));
        }
    };
    let mut done: Vec<(usize, Vec<R>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order() {
        let check = |count: usize| {
            let items: Vec<usize> = (0..count).collect();
            let doubled = map(&items, || 2, |two, item| item * *two);
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        };
        check(0);
        check(1);
        check(BLOCK);
        check(BLOCK * 20 + 3);
    }
}
