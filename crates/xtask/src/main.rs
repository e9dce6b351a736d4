//! Chores with logic, for people and for the tests.
//!
//! * [`rows`]: which crate may use which, held against `cargo metadata`;
//! * [`tidy`]: habits that a compiler does not check.
//!
//! `cargo run -p xtask -- tidy` says what is wrong; the same checks run as this crate's tests.

mod rows;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: xtask tidy";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => {
            let mut complaints = tidy::check(&root());
            match rows::read(&root()) {
                Ok(crates) => complaints.extend(rows::check(&crates)),
                Err(error) => complaints.push(error),
            }
            if complaints.is_empty() { Ok("tidy".to_owned()) } else { Err(complaints.join("\n")) }
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
