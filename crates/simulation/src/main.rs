//! Tells the stories of seeds: `cargo run -p tidemill-simulation -- 17`, or `0..1000`.

use std::process::ExitCode;

use tidemill_simulation::{Figures, every_crash_ends_the_same, run, seeds_of};

/// Steps of a story told by hand: more than those of the tests.
const STEPS: u32 = 400;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word] = words.as_slice() else {
        eprintln!("usage: tidemill-simulation SEED | FROM..TO");
        return ExitCode::FAILURE;
    };
    let Some(seeds) = seeds_of(word) else {
        eprintln!("`{word}` is no seed and no range; write `17` or `0..1000`");
        return ExitCode::FAILURE;
    };
    let mut figures = Figures::default();
    let mut crashes = 0;
    for seed in seeds {
        let told = run(seed, STEPS).and_then(|told| {
            figures += told;
            crashes += every_crash_ends_the_same(seed)?;
            Ok(())
        });
        if let Err(failure) = told {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    }
    println!("{figures:?}");
    println!("{crashes} crashes, one at each commit, ended the same");
    ExitCode::SUCCESS
}
