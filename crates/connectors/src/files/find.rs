//! The files that a path or a pattern means.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use glob::{MatchOptions, Pattern};
use tidemill_connector::ConnectorError;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What messages and `file_column` call it: relative to the folder of the DAG file if it
    /// lies below it.
    pub(crate) name: String,
}

/// A pattern may mean at most this many files.
const FILES_MAX: usize = 1_000_000;

/// Refuses a pattern that is none, whatever files there are.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), ConnectorError> {
    if pattern.is_empty() {
        return Err(ConnectorError::misconfigured("`path` is empty")
            .help("name a file, or a pattern for several: `inbox/*.csv`"));
    }
    let Err(error) = Pattern::new(pattern) else { return Ok(()) };
    Err(if pattern.contains("**") && error.msg.contains("recursive") {
        ConnectorError::misconfigured(format!(
            "`path` is no pattern: `{pattern}` joins `**` to a name"
        ))
        .help("`**` stands alone between slashes: `in/**/*.csv`; within a name write `*`")
    } else {
        ConnectorError::misconfigured(format!(
            "`path` is no pattern: `{pattern}` goes wrong at letter {}",
            error.pos + 1
        ))
        .help("a `[` begins a set of letters that `]` ends; for the letter `[` itself write `[[]`")
    })
}

/// The files that `pattern` means, in name order; at least one.
///
/// `*` and `?` stay within a folder, `**` goes through folders; none of them matches a name that
/// starts with a dot, since such files are hidden or unfinished.
pub(crate) fn find(pattern: &str, folder: &Path) -> Result<Vec<InputFile>, ConnectorError> {
    check_pattern(pattern)?;
    let literal = folder.join(pattern);
    if literal.is_file() {
        return Ok(vec![named(literal, folder)]);
    }
    if literal.is_dir() {
        return Err(ConnectorError::misconfigured(format!("`{pattern}` is a folder"))
            .at(folder.display())
            .help(format!("name its files, for example `{}/*`", pattern.trim_end_matches('/'))));
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(no_file(pattern, folder));
    }
    let mut files = Vec::new();
    for path in matches(pattern, folder)? {
        if path.is_file() {
            files.push(named(path, folder));
        }
        if files.len() > FILES_MAX {
            return Err(ConnectorError::misconfigured(format!(
                "`{pattern}` matches more than {FILES_MAX} files"
            ))
            .at(folder.display()));
        }
    }
    if files.is_empty() {
        return Err(no_file(pattern, folder));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Names, sizes and times of the files that `pattern` means: another text when one of them changes.
pub(crate) fn state(pattern: &str, folder: &Path) -> Result<String, ConnectorError> {
    let mut state = String::new();
    for InputFile { path, name } in find(pattern, folder)? {
        let meta = path.metadata().map_err(|error| ConnectorError::io("look at", &path, &error))?;
        let at = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let at = at.unwrap_or_default().as_nanos();
        let _ = writeln!(state, "{name} {} {at}", meta.len());
    }
    Ok(state)
}

fn matches(pattern: &str, folder: &Path) -> Result<Vec<PathBuf>, ConnectorError> {
    // The folder is a name, not a pattern: its brackets mean brackets.
    let full = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", Pattern::escape(&folder.to_string_lossy()))
    };
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob::glob_with(&full, options).map_err(|error| {
        ConnectorError::misconfigured(format!("the pattern `{pattern}` is wrong: {}", error.msg))
    })?;
    paths
        .map(|path| path.map_err(|e| ConnectorError::io("look into", e.path(), e.error())))
        .collect()
}

fn no_file(pattern: &str, folder: &Path) -> ConnectorError {
    ConnectorError::misconfigured(format!("no file matches `{pattern}`"))
        .at(format!("in the folder {}", folder.display()))
        .blame(&["path"])
        .help("paths are relative to the folder of the DAG file")
}

fn named(path: PathBuf, folder: &Path) -> InputFile {
    let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
    InputFile { path, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_name_order_and_hidden_ones_do_not() {
        let folder = tempfile::Builder::new().prefix("a[b]").tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".c.csv", "d.txt", "in/e.csv", "in/[1].csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let check = |pattern: &str, expected: &[&str]| {
            let found = find(pattern, folder.path()).unwrap();
            let names: Vec<_> = found.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, expected, "{pattern}");
        };
        check("a.csv", &["a.csv"]);
        check("*.csv", &["a.csv", "b.csv"]);
        check("**/*.csv", &["a.csv", "b.csv", "in/[1].csv", "in/e.csv"]);
        check("in/[1].csv", &["in/[1].csv"]);
        check("*", &["a.csv", "b.csv", "d.txt"]);
        let absolute = folder.path().join("d.txt");
        check(absolute.to_str().unwrap(), &["d.txt"]);
    }

    #[test]
    fn a_miss_names_the_pattern_and_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let check = |pattern: &str, expected: &str| {
            let message = find(pattern, folder.path()).unwrap_err().to_string();
            assert_eq!(message.replace(&folder.path().display().to_string(), "FOLDER"), expected);
        };
        check(
            "orders.csv",
            "no file matches `orders.csv` (in the folder FOLDER); paths are relative to the folder of the DAG file",
        );
        check(
            "in/*.csv",
            "no file matches `in/*.csv` (in the folder FOLDER); paths are relative to the folder of the DAG file",
        );
        check("in", "`in` is a folder (FOLDER); name its files, for example `in/*`");
        check(
            "a[",
            "`path` is no pattern: `a[` goes wrong at letter 2; a `[` begins a set of letters that \
             `]` ends; for the letter `[` itself write `[[]`",
        );
    }
}
