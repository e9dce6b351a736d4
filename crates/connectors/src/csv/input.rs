//! The files of a CSV source, one after the other, under one header.

use std::fmt;

use encoding_rs::Encoding;
use tidemill_connector::{ConnectorError, SourceContext};

use super::scan::{Dialect, ScanError, Scanner};
use super::split::first_end;
use super::{CsvSourceConfig, one_character, quote};
use crate::columns::rename::rename_all;
use crate::columns::select::Known;
use crate::files::find::{InputFile, find};
use crate::files::open::{Stream, encoding, open_text, unreadable};
use crate::files::window::ROW_BYTES_MAX;

/// Either the files have headers or the settings have names, which are good ones then.
pub(super) fn check_names(config: &CsvSourceConfig) -> Result<(), ConnectorError> {
    match (&config.names, config.header) {
        (Some(names), false) => given_on(names, config, &HeaderPlace::Names).map(|_| ()),
        (None, true) => Ok(()),
        (None, false) => Err(ConnectorError::misconfigured("`header: false` needs `names`")
            .help("name the columns in the order of the file: `names: [id, price]`")),
        (Some(_), true) => Err(ConnectorError::misconfigured("`names` needs `header: false`")
            .help("to rename columns that have a header, use `rename: {old: new}`")),
    }
}

/// Where the names of the columns are written.
#[derive(Debug)]
pub(super) enum HeaderPlace {
    /// In the first row of this file.
    File(String),
    /// In the settings.
    Names,
}

impl fmt::Display for HeaderPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "{name}:1"),
            Self::Names => f.write_str("`names`"),
        }
    }
}

/// The names that columns are given on by. Those that `columns` and `select` name must be there.
fn given_on(
    header: &[String],
    config: &CsvSourceConfig,
    place: &HeaderPlace,
) -> Result<Vec<String>, ConnectorError> {
    let names = rename_all(header, config.rename.as_ref(), &place.to_string())?;
    let owner = match place {
        HeaderPlace::File(name) => format!("the header of `{name}` does"),
        HeaderPlace::Names => "`names` does".to_owned(),
    };
    let renamed = config.rename.is_some();
    let known = Known { names: &names, renamed, owner: &owner, place };
    for column in config.columns.0.keys() {
        known.position("columns", column)?;
    }
    known.select(config.select.as_deref())?;
    Ok(names)
}

/// Which files, and how their text is to be taken. Can be read any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) files: Vec<InputFile>,
    pub(crate) dialect: Dialect,
    encoding: &'static Encoding,
    /// Whether the first record of each file is a header.
    has_header: bool,
    /// The columns as the first file names them, or as the config does.
    header: Vec<String>,
}

impl Input {
    /// Finds the files and reads the header of the first.
    pub(crate) fn find(
        config: &CsvSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let delimiter = one_character("delimiter", &config.delimiter)?;
        let quote = quote(&config.quote)?;
        check_names(config)?;
        let mut input = Self {
            files: find(&config.path, &cx.folder)?,
            dialect: Dialect { delimiter, quote, trim: config.trim },
            encoding: encoding(Some(&config.encoding))?,
            has_header: config.header,
            header: Vec::new(),
        };
        input.header = match &config.names {
            Some(names) => names.clone(),
            None => input.first_header()?,
        };
        Ok(input)
    }

    /// The columns as given on.
    pub(crate) fn names(&self, config: &CsvSourceConfig) -> Result<Vec<String>, ConnectorError> {
        let place = if self.has_header {
            HeaderPlace::File(self.files[0].name.clone())
        } else {
            HeaderPlace::Names
        };
        given_on(&self.header, config, &place)
    }

    fn first_header(&self) -> Result<Vec<String>, ConnectorError> {
        let name = &self.files[0].name;
        let mut scanner = Scanner::new(open_text(&self.files[0], self.encoding)?, self.dialect);
        read_header(&mut scanner, name)
    }

    /// Opens a file.
    pub(crate) fn open(&self, file: usize) -> Result<Stream, ConnectorError> {
        open_text(&self.files[file], self.encoding)
    }

    /// The end of the header at the front of a file, and the lines it takes. It must be the header
    /// of the first file.
    pub(crate) fn skip_header(
        &self,
        file: usize,
        bytes: &[u8],
    ) -> Result<(usize, u64), ConnectorError> {
        if !self.has_header {
            return Ok((0, 0));
        }
        let end = first_end(bytes, self.dialect);
        let file = &self.files[file];
        let mut scanner = Scanner::new(&bytes[..end], self.dialect);
        let header = read_header(&mut scanner, &file.name)?;
        same_header(&self.header, &header, &self.files[0], file)?;
        scanner.advance().map_err(|e| scan_error(&file.name, e))?;
        Ok((end, scanner.record().line - 1))
    }
}

pub(crate) fn read_header<R: std::io::Read>(
    scanner: &mut Scanner<R>,
    name: &str,
) -> Result<Vec<String>, ConnectorError> {
    if !scanner.advance().map_err(|e| scan_error(name, e))? {
        return Err(ConnectorError::data(format!("`{name}` is empty: it has no header"))
            .help("remove the file, or set `header: false` and `names`"));
    }
    let record = scanner.record();
    let place = format!("{name}:{}", record.line);
    if record.fault.is_some() {
        return Err(ConnectorError::data(
            "a quote in the header is never closed, or text follows it",
        )
        .at(place)
        .help("set `quote: \"\"` if quotes mean nothing in this file"));
    }
    (0..record.len())
        .map(|index| {
            let (text, _) = record.cell(index).ok_or_else(|| {
                ConnectorError::data(format!("`{name}` is no UTF-8 text"))
                    .at(&place)
                    .help("set `encoding`, for example `encoding: windows-1252`")
            })?;
            Ok(text.to_owned())
        })
        .collect()
}

/// Refuses a file whose columns are not those of the first.
fn same_header(
    first: &[String],
    header: &[String],
    first_file: &InputFile,
    file: &InputFile,
) -> Result<(), ConnectorError> {
    if first == header {
        return Ok(());
    }
    let quoted = |names: Vec<&String>| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<_> = first.iter().filter(|name| !header.contains(name)).collect();
    let more: Vec<_> = header.iter().filter(|name| !first.contains(name)).collect();
    let difference = match (missing.is_empty(), more.is_empty()) {
        (false, true) => format!("it lacks {}", quoted(missing)),
        (true, false) => format!("it also has {}", quoted(more)),
        (false, false) => format!("it has {} instead of {}", quoted(more), quoted(missing)),
        (true, true) => {
            let index = first.iter().zip(header).take_while(|(a, b)| a == b).count();
            let name = |names: &[String]| names.get(index).cloned().unwrap_or_default();
            format!(
                "its columns are in another order: column {} is `{}` instead of `{}`",
                index + 1,
                name(header),
                name(first)
            )
        }
    };
    Err(ConnectorError::data(format!(
        "`{}` has another header than `{}`: {difference}",
        file.name, first_file.name
    ))
    .at(format!("{}:1", file.name))
    .help("read files of different shapes with one task each"))
}

/// The error for a stream that gives no more records.
pub(crate) fn scan_error(name: &str, error: ScanError) -> ConnectorError {
    match error {
        ScanError::Io(error) => unreadable(name, &error),
        ScanError::TooLong { line } => {
            ConnectorError::data(format!("a row is longer than {} MiB", ROW_BYTES_MAX >> 20))
                .at(format!("{name}:{line}"))
                .help("look for a quote that is never closed, or set `quote: \"\"`")
        }
    }
}
