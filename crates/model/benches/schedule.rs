//! What a tick costs: the next one, the one before, and the whole decision about what is due.
//!
//! `cargo bench -p tidemill-model --bench schedule`; microseconds each.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at a surprise")]

use std::hint::black_box;
use std::time::Instant;

use chrono_tz::Tz;
use tidemill_model::Timestamp;
use tidemill_model::schedule::{Clock, Schedule, Timer};

fn micros(mut act: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 2_000;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        act();
    }
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

fn main() {
    let calm: Timestamp = "2026-06-10T08:59:30Z".parse().unwrap();
    let change: Timestamp = "2026-10-25T00:59:30Z".parse().unwrap();
    println!("{:<16} {:>6} {:>8} {:>8} {:>8}", "", "", "next", "previous", "due");
    for text in ["* * * * *", "*/5 * * * *", "0 2 * * *", "0 0 1 * MON", "0 0 29 2 *"] {
        let schedule = Schedule::parse(text, Tz::Europe__Zurich).unwrap();
        for (name, now) in [("calm", calm), ("change", change)] {
            let next = micros(|| _ = black_box(schedule.next_after(black_box(now))));
            let previous = micros(|| _ = black_box(schedule.previous(black_box(now))));
            let timer = Timer::new(Clock::Cron(schedule.clone()), Tz::Europe__Zurich);
            let whole = micros(|| _ = black_box(timer.due(None, black_box(now))));
            println!("{text:<16} {name:>6} {next:>8.2} {previous:>8.2} {whole:>8.2}");
        }
    }
}
