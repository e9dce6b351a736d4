//! The canonical form of files: before and after side by side, and every file that we have.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tidemill_spec::{Diagnostic, FileKind, SourceText, format, load_dag};

use crate::cases::check_with;
use crate::support::catalog;

/// A text in its canonical form, which is held to everything that is promised of it.
pub(crate) fn formatted(path: &str, text: &str) -> Result<String, Vec<Diagnostic>> {
    let path = Path::new(path);
    let kind = FileKind::of(path);
    let written = format(SourceText { path, text }, kind)?;
    let again = format(SourceText { path, text: &written }, kind);
    assert_eq!(again.as_deref(), Ok(written.as_str()), "formatted twice:\n{text}");
    assert_eq!(comments(&written), comments(text), "comments of:\n{text}\nin:\n{written}");
    assert!(written.is_empty() || written.ends_with('\n'), "{written:?}");
    assert!(!written.contains(['\r', '\u{feff}']), "{written:?}");
    assert_eq!(meaning(path, &written), meaning(path, text), "{text}\nbecame:\n{written}");
    Ok(written)
}

/// The text, or why there is none.
fn shown(name: &str, text: &str) -> String {
    let path = name.split_whitespace().find(|word| is_yaml(word));
    formatted(path.unwrap_or("shop.yaml"), text).unwrap_or_else(|found| {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.join("\n\n")
    })
}

/// The comments, found by another reader than the one that formatting uses: lines that begin with
/// `#`, and what stands behind ` #`, outside of quotes. What is in blocks of text counts too, which
/// does no harm: it stays.
fn comments(text: &str) -> Vec<String> {
    let lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']).filter_map(|line| {
        let (mut quote, mut before) = (None, ' ');
        for (at, c) in line.char_indices() {
            match (quote, c) {
                (None, '#') if before.is_whitespace() => return Some(line[at..].trim_end()),
                (None, '"' | '\'') if " [{,".contains(before) => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
            before = c;
        }
        None
    });
    let mut found: Vec<String> = lines.map(str::to_owned).collect();
    found.sort_unstable();
    found
}

fn is_yaml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "yaml")
}

/// What a DAG file means: its version, or the codes of what is wrong.
fn meaning(path: &Path, text: &str) -> (Option<String>, Vec<&'static str>) {
    if FileKind::of(path) != FileKind::Dag {
        return (None, Vec::new());
    }
    let loaded = load_dag(SourceText { path, text }, catalog());
    let mut codes: Vec<&str> = loaded.diagnostics.iter().map(|found| found.code).collect();
    codes.sort_unstable();
    (loaded.dag.map(|dag| dag.version.to_string()), codes)
}

#[test]
fn comments_and_blank_lines() {
    check_with("format/comments.txt", 12, shown);
}

#[test]
fn the_order_of_keys() {
    check_with("format/keys.txt", 10, shown);
}

#[test]
fn brackets_and_indentation() {
    check_with("format/layout.txt", 9, shown);
}

#[test]
fn quotes_and_blocks_of_text() {
    check_with("format/scalars.txt", 12, shown);
}

#[test]
fn long_forms() {
    check_with("format/long.txt", 9, shown);
}

#[test]
fn other_files_and_refusals() {
    check_with("format/files.txt", 10, shown);
}

/// Every text of YAML that this repository has, with a path that tells its kind.
fn texts() -> Vec<(String, String)> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", ".."].iter().collect();
    let mut texts = Vec::new();
    for folder in ["dags", "crates/tidemill/templates", "crates/spec/tests/it"] {
        collect(&root.join(folder), &mut texts);
    }
    collect(&root.join("docs"), &mut texts);
    texts
}

fn collect(folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.is_dir() {
            collect(&path, texts);
            continue;
        }
        let read = || std::fs::read_to_string(&path).expect("a text");
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => texts.push((name, read())),
            Some("md") => texts.extend(blocks(&name, &read())),
            Some("txt") => texts.extend(inputs(&name, &read())),
            _ => {}
        }
    }
}

/// The examples of a page; their first line may name a file.
fn blocks(page: &str, text: &str) -> Vec<(String, String)> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let named = blocks.map(|(block, _)| {
        let name = block.lines().next().and_then(|line| line.strip_prefix("# "));
        let name = name.filter(|name| is_yaml(name) && !name.contains(' '));
        (name.map_or_else(|| format!("{page}.yaml"), str::to_owned), block.to_owned())
    });
    named.collect()
}

/// What the cases of the language begin with.
fn inputs(file: &str, text: &str) -> Vec<(String, String)> {
    let cases = text.split("=== ").skip(1).filter_map(|case| case.split_once('\n'));
    let inputs = cases.map(|(_, rest)| rest.split_once(">>>\n").map_or(rest, |(yaml, _)| yaml));
    inputs.map(|yaml| (format!("{file}.yaml"), yaml.to_owned())).collect()
}

#[test]
fn every_file_that_can_be_read_keeps_its_meaning() {
    let (mut good, mut refused) = (0, 0);
    for (path, text) in texts() {
        match formatted(&path, &text) {
            Ok(_) => good += 1,
            Err(found) => {
                assert!(found.iter().all(|found| found.code != "TM0014"), "{path}:\n{text}");
                assert!(!found.is_empty(), "{path}:\n{text}");
                refused += 1;
            }
        }
    }
    assert!(good > 250 && refused > 20, "{good} good, {refused} refused");
}

/// Good files, into which comments are put at random.
static FILES: &[&str] = &[
    include_str!("everything.yaml"),
    include_str!("../../../../dags/orders.yaml"),
    include_str!("../../../../dags/groups.yaml"),
    include_str!("../../../../dags/files.yaml"),
    include_str!("../../../../dags/clean.yaml"),
];

/// Puts comments and blank lines into a text: (which line, its indentation, what).
fn littered(text: &str, litter: &[(prop::sample::Index, usize, u8)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (n, (at, indent, what)) in litter.iter().enumerate() {
        let at = at.index(lines.len());
        match what {
            0 => lines.insert(at, String::new()),
            1 => lines[at] += &format!("{:indent$} # beside {n}", ""),
            _ => lines.insert(at, format!("{:indent$}# alone {n}", "")),
        }
    }
    lines.join("\n") + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn comments_may_be_anywhere(
        file in prop::sample::select(FILES),
        litter in prop::collection::vec((any::<prop::sample::Index>(), 0usize..9, 0u8..4), 1..12),
        ends in prop::sample::select(&["\n", "\r\n"][..]),
    ) {
        let text = littered(file, &litter).replace('\n', ends);
        let found = formatted("shop.yaml", &text);
        // In a text of several lines a comment may break it, but it is never lost.
        if let Err(found) = found {
            prop_assert!(found.iter().all(|found| found.code != "TM0014"), "{}", text);
        }
    }
}
