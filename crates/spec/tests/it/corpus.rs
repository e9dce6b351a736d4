//! Replays what the fuzzers have kept: see `fuzz/README.md`.

use std::path::PathBuf;

use crate::fuzzed;

fn check(target: &str, holds: impl Fn(&[u8])) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of the corpus")
        .map(|entry| entry.expect("an entry of the folder").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for path in files {
        // A test that fails says nothing of its input by itself.
        eprintln!("{}", path.display());
        holds(&std::fs::read(&path).expect("a file of the corpus"));
    }
}

#[test]
fn load_dag() {
    check("load_dag", fuzzed::load_dag);
}

#[test]
fn with_defaults() {
    check("with_defaults", fuzzed::with_defaults);
}

#[test]
fn test_file() {
    check("test_file", fuzzed::test_file);
}

#[test]
fn connections_and_pools() {
    check("connections_and_pools", fuzzed::connections_and_pools);
}

#[test]
fn expr() {
    check("expr", fuzzed::expr);
}

#[test]
fn sql() {
    check("sql", fuzzed::sql);
}

#[test]
fn shell() {
    check("shell", fuzzed::shell);
}
