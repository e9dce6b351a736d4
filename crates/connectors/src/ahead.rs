//! Inputs read piece by piece on several threads, ahead of whoever takes the results.
//!
//! A piece is read by one thread at a time for each input, since a stream has one end, and worked
//! on by the thread that read it, while it is warm. Results come in the order of inputs and
//! pieces, whatever the number of threads; how far the threads are ahead is bounded by a number of
//! pieces. Whoever drops an [`Ahead`] has ended its threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tidemill_connector::ConnectorError;

/// More threads than this are not kept busy by one source.
const THREADS_MAX: usize = 8;

/// What is read and what is done with it.
pub(crate) trait Pieces: Send + Sync + 'static {
    /// An open input.
    type Open: Send;
    /// A part of an input.
    type Piece: Send;
    /// What becomes of a part.
    type Done: Send;

    /// Number of inputs.
    fn inputs(&self) -> usize;
    /// Opens an input.
    fn open(&self, input: usize) -> Result<Self::Open, ConnectorError>;
    /// The next piece of an input; `None` at its end.
    fn read(
        &self,
        input: usize,
        open: &mut Self::Open,
    ) -> Result<Option<Self::Piece>, ConnectorError>;
    /// Works on a piece.
    fn work(&self, input: usize, piece: Self::Piece) -> Result<Self::Done, ConnectorError>;
}

/// As many threads as the machine runs at once, within reason.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// The results, in order.
pub(crate) struct Ahead<P: Pieces> {
    shared: Arc<Shared<P>>,
    threads: Vec<JoinHandle<()>>,
}

impl<P: Pieces> Ahead<P> {
    /// Starts reading with this many threads. With none, the taker of results does the work.
    pub(crate) fn start(pieces: Arc<P>, threads: usize) -> Self {
        let state = State {
            inputs: BTreeMap::new(),
            all: pieces.inputs(),
            at: 0,
            opened: 0,
            pieces_max: threads + 1,
            stop: false,
        };
        let shared = Arc::new(Shared { pieces, state: Mutex::new(state), changed: Condvar::new() });
        let thread = |_| {
            let shared = shared.clone();
            // Without a thread the work is done all the same, by the taker.
            std::thread::Builder::new()
                .name("tidemill-read".to_owned())
                .spawn(move || shared.run())
                .ok()
        };
        let threads = (0..threads).filter_map(thread).collect();
        Self { shared, threads }
    }

    /// The next result and the number of its input; `None` at the end. After an error there is
    /// no more to be had.
    pub(crate) fn next(&mut self) -> Option<(usize, Result<P::Done, ConnectorError>)> {
        let mut state = self.shared.lock();
        loop {
            if state.at == state.all {
                return None;
            }
            if let Some(done) = state.take() {
                self.shared.changed.notify_all();
                return Some((state.at, done));
            }
            if state.pass_by_ended() {
                continue;
            }
            state = if self.threads.is_empty() {
                self.shared.step(state)
            } else {
                self.shared.wait(state)
            };
        }
    }
}

impl<P: Pieces> Drop for Ahead<P> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Shared<P: Pieces> {
    pieces: Arc<P>,
    state: Mutex<State<P>>,
    changed: Condvar,
}

struct State<P: Pieces> {
    /// The inputs that were begun and not wholly taken.
    inputs: BTreeMap<usize, Input<P>>,
    all: usize,
    /// The input whose results are taken now.
    at: usize,
    /// The first input that was not begun.
    opened: usize,
    /// That many pieces may be ahead in the input at hand, and as many in those after it: else
    /// these would leave no room for the one that is waited for.
    pieces_max: usize,
    stop: bool,
}

struct Input<P: Pieces> {
    reader: Reader<P::Open>,
    /// Pieces that were begun, and those whose results were taken.
    begun: u64,
    taken: u64,
    done: BTreeMap<u64, Result<P::Done, ConnectorError>>,
}

enum Reader<T> {
    Closed,
    Idle(T),
    /// With a thread.
    Away,
    /// At its end, or broken.
    Ended,
}

/// Leave to read a piece.
struct Claim<T> {
    input: usize,
    piece: u64,
    open: Option<T>,
}

impl<P: Pieces> State<P> {
    /// The next result, if it is there.
    fn take(&mut self) -> Option<Result<P::Done, ConnectorError>> {
        let input = self.inputs.get_mut(&self.at)?;
        let done = input.done.remove(&input.taken)?;
        input.taken += 1;
        Some(done)
    }

    /// Goes on to the next input if all of this one was taken.
    fn pass_by_ended(&mut self) -> bool {
        let ended = self.inputs.get(&self.at).is_some_and(|input| {
            matches!(input.reader, Reader::Ended) && input.taken == input.begun
        });
        if ended {
            self.inputs.remove(&self.at);
            self.at += 1;
        }
        ended
    }

    /// The earliest piece that may be read now.
    fn claim(&mut self) -> Option<Claim<P::Open>> {
        let room = |input: usize, inputs: &BTreeMap<usize, Input<P>>| {
            let ahead = |(_, input): (&usize, &Input<P>)| (input.begun - input.taken) as usize;
            let pieces: usize = if input == self.at {
                inputs.range(input..=input).map(ahead).sum()
            } else {
                inputs.range(self.at + 1..).map(ahead).sum()
            };
            pieces < self.pieces_max
        };
        let free = |reader: &Reader<P::Open>| matches!(reader, Reader::Closed | Reader::Idle(_));
        let begun = self
            .inputs
            .iter()
            .find(|(index, input)| free(&input.reader) && room(**index, &self.inputs));
        let index = match begun {
            Some((index, _)) => *index,
            None if self.opened < self.all && room(self.opened, &self.inputs) => {
                let fresh =
                    Input { reader: Reader::Closed, begun: 0, taken: 0, done: BTreeMap::new() };
                self.inputs.insert(self.opened, fresh);
                self.opened += 1;
                self.opened - 1
            }
            None => return None,
        };
        let input = self.inputs.get_mut(&index)?;
        let open = match std::mem::replace(&mut input.reader, Reader::Away) {
            Reader::Idle(open) => Some(open),
            _ => None,
        };
        input.begun += 1;
        Some(Claim { input: index, piece: input.begun - 1, open })
    }
}

