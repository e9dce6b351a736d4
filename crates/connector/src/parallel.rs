//! Work shared by the processors, with results in order: for transforms, and for whoever reads many
//! files.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How work is shared.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// So many threads at most.
    pub threads_max: usize,
    /// Items that a thread takes at a time.
    pub block: usize,
    /// The stack of each thread in bytes; without it, that of any thread.
    pub stack_bytes: Option<usize>,
}

/// What `work` makes of every item, in the order of the items. Every thread has a state of its own.
///
/// Work that one thread can do is done here, as is what no thread could be had for.
pub fn map<T: Sync, S, R: Send>(
    share: Share,
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let blocks: Vec<&[T]> = items.chunks(share.block.max(1)).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(share.threads_max).min(blocks.len());
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = state();
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(block) = blocks.get(at)
        {
            let results: Vec<R> = block.iter().map(|item| work(&mut state, item)).collect();
            done.push((at, results));
        }
        done
    };
    let mut done: Vec<(usize, Vec<R>)> = thread::scope(|scope| {
        let spawn = |_| {
            let thread = thread::Builder::new();
            let thread = match share.stack_bytes {
                Some(bytes) => thread.stack_size(bytes),
                None => thread,
            };
            thread.spawn_scoped(scope, run).ok()
        };
        // This thread works too, unless the others have more stack.
        let own = usize::from(share.stack_bytes.is_none() || threads <= 1);
        let others: Vec<_> = (own..threads).filter_map(spawn).collect();
        let mut done = if own == 1 || others.is_empty() { run() } else { Vec::new() };
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
        for (block, stack_bytes) in [(1, None), (64, None), (1, Some(4 << 20))] {
            let share = Share { threads_max: 8, block, stack_bytes };
            for count in [0, 1, 2, 64, 64 * 20 + 3] {
                let items: Vec<usize> = (0..count).collect();
                let doubled = map(share, &items, || 2, |two, item| item * *two);
                let expected: Vec<usize> = items.iter().map(|item| item * 2).collect();
                assert_eq!(doubled, expected, "{share:?}");
            }
        }
    }
}
