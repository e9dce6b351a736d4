//! Which crate may use which: a crate uses rows below its own, never its own or one above.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The rows of the house, from the bottom. `docs/architecture.md` shows the same table.
const ROWS: [(&str, u8); 12] = [
    ("tidemill-model", 0),
    ("tidemill-spec", 1),
    ("tidemill-connector", 1),
    ("tidemill-store", 2),
    ("tidemill-sql", 2),
    ("tidemill-history", 3),
    ("tidemill-scheduler", 3),
    ("tidemill-executor", 3),
    ("tidemill-connectors", 3),
    ("tidemill-profile", 3),
    ("tidemill-server", 4),
    ("tidemill", 5),
];

/// Crates that serve the making of the others.
const DEVELOPMENT: [&str; 3] = ["tidemill-simulation", "tidemill-unify", "xtask"];

/// What the pure crates must do without.
const IMPURE: [&str; 6] = ["tokio", "sled", "reqwest", "rustix", "hyper", "axum"];

/// The crates that are pure.
const PURE: [&str; 2] = ["tidemill-model", "tidemill-spec"];

/// Names of crates with the names of what they depend on, apart from their tests.
pub(crate) type Crates = BTreeMap<String, Vec<String>>;

/// Reads the workspace's crates and their direct dependencies.
pub(crate) fn read(root: &Path) -> Result<Crates, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run `cargo metadata`: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "cannot read `cargo metadata`: {error}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let texts = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    Ok(packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
            let used = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| texts(dependency, "name"))
                .collect();
            (texts(package, "name"), used)
        })
        .collect())
}

/// What is wrong with the directions, in words.
pub(crate) fn check(crates: &Crates) -> Vec<String> {
    let row = |name: &str| ROWS.iter().find(|(known, _)| *known == name).map(|(_, row)| *row);
    let mut complaints = Vec::new();
    for (name, used) in crates {
        if DEVELOPMENT.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = row(name) else {
            complaints
                .push(format!("`{name}` has no row: give it one in crates/xtask/src/rows.rs"));
            continue;
        };
        for other in used {
            match row(other) {
                Some(theirs) if theirs >= own => complaints.push(format!(
                    "`{name}` (row {own}) uses `{other}` (row {theirs}): dependencies point down"
                )),
                None if DEVELOPMENT.contains(&other.as_str()) => {
                    complaints.push(format!("`{name}` uses `{other}`, which is for development"));
                }
                _ => {}
            }
        }
        if PURE.contains(&name.as_str()) {
            let impure = used.iter().filter(|other| IMPURE.contains(&other.as_str()));
            complaints.extend(impure.map(|other| format!("`{name}` is pure and uses `{other}`")));
        }
    }
    for (name, _) in ROWS.iter().filter(|(name, _)| !crates.contains_key(*name)) {
        complaints.push(format!("`{name}` has a row but no crate"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_point_down() {
        let crates = read(&crate::root());
        assert_eq!(crates.map(|crates| check(&crates)), Ok(Vec::new()));
    }

    #[test]
    fn an_arrow_upwards_is_found() {
        let mut crates: Crates = ROWS.iter().map(|(n, _)| ((*n).to_owned(), Vec::new())).collect();
        crates.insert("tidemill-model".to_owned(), vec!["tokio".to_owned()]);
        crates.insert("tidemill-store".to_owned(), vec!["tidemill-sql".to_owned()]);
        crates.insert("tidemill-new".to_owned(), Vec::new());
        assert_eq!(
            check(&crates),
            [
                "`tidemill-model` is pure and uses `tokio`",
                "`tidemill-new` has no row: give it one in crates/xtask/src/rows.rs",
                "`tidemill-store` (row 2) uses `tidemill-sql` (row 2): dependencies point down",
            ]
        );
    }
}
