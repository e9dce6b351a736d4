//! [`Timer`]: everything that says when a trigger by the clock is due.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, Utc};
use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::blackout::Blackout;
use super::calendar::{Calendar, ROW_MAX, Roll};
use super::{Every, Schedule, zone};
use crate::id::DagId;
use crate::time::{DataInterval, Timestamp, written_duration};

/// What the instants come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Clock {
    /// A cron line. Its calendar is its own: see [`super::CronOptions`].
    Cron(Schedule),
    /// A span.
    Every(Every),
    /// One instant.
    At(Timestamp),
}

impl fmt::Display for Clock {
    /// As a trigger is written: `cron 0 2 * * *`, `every 6h`, `at 2026-12-31T22:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => write!(f, "cron {}", cron.expression()),
            Self::Every(every) => write!(f, "every {}", written_duration(every.span())),
            Self::At(at) => write!(f, "at {at}"),
        }
    }
}

/// What becomes of ticks that were missed, whatever the reason: the server was down, the DAG was
/// paused or has just been deployed, its schedule was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Catchup {
    /// None of them is run, but for one that has only just passed.
    #[default]
    None,
    /// The newest of them.
    Latest,
    /// All of them, the newest [`CAUGHT_UP_MAX`].
    All,
}

/// Ticks that one look catches up with at most; older ones are passed over.
pub const CAUGHT_UP_MAX: usize = 1_000;

/// The least lateness that a tick is still fired at without catch-up.
pub const GRACE_MIN: Duration = Duration::from_mins(5);

/// Windows that are passed over in a row at most, before a timer counts as ended.
const WINDOWS_MAX: usize = 10_000;

/// When a trigger is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    /// What the instants come from.
    pub clock: Clock,
    /// The zone of `blackout` and `calendar`.
    pub zone: Tz,
    /// Nothing is due before.
    pub start: Option<Timestamp>,
    /// Nothing is due after.
    pub end: Option<Timestamp>,
    /// The calendar of a span or an instant. What takes place on another day keeps its time of the
    /// day, so only a span of whole days may have one that moves ticks.
    pub calendar: Option<Arc<Calendar>>,
    /// Times in which nothing is due.
    pub blackout: Vec<Blackout>,
    /// How much later than its tick each run begins; less than the jitter that was asked for.
    pub offset: Duration,
    /// What becomes of missed ticks.
    pub catchup: Catchup,
    /// Ticks longer ago than this are not caught up with.
    pub window: Option<Duration>,
}

/// What a scheduler has to do about a timer now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// Ticks to deal with, oldest first, and whether a run is created for each. Dealing with one
    /// deals with all before it.
    pub ticks: Vec<(Timestamp, bool)>,
    /// When to ask again; `None` when nothing will be due any more.
    pub next: Option<Timestamp>,
}

/// When a run is due, and by which timer.
pub type Tick<'t> = (Timestamp, &'t Timer);

/// The ticks of several timers after an instant, in order. Those of one instant come in the order of
/// the timers.
pub fn ticks<'t>(
    timers: impl IntoIterator<Item = &'t Timer>,
    after: Timestamp,
) -> impl Iterator<Item = Tick<'t>> {
    let mut next: Vec<(Option<Timestamp>, &Timer)> =
        timers.into_iter().map(|timer| (timer.next_after(after), timer)).collect();
    std::iter::from_fn(move || {
        let due = next.iter_mut().filter(|(at, _)| at.is_some()).min_by_key(|(at, _)| *at)?;
        let (tick, timer) = (due.0?, due.1);
        due.0 = timer.next_after(tick);
        Some((tick, timer))
    })
}

/// A tick takes place no further than this from where it is due.
const ROLLED_MAX: Duration = Duration::from_hours(24 * (ROW_MAX as u64 + 1));

fn just_before(instant: Timestamp) -> Timestamp {
    instant.minus(Duration::from_micros(1))
}

