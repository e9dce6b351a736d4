//! Stories of many seeds. `TIDEMILL_SIM_SEEDS=0..100000` tells more of them.

use std::ops::Range;

use tidemill_simulation::{Figures, every_crash_ends_the_same, run, seeds_of};

/// Seeds from the environment, or so many.
fn seeds(n: u64) -> Range<u64> {
    let wanted = std::env::var("TIDEMILL_SIM_SEEDS").ok();
    wanted.map_or(0..n, |text| {
        let message = "TIDEMILL_SIM_SEEDS is a seed or a range: `17` or `0..1000`";
        seeds_of(&text).unwrap_or_else(|| panic!("{message}, not `{text}`"))
    })
}

#[test]
fn whatever_happens_the_rules_hold() {
    let seeds = seeds(200);
    let many = seeds.end - seeds.start >= 200;
    let mut all = Figures::default();
    for seed in seeds {
        match run(seed, 120) {
            Ok(figures) => all += figures,
            Err(failure) => panic!("{failure}"),
        }
    }
    // Many stories hold a bit of everything; otherwise they tell nothing.
    let Figures { runs, attempts, fired, passed_over, crashes, full, doubtful, refused, .. } = all;
    let least = [runs, attempts, fired, passed_over, crashes, full, doubtful, refused];
    assert!(!many || least.iter().all(|n| *n >= 20), "{all:?}");
}

#[test]
fn a_crash_at_any_commit_ends_the_same() {
    let seeds = seeds(12);
    let mut crashes = 0;
    for seed in seeds.clone() {
        match every_crash_ends_the_same(seed) {
            Ok(told) => crashes += told,
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(crashes >= 4 * (seeds.end - seeds.start), "{crashes}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [1, 2, 3] {
        let told = [run(seed, 200), run(seed, 200)].map(|told| told.map_err(|f| f.to_string()));
        assert_eq!(told[0], told[1]);
    }
}