impl<P: Pieces> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does: pieces, until there are no more.
    fn run(&self) {
        let mut state = self.lock();
        while !state.stop && state.at < state.all {
            state = self.step(state);
        }
    }

    /// Reads a piece and works on it, or waits until there is one to read.
    fn step<'a>(&'a self, mut state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
        let Some(Claim { input, piece, open }) = state.claim() else { return self.wait(state) };
        drop(state);
        let read = guarded(|| {
            let mut open = match open {
                Some(open) => open,
                None => self.pieces.open(input)?,
            };
            Ok((self.pieces.read(input, &mut open)?, open))
        });
        let (reader, read) = match read {
            Ok((Some(bytes), open)) => (Reader::Idle(open), Some(Ok(bytes))),
            Ok((None, _)) => (Reader::Ended, None),
            Err(error) => (Reader::Ended, Some(Err(error))),
        };
        let mut state = self.lock();
        if let Some(of) = state.inputs.get_mut(&input) {
            of.reader = reader;
            if read.is_none() {
                of.begun -= 1;
            }
        }
        self.changed.notify_all();
        let Some(read) = read else { return state };
        drop(state);
        let done = read.and_then(|bytes| guarded(|| self.pieces.work(input, bytes)));
        let mut state = self.lock();
        if let Some(of) = state.inputs.get_mut(&input) {
            of.done.insert(piece, done);
        }
        self.changed.notify_all();
        state
    }
}

/// A panic as an error: else the taker would wait for ever.
fn guarded<T>(work: impl FnOnce() -> Result<T, ConnectorError>) -> Result<T, ConnectorError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(ConnectorError::internal("the reading of the input broke off; please report this"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Inputs of so many pieces each; counts the pieces between reading and taking.
    struct Numbers {
        lengths: Vec<usize>,
        ahead: AtomicUsize,
        ahead_max: AtomicUsize,
    }

    impl Pieces for Numbers {
        type Open = usize;
        type Piece = usize;
        type Done = usize;

        fn inputs(&self) -> usize {
            self.lengths.len()
        }

        fn open(&self, _: usize) -> Result<usize, ConnectorError> {
            Ok(0)
        }

        fn read(&self, input: usize, open: &mut usize) -> Result<Option<usize>, ConnectorError> {
            if *open == self.lengths[input] {
                return Ok(None);
            }
            let ahead = self.ahead.fetch_add(1, Ordering::SeqCst) + 1;
            self.ahead_max.fetch_max(ahead, Ordering::SeqCst);
            *open += 1;
            Ok(Some(*open - 1))
        }

        fn work(&self, input: usize, piece: usize) -> Result<usize, ConnectorError> {
            assert!(piece < 1_000, "a panic");
            match (input, piece) {
                (7, 3) => Err(ConnectorError::data("seven, three")),
                _ => Ok(piece),
            }
        }
    }

    fn numbers(lengths: &[usize]) -> Arc<Numbers> {
        let (ahead, ahead_max) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Numbers { lengths: lengths.to_vec(), ahead, ahead_max })
    }

    #[test]
    fn results_come_in_order_and_a_bounded_number_ahead() {
        let lengths = [3, 0, 100, 1, 1, 1, 1, 0, 50, 0];
        let expected: Vec<(usize, usize)> =
            lengths.iter().enumerate().flat_map(|(i, n)| (0..*n).map(move |p| (i, p))).collect();
        for threads in [0, 1, 2, 5] {
            let numbers = numbers(&lengths);
            let mut ahead = Ahead::start(numbers.clone(), threads);
            let mut got = Vec::new();
            while let Some((input, done)) = ahead.next() {
                numbers.ahead.fetch_sub(1, Ordering::SeqCst);
                got.push((input, done.expect("works")));
            }
            assert_eq!(got, expected);
            let most = numbers.ahead_max.load(Ordering::SeqCst);
            assert!(most <= 2 * (threads + 1) + 1, "{most} pieces ahead of {threads} threads");
        }
    }

    #[test]
    fn errors_and_panics_come_in_their_place() {
        for threads in [0, 3] {
            let mut lengths = vec![1; 7];
            lengths.push(10);
            let mut ahead = Ahead::start(numbers(&lengths), threads);
            let good = std::iter::from_fn(|| ahead.next().filter(|(_, done)| done.is_ok()));
            assert_eq!(good.count(), 10);
            let mut ahead = Ahead::start(numbers(&[1_002]), threads);
            let last = std::iter::from_fn(|| ahead.next()).last().expect("works");
            assert!(last.1.is_err());
        }
    }

    #[test]
    fn dropped_halfway_the_threads_end() {
        let numbers = numbers(&[1_000, 1_000]);
        let mut ahead = Ahead::start(numbers.clone(), 4);
        ahead.next();
        drop(ahead);
        assert_eq!(Arc::strong_count(&numbers), 1);
    }
}
