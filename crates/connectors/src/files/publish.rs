//! New files that readers see whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tidemill_connector::ConnectorError;

/// Refuses a path that cannot be that of a file or folder to write, whatever there is.
pub(crate) fn check_target(path: &str) -> Result<(), ConnectorError> {
    if path.is_empty() {
        return Err(ConnectorError::misconfigured("`path` is empty")
            .help("write where it should go, relative to the folder of the DAG file"));
    }
    if path.contains('\0') {
        return Err(ConnectorError::misconfigured("`path` holds a zero byte, as no name may"));
    }
    Ok(())
}

/// Refuses a path that cannot be that of a file to write.
pub(crate) fn check_file(path: &str) -> Result<(), ConnectorError> {
    check_target(path)?;
    if path.ends_with('/') || Path::new(path).file_name().is_none() {
        return Err(ConnectorError::misconfigured(format!("`path` is `{path}`, a folder"))
            .help("add the name of the file"));
    }
    Ok(())
}

/// A file under construction, hidden beside its place. Dropped unpublished, it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    temp: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Staged {
    /// Creates the hidden file, and the folder if it is missing.
    ///
    /// `key` is the same for every repetition of the same load. What an earlier attempt left
    /// behind under it is removed first: a killed process cleans nothing up, and an attempt
    /// that was given up but still writes must not publish any more.
    pub(crate) fn create(target: &Path, key: &str) -> Result<(Self, File), ConnectorError> {
        let name = target.file_name().filter(|_| !target.is_dir()).ok_or_else(|| {
            ConnectorError::misconfigured(format!("`{}` is a folder, not a file", target.display()))
                .help("add the name of the file to `path`")
        })?;
        let folder = folder_of(target);
        fs::create_dir_all(folder).map_err(|e| ConnectorError::io("create", folder, &e))?;
        let prefix = format!(".{}.{}.", name.to_string_lossy(), short_hash(key));
        remove_leftovers(folder, &prefix)?;
        let temp = folder.join(format!("{prefix}{}.tmp", unique()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temp)
            .map_err(|e| ConnectorError::io("create", &temp, &e))?;
        Ok((Self { temp, target: target.to_owned(), published: false }, file))
    }

    /// Makes the content durable and puts the file in its place; returns its size.
    ///
    /// The order is what makes it safe: content, name, folder. After a crash the place holds the
    /// old file or the new one.
    pub(crate) fn publish(mut self, file: &File) -> Result<u64, ConnectorError> {
        let failed = |e| ConnectorError::io("write", &self.target, &e);
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        fs::rename(&self.temp, &self.target).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ConnectorError::internal(format!(
                "another attempt of the same load took over `{}`",
                self.target.display()
            )),
            _ => ConnectorError::io("write", &self.target, &e),
        })?;
        self.published = true;
        sync_folder(folder_of(&self.target))?;
        Ok(bytes)
    }

    /// The place, for messages.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Nobody is left to tell; what stays is removed by the next attempt.
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ConnectorError> {
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(|e| ConnectorError::io("write", folder, &e))
}

/// Removes the files and folders in `folder` whose names start with `prefix`.
pub(crate) fn remove_leftovers(folder: &Path, prefix: &str) -> Result<(), ConnectorError> {
    let failed = |e| ConnectorError::io("look into", folder, &e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConnectorError::io("remove", &path, &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sixteen hexadecimal digits that stand for `key`.
pub(crate) fn short_hash(key: &str) -> String {
    hex::encode(&Sha256::digest(key.as_bytes())[..8])
}

/// A word that no other process and no other call makes.
pub(crate) fn unique() -> String {
    // The standard library seeds its hash maps from the system's randomness.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn readers_see_the_old_file_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/a.csv");
        let (staged, mut file) = Staged::create(&target, "k").unwrap();
        file.write_all(b"one").unwrap();
        assert!(!target.exists());
        assert_eq!(staged.publish(&file).unwrap(), 3);
        let (staged, mut file) = Staged::create(&target, "k").unwrap();
        file.write_all(b"other").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        staged.publish(&file).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(names(target.parent().unwrap()), ["a.csv"]);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Staged::create(&folder.path().join("a.csv"), "k").unwrap());
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn a_later_attempt_takes_over_from_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.csv");
        let (first, first_file) = Staged::create(&target, "k").unwrap();
        let (other_load, other_file) = Staged::create(&target, "other").unwrap();
        let (second, second_file) = Staged::create(&target, "k").unwrap();
        let error = first.publish(&first_file).unwrap_err().to_string();
        assert!(error.starts_with("another attempt of the same load took over"), "{error}");
        second.publish(&second_file).unwrap();
        other_load.publish(&other_file).unwrap();
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn a_folder_is_no_place_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Staged::create(folder.path(), "k").unwrap_err();
        assert_eq!(error.help.as_deref(), Some("add the name of the file to `path`"));
    }
}
