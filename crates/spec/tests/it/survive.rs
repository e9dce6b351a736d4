//! Nothing panics, whatever the text; and every finding points into the text.

use std::path::Path;

use proptest::prelude::*;
use tidemill_spec::{FileKind, SourceText, format};

use crate::fuzzed::{self, dag_holds};
use crate::support::load;

/// A file with something of everything.
const FILE: &str = include_str!("everything.yaml");

fn survives(text: &str) {
    dag_holds(text, None);
    for kind in [FileKind::Dag, FileKind::Other] {
        let form = |text| format(SourceText { path: Path::new("shop.yaml"), text }, kind);
        match form(text) {
            Ok(written) => assert_eq!(form(&written).as_deref(), Ok(written.as_str())),
            Err(found) => assert!(!found.is_empty(), "{text:?}"),
        }
    }
}

#[test]
fn the_file_is_good() {
    let loaded = load(FILE);
    let found: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    // It holds keys that cannot run yet, and no other fault.
    let is_later = |d: &tidemill_spec::Diagnostic| d.code == "TM0901";
    let is_good = loaded.dag.is_some() && loaded.diagnostics.iter().all(is_later);
    assert!(is_good, "{}", found.join("\n\n"));
}

#[test]
fn every_cut_of_the_file() {
    for (at, _) in FILE.char_indices().step_by(3) {
        survives(&FILE[..at]);
        survives(&FILE[at..]);
    }
}

#[test]
fn hostile_texts() {
    let expr = |inner: &str| format!("tasks: {{a: {{noop: {{}}, when: \"{inner}\"}}}}");
    let sql = |inner: &str| format!("tasks: {{a: {{transform: {{sql: \"{inner}\"}}}}}}");
    let script = |inner: &str| format!("tasks:\n  a:\n    run: |\n      {inner}\n");
    for text in [
        "[".repeat(20_000),
        "{a: ".repeat(20_000),
        "- ".repeat(20_000),
        "? ".repeat(20_000),
        "&a ".repeat(2_000),
        "!a ".repeat(2_000),
        "\"".repeat(20_001),
        "'".repeat(20_001),
        "|\n".repeat(2_000),
        ">\n \n".repeat(2_000),
        "%YAML 1.2\n---\n".repeat(10),
        "a: |9\n b\n".to_owned(),
        "\u{feff}\u{feff}".to_owned(),
        "\u{2028}: \u{85}".to_owned(),
        "tasks: {? : ~, [a]: b, {c: d}: e, ~: f}".to_owned(),
        "tasks: {a: {noop: {}, retry: .nan, timeout: .inf, pool: 1e400}}".to_owned(),
        "tasks: {a: {noop: {}, retry: 99999999999999999999999999999}}".to_owned(),
        expr(&"(".repeat(4_000)),
        expr(&"!".repeat(4_000)),
        expr(&"-".repeat(4_000)),
        expr(&"[".repeat(4_000)),
        expr(&format!("1{}", "+1".repeat(2_000))),
        expr(&format!("a{}", ".a".repeat(2_000))),
        expr(&format!("a{}", "[0]".repeat(1_300))),
        expr(&"a ? b : ".repeat(500)),
        sql(&"(".repeat(100_000)),
        sql(&format!("select {}", "(select ".repeat(10_000))),
        sql(&format!("select 1{}", "+1".repeat(9_000))),
        sql(&format!("select * from a {}", "union select * from a ".repeat(3_000))),
        sql(&format!("select {}", "$n,".repeat(9_000))),
        sql(&format!("select 'é{}", "$n,".repeat(9_000))),
        script(&"$(".repeat(10_000)),
        script(&"\\\"$(\\\"${{ run.id }}".repeat(100)),
        script(&"<<A ".repeat(2_000)),
        script(&"`".repeat(10_001)),
        script(&"${{ ".repeat(1_000)),
    ] {
        survives(&text);
    }
}

/// The parser of expressions counts letters, and a place was taken to be one of bytes: after an
/// umlaut it was too early, or inside of a letter. Found by the fuzz target `expr`.
#[test]
fn a_place_in_an_expression_after_letters_of_several_bytes() {
    fuzzed::expr("1 +\"éééé\"éé".as_bytes());
    fuzzed::expr("'é' == has(1)".as_bytes());
    let text = "tasks: {a: {noop: {}, when: \"'é' + @\"}}";
    survives(text);
    assert_eq!(load(text).diagnostics[0].column, 36);
}

/// The parser of SQL tries what a word may begin one after the other: each level of these doubled
/// its work, so that 40 would have taken days. Found by the fuzz target `sql`.
#[test]
fn sql_that_is_tried_again_at_each_level() {
    for level in ["cast(", "cast((", "case+++ $c6 urs+or++a ", "interval ", "trim(", "not exists("]
    {
        fuzzed::sql(format!("select {}1", level.repeat(45)).as_bytes());
        fuzzed::sql(level.repeat(45).as_bytes());
    }
    let text = format!("tasks: {{a: {{transform: {{sql: \"select {}1\"}}}}}}", "cast(".repeat(45));
    survives(&text);
    assert_eq!(load(&text).diagnostics[0].code, "TM0301");
    // What is deep and right is not in its way.
    let deep = |levels: usize| {
        format!("select {}a{} from t", "cast(".repeat(levels), " as int)".repeat(levels))
    };
    assert!(tidemill_spec::sql::query(&deep(20)).is_ok());
}

/// Pieces that matter to one of the readers.
const PIECES: &[&str] = &[
    "${{",
    "}}",
    "$(",
    "`",
    "'",
    "\"",
    "|\n",
    ">\n",
    "- ",
    ": ",
    "? ",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\n",
    "  ",
    "\t",
    "#",
    "---\n",
    "...\n",
    "%",
    "é",
    "\u{1f980}",
    "\0",
    "\r",
    "~",
    "null",
    "5",
    "-1",
    "1.5",
    "yes",
    "tasks",
    "select ",
    "from a",
    "$x",
    "<<E\n",
    "where ",
    "\\",
    "0 2 * * *",
    "99d",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn any_change_of_the_file(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0usize..12, prop::sample::select(PIECES)), 1..6),
    ) {
        let mut text: Vec<char> = FILE.chars().collect();
        for (at, removed, piece) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, piece.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }
}
