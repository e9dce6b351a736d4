//! `tidemill fmt`: files in their canonical form.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use tidemill_model::words::counted;
use tidemill_spec::{FileKind, SourceText, decode, format};

use crate::cli::Fmt;
use crate::failure::{Failure, invalid, print_diagnostics};
use crate::folder::{find_yaml, read_source};

/// What stands for the standard input.
const STDIN: &str = "-";

pub(crate) fn run(command: &Fmt) -> Result<(), Failure> {
    if command.paths.iter().any(|path| path == Path::new(STDIN)) {
        return stdin(command);
    }
    let (mut changed, mut refused) = (0, 0);
    let files = files(&command.paths)?;
    for path in &files {
        match one(path, command.check) {
            Ok(true) => changed += 1,
            Ok(false) => {}
            Err(failure) => {
                refused += 1;
                // Of one that is invalid, all is said.
                if !matches!(failure, Failure::Invalid) {
                    eprintln!("{}\n", failure.line().unwrap_or_default());
                }
            }
        }
    }
    let verb = if command.check { "would change" } else { "changed" };
    let refusals = if refused > 0 { format!(", {refused} refused") } else { String::new() };
    println!("{}, {changed} {verb}{refusals}", counted(files.len(), "file"));
    match (refused, command.check && changed > 0) {
        (0, false) => Ok(()),
        (0, true) => Err(Failure::conflict("run `tidemill fmt` to lay them out".to_owned())),
        _ => Err(Failure::Invalid),
    }
}

/// Lays a file out, or only looks whether that would change it; whether it did, or would.
fn one(path: &Path, only_look: bool) -> Result<bool, Failure> {
    let text = read_source(path).map_err(invalid)?;
    let formatted = laid_out(path, &text)?;
    if formatted == text {
        return Ok(false);
    }
    if !only_look {
        replace(path, &formatted).map_err(|error| {
            Failure::files(format!("cannot write `{}`: {error}", path.display()))
        })?;
    }
    println!("{}", path.display());
    Ok(true)
}

fn laid_out(path: &Path, text: &str) -> Result<String, Failure> {
    format(SourceText { path, text }, FileKind::of(path)).map_err(|found| {
        print_diagnostics(&found);
        Failure::Invalid
    })
}

fn stdin(command: &Fmt) -> Result<(), Failure> {
    if command.paths.len() > 1 || command.check {
        return Err(Failure::argument("`-` stands alone: it prints the text laid out".to_owned()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(Failure::files)?;
    // Without a name it is taken for a DAG.
    let path = Path::new("<stdin>.yaml");
    let text = decode(path, &bytes).map_err(invalid)?;
    let formatted = laid_out(path, text)?;
    std::io::stdout().write_all(formatted.as_bytes()).map_err(Failure::files)
}

/// Puts a new text in the place of a file at once, so that nobody reads half of it. The new file
/// has the mode and the owner of the old one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // Behind a link, the file that it leads to is replaced.
    let path = std::fs::canonicalize(path)?;
    let old = std::fs::metadata(&path)?;
    // Who may not write the file may not replace it either; and one that is read-only is meant so.
    if old.permissions().readonly() {
        return Err(std::io::Error::new(ErrorKind::PermissionDenied, "the file is read-only"));
    }
    File::options().write(true).open(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            chown(&beside, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(old.permissions())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            let found = find_yaml(path).map_err(|error| {
                Failure::files(format!("cannot read `{}`: {error}", path.display()))
            })?;
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}
