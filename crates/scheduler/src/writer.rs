//! [`Writer`]: the one thread that owns the kernel.
//!
//! Its loop: take what has queued, step the kernel, commit, publish, acknowledge, let the effects
//! go. It never waits for company: what arrives during a sync is the next batch.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tidemill_model::{AttemptId, Effect, Position, RunId, RunState};
use tidemill_store::{Commit, StoreError};

use crate::kernel::Kernel;
use crate::restore::settle_restart;
use crate::service::{Ack, Clock, Halted, Input, Outlets, Shared};

/// Inputs that one step takes in at most.
const STEP_INPUTS_MAX: usize = 4_096;

/// The thread looks at the clock at least this often, so that a stepped clock is noticed.
const WAKE_MAX: Duration = Duration::from_secs(1);

/// The wait before a commit to a full disk is tried again.
const DISK_FULL_WAIT: Duration = Duration::from_millis(250);

/// What the thread works with.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) kernel: Kernel,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outlets: Outlets,
    pub(crate) receiver: Receiver<Input>,
    /// Attempts that went on without a server.
    pub(crate) held: Vec<AttemptId>,
    pub(crate) next: Position,
}

impl Writer {
    /// Works until it is told to stop, or until the store breaks.
    pub(crate) fn run(mut self) {
        let now = self.clock.now();
        settle_restart(&mut self.kernel, &self.held, now);
        let mut inputs = Vec::new();
        let mut acks: Vec<Ack> = Vec::new();
        let mut stopped = false;
        loop {
            if let Err(reason) = self.commit() {
                tracing::error!(%reason, "the scheduler has halted");
                self.shared.halted.send_replace(Some(Halted(reason)));
                self.shared.waiters.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return;
            }
            acks.drain(..).for_each(|ack| ack());
            if stopped || !self.take(&mut inputs) {
                return;
            }
            let now = self.clock.now();
            for input in inputs.drain(..) {
                match input {
                    Input::Report(report) => {
                        let id = report.id.clone();
                        if !self.kernel.report(*report, now) {
                            // Nobody will ask for its result again.
                            (self.outlets.effect)(Effect::CancelAttempt(id));
                        }
                    }
                    Input::Call(call) => acks.push(call(&mut self.kernel, now)),
                    Input::Stop => {
                        self.kernel.drain();
                        stopped = true;
                    }
                }
            }
            self.kernel.wake(now);
            self.kernel.settle(now);
        }
    }

    /// Waits for inputs or for the time; `false` when nobody can send any.
    fn take(&self, inputs: &mut Vec<Input>) -> bool {
        let now = self.clock.now();
        let wait = self.kernel.next_wake(now).map_or(WAKE_MAX, |at| at.since(now).min(WAKE_MAX));
        match self.receiver.recv_timeout(wait) {
            Ok(input) => inputs.push(input),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        inputs.extend(self.receiver.try_iter().take(STEP_INPUTS_MAX - 1));
        true
    }

    /// Makes the batch durable, shows it, and lets its effects go.
    fn commit(&mut self) -> Result<(), String> {
        let batch = self.kernel.take_batch();
        if !batch.is_empty() {
            let commit = Commit { events: batch.events, small_tables: batch.small_tables };
            let started = Instant::now();
            self.make_durable(&commit)?;
            let first = self.next;
            let last = Position(first.0 + commit.events.len() as u64 - 1);
            self.next = last.next();
            self.shared.live.publish(&self.kernel, first, &commit.events);
            self.shared.stats.committed(&commit.events, started.elapsed());
            (self.outlets.committed)(last, &commit.events);
        }
        let changed = self.kernel.take_changed_dags();
        self.shared.live.publish_dags(&self.kernel, &changed);
        self.shared.live.publish_waits(&self.kernel, self.clock.now());
        // Whoever waits for the position finds all of the above.
        self.shared.position.send_if_modified(|position| {
            let moved = position.next() != self.next;
            *position = Position(self.next.0 - 1);
            moved
        });
        self.kernel.forget_finished();
        let refused = self.kernel.refused_reports();
        self.shared.stats.refused_reports.store(refused, Ordering::Relaxed);
        for effect in batch.effects {
            if let Effect::RunFinished(id) = &effect {
                self.tell_waiters(id);
            }
            (self.outlets.effect)(effect);
        }
        Ok(())
    }

    /// A full disk is waited out: nothing is acknowledged meanwhile, and nothing is lost.
    fn make_durable(&self, commit: &Commit) -> Result<(), String> {
        let full = &self.shared.stats.disk_full;
        loop {
            match self.shared.store.commit(commit) {
                Ok(_) => {
                    if full.swap(false, Ordering::Relaxed) {
                        tracing::info!("the disk has space again; work goes on");
                    }
                    return Ok(());
                }
                Err(error @ StoreError::Full { .. }) => {
                    if self.shared.stopping.load(Ordering::Relaxed) {
                        return Err(error.to_string());
                    }
                    if !full.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "a commit waits");
                    }
                    std::thread::sleep(DISK_FULL_WAIT);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn tell_waiters(&self, id: &RunId) {
        let waiting = self.shared.waiters.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let state = self.shared.live.run_state(id).unwrap_or(RunState::Failed);
        for waiter in waiting.into_iter().flatten() {
            let _ = waiter.send(state);
        }
    }
}
