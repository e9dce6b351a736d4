//! Habits that a compiler does not check. Each complaint names the place and the remedy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What may stand at the top of the repository, dotfiles apart.
const TOP: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "dags",
    "web",
    "tests",
    "Justfile",
    "README.md",
    "docs",
    "LICENSE",
];

/// Texts that must not stand in Rust code, and what to do instead. They are put together here so
/// that this file does not hold them.
fn banned() -> Vec<(String, &'static str)> {
    vec![
        (format!("TO{}", "DO"), "do it, or write an issue"),
        (format!("FIX{}", "ME"), "mend it, or write an issue"),
        (format!("todo{}(", "!"), "write it"),
        (format!("#[ig{}", "nore"), "a test runs or goes"),
        (format!("std::thread::sl{}(", "eep"), "wait for a signal or a condition"),
    ]
}

/// Where one of the banned texts may stand all the same, with the reason.
const EXCEPTIONS: [(&str, &str); 4] = [
    // A full disk is polled: no signal tells of free space.
    ("crates/scheduler/src/writer.rs", "sleep"),
    // The end of a foreign process tree is polled: the system sends no signal for it.
    ("crates/executor/", "sleep"),
    // The store's helper threads poll a deadline while sled opens.
    ("crates/store/", "sleep"),
    // `backoff` hands its waits to the in-process retry.
    ("crates/tidemill/src/commands/", "sleep"),
];

/// Everything that is wrong, in words.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let mut complaints = top_level(root);
    complaints.extend(dependencies(root));
    for path in rust_files(&root.join("crates")) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            complaints.push(format!("{}: cannot be read as text", path.display()));
            continue;
        };
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        complaints.extend(file(&name, &text));
    }
    complaints
}

fn top_level(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return vec![format!("{}: cannot be read", root.display())];
    };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
        .iter()
        .filter(|name| !name.starts_with('.') && *name != "target" && !TOP.contains(&name.as_str()))
        .map(|name| format!("{name}: the top level holds only {}", TOP.join(", ")))
        .collect()
}

/// `docs/dependencies.md` names the crates of `Cargo.toml`, all of them and no others.
fn dependencies(root: &Path) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
    let (manifest, page) = (read("Cargo.toml"), read("docs/dependencies.md"));
    let used: BTreeSet<&str> = (manifest.lines())
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| !name.starts_with("tidemill"))
        .collect();
    let named: BTreeSet<&str> = (page.lines())
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next())
        .flat_map(|cell| cell.split(['`', ',', ' ']))
        .filter(|name| !name.is_empty())
        .collect();
    let missing = used.difference(&named).map(|name| format!("say why `{name}` is here"));
    let more = named.difference(&used).map(|name| format!("`{name}` is not here any more"));
    missing.chain(more).map(|complaint| format!("docs/dependencies.md: {complaint}")).collect()
}

fn file(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for (bad, instead) in banned() {
            let excused = EXCEPTIONS
                .iter()
                .any(|(place, what)| name.starts_with(place) && bad.contains(what));
            if line.contains(&bad) && !excused {
                complaints.push(format!("{name}:{}: `{bad}`: {instead}", i + 1));
            }
        }
    }
    let is_root = name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
    if is_root && !text.starts_with("//!") && !name.contains("/unify/") {
        complaints.push(format!("{name}: begin with the crate's documentation: purpose, map"));
    }
    complaints
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        assert_eq!(check(&crate::root()), Vec::<String>::new());
    }

    #[test]
    fn a_banned_text_is_found() {
        let text = format!("fn a() {{}}\n// {}: later\n", banned()[0].0);
        assert_eq!(file("crates/a/src/b.rs", &text).len(), 1);
        assert_eq!(file("crates/a/src/lib.rs", "fn a() {}").len(), 1);
    }
}
