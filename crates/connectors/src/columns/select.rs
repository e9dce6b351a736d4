//! The setting `select`: which columns of an input are kept, and in which order.

use std::fmt::Display;

use tidemill_connector::ConnectorError;
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;

/// The columns that an input has, for the messages about settings that name others.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Their names, after `rename`.
    pub(crate) names: &'a [String],
    /// Whether there is a `rename`.
    pub(crate) renamed: bool,
    /// What has them, with its verb: ``the header of `a.csv` does``.
    pub(crate) owner: &'a str,
    /// Where they are written.
    pub(crate) place: &'a dyn Display,
}

/// Refuses what no input can satisfy.
pub(crate) fn check_select(select: Option<&[String]>) -> Result<(), ConnectorError> {
    let Some(select) = select else { return Ok(()) };
    if select.is_empty() {
        return Err(ConnectorError::misconfigured("`select` names no column")
            .help("leave it out to keep all of them"));
    }
    match select.iter().enumerate().find(|(at, name)| select[..*at].contains(name)) {
        None => Ok(()),
        Some((_, name)) => {
            Err(ConnectorError::misconfigured(format!("`select` names the column `{name}` twice"))
                .help("name each column once"))
        }
    }
}

impl Known<'_> {
    /// The positions of the columns to keep, in the order of `select`: all of them without it.
    pub(crate) fn select(&self, select: Option<&[String]>) -> Result<Vec<usize>, ConnectorError> {
        match select {
            None => Ok((0..self.names.len()).collect()),
            Some(select) => select.iter().map(|name| self.position("select", name)).collect(),
        }
    }

    /// The position of a column that a setting names.
    pub(crate) fn position(&self, setting: &str, name: &str) -> Result<usize, ConnectorError> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| self.unknown(setting, name))
    }

    fn unknown(&self, setting: &str, name: &str) -> ConnectorError {
        let Self { names, renamed, owner, place } = self;
        let names = names.iter().map(String::as_str);
        let meant = did_you_mean(name, names.clone()).map(|help| format!("{help} "));
        let after = if *renamed { "after `rename` it has" } else { "it has" };
        ConnectorError::misconfigured(format!(
            "`{setting}` names the column `{name}`, which {owner} not have"
        ))
        .at(place)
        .blame(&[setting])
        .missing(name)
        .help(format!("{}{after}: {}", meant.unwrap_or_default(), listed(names)))
    }
}
