//! Texts and what must come of them, side by side in `cases/*.txt`.
//!
//! A case is a line `=== NAME`, the text, a line `>>>`, and the outcome. `UPDATE=1 cargo test -p
//! tidemill-spec cases` writes the outcomes anew; read the difference before you keep it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tidemill_spec::SourceText;
use tidemill_spec::test_file::parse_tests;

use crate::support::{good, outcome};

fn check(file: &str, expected_cases: usize) {
    check_with(file, expected_cases, |_, yaml| outcome(yaml));
}

/// Holds every case of a file to what comes of its name and its text.
pub(crate) fn check_with(file: &str, expected_cases: usize, outcome: fn(&str, &str) -> String) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "it", "cases", file].iter().collect();
    let written = std::fs::read_to_string(&path).expect("the file of cases");
    let mut anew = String::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in written.split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (yaml, expected) = rest.split_once(">>>\n").unwrap_or((rest, ""));
        let found = outcome(name, &unescape(yaml));
        count += 1;
        let found = found.trim_end();
        if found != expected.trim_end() {
            wrong.push(format!("--- {name}\nexpected:\n{}\nfound:\n{found}", expected.trim_end()));
        }
        let _ = write!(anew, "=== {name}\n{yaml}>>>\n{found}\n\n");
    }
    assert_eq!(count, expected_cases, "cases in {file}");
    if std::env::var_os("UPDATE").is_some() {
        write(&path, anew.trim_end());
        return;
    }
    assert!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n\n"));
}

/// What an editor would not keep in a text file.
fn unescape(yaml: &str) -> String {
    yaml.replace("<END>\n", "")
        .replace("<TAB>", "\t")
        .replace("<NUL>", "\0")
        .replace("<CR>", "\r")
        .replace("<ESC>", "\u{1b}")
        .replace("<NEL>", "\u{85}")
        .replace("<BOM>", "\u{feff}")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, format!("{text}\n")).expect("the file can be written");
}

#[test]
fn yaml() {
    check("yaml.txt", 87);
}

#[test]
fn structure() {
    check("structure.txt", 44);
}

#[test]
fn groups() {
    check("groups.txt", 19);
}

#[test]
fn waiting() {
    check("waiting.txt", 8);
}

/// A DAG, and those beside it, each after a line `+++ NAME`.
#[test]
fn calls() {
    check("calls.txt", 10);
}

#[test]
fn graph() {
    check("graph.txt", 15);
}

#[test]
fn expressions() {
    check("expressions.txt", 27);
}

#[test]
fn sql() {
    check("sql.txt", 9);
}

#[test]
fn settings() {
    check("settings.txt", 11);
}

#[test]
fn time() {
    check("time.txt", 15);
}

#[test]
fn commands() {
    check("commands.txt", 7);
}

#[test]
fn later() {
    check("later.txt", 17);
}

#[test]
fn several_at_once() {
    check("several.txt", 2);
}

/// A DAG, a line `+++`, and its tests.
#[test]
fn tests_beside_a_dag() {
    check_with("tests.txt", 17, |_, text| {
        let (dag, tests) = text.split_once("+++\n").expect("a DAG and its tests");
        let source = SourceText { path: Path::new("dags/shop.test.yaml"), text: tests };
        let (file, found) = parse_tests(source, &good(dag));
        let mut parts: Vec<String> = found.iter().map(ToString::to_string).collect();
        parts.extend(file.map(|file| format!("tests: {}", file.tests.len())));
        parts.join("\n\n")
    });
}