impl Timer {
    /// A timer with nothing but instants.
    pub fn new(clock: Clock, zone: Tz) -> Self {
        Self {
            clock,
            zone,
            start: None,
            end: None,
            calendar: None,
            blackout: Vec::new(),
            offset: Duration::ZERO,
            catchup: Catchup::None,
            window: None,
        }
    }

    /// Begins each run later by a share of `jitter` that is drawn from a hash of the DAG and the
    /// trigger as written: DAGs that are due in the same second do not begin in it, and each begins
    /// at the same offset for ever.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration, dag: &DagId, trigger: &str) -> Self {
        let digest = Sha256::new().chain_update(dag.as_str()).chain_update([0]);
        let digest = digest.chain_update(trigger).finalize();
        let drawn = u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default());
        let micros = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
        let offset = Duration::from_micros(drawn.checked_rem(micros).unwrap_or(0));
        Self { offset, ..self }
    }

    /// The first tick after an instant.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut after = self.start.map_or(instant, |start| instant.max(just_before(start)));
        for _ in 0..WINDOWS_MAX {
            let tick = self.counted_after(after)?;
            if self.end.is_some_and(|end| tick > end) {
                return None;
            }
            match self.window_around(tick) {
                None => return Some(tick),
                // The end of a window is outside of it.
                Some((_, end)) => after = just_before(end).max(tick),
            }
        }
        None
    }

    /// The last tick at or before an instant.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut until = self.end.map_or(instant, |end| instant.min(end));
        for _ in 0..WINDOWS_MAX {
            let tick = self.counted_before(until)?;
            if self.start.is_some_and(|start| tick < start) {
                return None;
            }
            match self.window_around(tick) {
                None => return Some(tick),
                Some((begin, _)) => until = just_before(begin.min(tick)),
            }
        }
        None
    }

    /// The data of a tick: from the tick before to it. What is due on no other day, or in no window,
    /// is in the data of the tick after.
    pub fn interval_of(&self, tick: Timestamp) -> DataInterval {
        let before = just_before(tick);
        // The first tick of all has the data that a tick before it would have begun with.
        let before = self.previous(before).or_else(|| match &self.clock {
            Clock::Cron(cron) => cron.previous(before),
            Clock::Every(_) | Clock::At(_) => None,
        });
        DataInterval { start: before.unwrap_or(tick), end: tick }
    }

    /// The data of the run of a tick: a single instant has none.
    pub fn data_of(&self, tick: Timestamp) -> Option<DataInterval> {
        (!matches!(self.clock, Clock::At(_))).then(|| self.interval_of(tick))
    }

    /// When the run of a tick begins.
    pub fn begins_at(&self, tick: Timestamp) -> Timestamp {
        tick.plus(self.offset)
    }

    /// What is due; `last` is the newest tick that was dealt with.
    ///
    /// Without catch-up the newest tick that has passed and was not dealt with fires when it is at
    /// most a tenth of its period late, or [`GRACE_MIN`] if that is more; otherwise it is passed
    /// over, and so are all before it. That one rule holds for a DAG that was just deployed, for one
    /// that was paused, and after the server was down. With catch-up, lateness does not count, but
    /// for the window. A tick that had passed before a DAG was first deployed is nobody's miss,
    /// unless the DAG has a `start` after which it came.
    ///
    /// A tick is dealt with once, however the clock moves: when the clock goes back, nothing is due
    /// until it has passed the last tick again.
    pub fn due(&self, last: Option<Timestamp>, now: Timestamp) -> Due {
        let now = now.minus(self.offset);
        let is_new = |tick: &Timestamp| last.is_none_or(|last| *tick > last);
        let newest = self.previous(now).filter(is_new);
        let ticks = newest.map(|newest| self.dealt_with(newest, last, now)).unwrap_or_default();
        let from = last.map_or(now, |last| last.max(now));
        Due { ticks, next: self.next_after(from).map(|tick| self.begins_at(tick)) }
    }

    fn dealt_with(
        &self,
        newest: Timestamp,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<(Timestamp, bool)> {
        let interval = self.interval_of(newest);
        let period = interval.end.since(interval.start);
        let is_fresh = now.since(newest) <= (period / 10).max(GRACE_MIN);
        let is_owed = last.is_some() || self.start.is_some();
        let is_within = |tick: Timestamp| self.window.is_none_or(|span| now.since(tick) <= span);
        let made_up = self.catchup != Catchup::None && is_owed && is_within(newest);
        if !made_up || self.catchup == Catchup::Latest {
            let fires = is_fresh || made_up;
            return if fires || last.is_some() { vec![(newest, fires)] } else { Vec::new() };
        }
        let before = |tick: &Timestamp| self.previous(just_before(*tick));
        let back = std::iter::successors(Some(newest), before);
        let missed = back.take_while(|tick| last.is_none_or(|last| *tick > last));
        let mut ticks: Vec<_> =
            missed.take_while(|tick| is_within(*tick)).take(CAUGHT_UP_MAX).collect();
        ticks.reverse();
        ticks.into_iter().map(|tick| (tick, true)).collect()
    }

    /// A window that holds a tick.
    fn window_around(&self, tick: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let local = zone::local(tick.to_utc(), self.zone);
        let (begin, end) = self.blackout.iter().find_map(|window| window.around(local))?;
        let instant = |local| zone::instant_of(local, self.zone).into();
        Some((instant(begin), instant(end)))
    }

    /// The first tick after an instant, on days that count.
    fn counted_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // What takes place earlier than it is due comes after at most a row of days.
        let mut raw = self.raw_after(instant.minus(self.reach()))?;
        for _ in 0..WINDOWS_MAX {
            raw = match self.placed(raw) {
                Some(tick) if tick > instant => return Some(tick),
                Some(_) => self.raw_after(raw)?,
                None => self.raw_after(just_before(self.midnight(raw, 1)?))?,
            };
        }
        None
    }

    fn counted_before(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut raw = self.raw_before(instant.plus(self.reach()))?;
        for _ in 0..WINDOWS_MAX {
            raw = match self.placed(raw) {
                Some(tick) if tick <= instant => return Some(tick),
                Some(_) => self.raw_before(just_before(raw))?,
                None => self.raw_before(just_before(self.midnight(raw, 0)?))?,
            };
        }
        None
    }

    /// Midnight of the day of a tick, or of a day after.
    fn midnight(&self, tick: Timestamp, days: u64) -> Option<Timestamp> {
        let day = zone::local(tick.to_utc(), self.zone).date().checked_add_days(Days::new(days))?;
        Some(zone::instant_of(day.and_time(NaiveTime::MIN), self.zone).into())
    }

    /// How far from where it is due a tick may take place.
    fn reach(&self) -> Duration {
        match &self.calendar {
            Some(calendar) if calendar.roll != Roll::Skip => ROLLED_MAX,
            _ => Duration::ZERO,
        }
    }

    fn raw_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match &self.clock {
            Clock::Cron(cron) => cron.next_after(instant),
            Clock::Every(every) => every.next_after(instant),
            Clock::At(at) => Some(*at).filter(|at| *at > instant),
        }
    }

    fn raw_before(&self, instant: Timestamp) -> Option<Timestamp> {
        match &self.clock {
            Clock::Cron(cron) => cron.previous(instant),
            Clock::Every(every) => every.previous(instant),
            Clock::At(at) => Some(*at).filter(|at| *at <= instant),
        }
    }

    /// Where a tick takes place by the calendar, if it does.
    fn placed(&self, tick: Timestamp) -> Option<Timestamp> {
        let Some(calendar) = &self.calendar else { return Some(tick) };
        let local = zone::local(tick.to_utc(), self.zone);
        let day = calendar.place(local.date())?;
        if day == local.date() {
            return Some(tick);
        }
        let at: DateTime<Utc> = zone::instant_of(day.and_time(local.time()), self.zone);
        Some(at.into())
    }
}
