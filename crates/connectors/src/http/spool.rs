//! Pages kept while the types of columns are being found.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};

use tidemill_connector::ConnectorError;

use crate::files::publish::unique;

/// Up to here pages are kept in memory.
const MEMORY_BYTES_MAX: usize = 8 << 20;

/// Texts in the order they were added: in memory while they are few, then in a file that has no
/// name, so that it is gone with the process whatever ends it.
#[derive(Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    /// Adds a text.
    pub(super) fn push(&mut self, text: &str) -> Result<(), ConnectorError> {
        self.memory.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.memory.extend_from_slice(text.as_bytes());
        if self.memory.len() > MEMORY_BYTES_MAX {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), ConnectorError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless_file()?),
        };
        file.write_all(&self.memory).map_err(|e| failed(&e))?;
        self.memory.clear();
        Ok(())
    }

    /// Goes back to the first text, to read them all.
    pub(super) fn rewind(mut self) -> Result<SpoolReader, ConnectorError> {
        if self.file.is_some() {
            self.spill()?;
        }
        if let Some(file) = &mut self.file {
            file.rewind().map_err(|e| failed(&e))?;
        }
        let input: Box<dyn Read + Send> = match self.file {
            Some(file) => Box::new(file),
            None => Box::new(std::io::Cursor::new(self.memory)),
        };
        Ok(SpoolReader { input })
    }
}

/// The texts of a [`Spool`], one after the other.
pub(super) struct SpoolReader {
    input: Box<dyn Read + Send>,
}

impl SpoolReader {
    /// The next text; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<String>, ConnectorError> {
        let mut length = [0; 8];
        if self.input.read(&mut length[..1]).map_err(|e| failed(&e))? == 0 {
            return Ok(None);
        }
        self.input.read_exact(&mut length[1..]).map_err(|e| failed(&e))?;
        let mut text = String::new();
        (&mut self.input)
            .take(u64::from_le_bytes(length))
            .read_to_string(&mut text)
            .map_err(|e| failed(&e))?;
        Ok(Some(text))
    }
}

fn nameless_file() -> Result<File, ConnectorError> {
    let path = env::temp_dir().join(format!(".tidemill-{}", unique()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|e| ConnectorError::io("create", &path, &e))?;
    fs::remove_file(&path).map_err(|e| ConnectorError::io("remove", &path, &e))?;
    Ok(file)
}

fn failed(error: &std::io::Error) -> ConnectorError {
    ConnectorError::internal(format!("cannot keep the pages in a temporary file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_memory_and_from_the_file() {
        for size in [1, MEMORY_BYTES_MAX / 2] {
            let texts: Vec<String> =
                ["a", "", "ä", "z"].iter().map(|text| text.repeat(size)).collect();
            let mut spool = Spool::default();
            for text in &texts {
                spool.push(text).unwrap();
            }
            assert_eq!(spool.file.is_some(), size > 1);
            let mut reader = spool.rewind().unwrap();
            for text in &texts {
                assert!(reader.next().unwrap().as_ref() == Some(text));
            }
            assert_eq!(reader.next().unwrap(), None);
            assert_eq!(reader.next().unwrap(), None);
        }
    }
}
