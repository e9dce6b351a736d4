//! From a checked piece of a DAG file to a config struct.
//!
//! A config struct derives `Deserialize` and `JsonSchema` with `deny_unknown_fields`; its doc
//! comments become the reference page and the editor's hover. The schema is what the DAG language
//! checks a file against, so it carries these `format`s on strings, which say what a text means:
//!
//! | format | the text is | what the language does with it |
//! |---|---|---|
//! | `table` | the name of a table of this DAG | adds the dependency; an unknown name is a load error |
//! | `sql` | a query | parses it; tables it reads become dependencies; `$names` must be bound |
//! | `sql-expr` | a SQL expression over the columns of the input | parses it; `$names` must be bound |
//! | `template` | Jinja text | parses it |
//! | `path` | a path relative to the folder of the DAG file | nothing more |
//! | `duration` | `100ms 10s 5m 2h 1d` | parses it |
//! | `connection` | the name of a connection | an unknown name is a load error |
//!
//! and these extensions at the top of a transform's schema:
//!
//! * `x-outputs`: the names of the tables beside the main one, for example
//!   `["rejects", "duplicates"]`, or the text `"keys"` when an object's keys name them and there
//!   is no main table.

//!
//! What a schema cannot say, the implementation checks in `check_source`, `check_sink` or `check`,
//! by the values alone: an encoding that does not exist, two settings that contradict each other.
//! [`findings`] makes these [`SettingProblem`]s of the settings as they are written; the language
//! gives them their places when the file is loaded. The same checks are made when the task runs,
//! for values that an expression gives.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use tidemill_model::SettingProblem;
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;

use crate::error::ConnectorError;

/// Reads a config struct from its JSON form.
///
/// The DAG language has checked the text against the schema when the file was loaded; what is
/// left are values that an expression gave at run time.
pub fn parse<T: DeserializeOwned>(
    kind: &str,
    name: &str,
    config: Value,
) -> Result<T, ConnectorError> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let (message, help) = reason(error.inner());
        let is_key = message.starts_with(NO_KEY);
        let error = ConnectorError::misconfigured(match error.path().iter().next() {
            Some(_) if is_key => format!("{kind} `{name}` has no setting `{}`", error.path()),
            None => format!("the settings of {kind} `{name}` are wrong: {message}"),
            Some(_) => {
                format!("setting `{}` of {kind} `{name}` is wrong: {message}", error.path())
            }
        });
        ConnectorError { help, ..error }
    })
}

/// How the message about a key that does not exist starts.
const NO_KEY: &str = "there is no key ";

/// What is wrong, and what to do about it, if the type knows.
fn reason(error: &serde_json::Error) -> (String, Option<String>) {
    let text = error.to_string();
    // What serde says of keys and of words that are not known, in the words of the house.
    for (start, message, takes) in
        [("unknown field ", NO_KEY, "it takes"), ("unknown variant ", "it cannot be ", "it is")]
    {
        let names = text.strip_prefix(start).map(|rest| rest.split('`').skip(1).step_by(2));
        if let Some(mut names) = names
            && let Some(written) = names.next()
        {
            let known: Vec<&str> = names.collect();
            let near = did_you_mean(written, known.iter().copied());
            let help = near.unwrap_or_else(|| format!("{takes} {}", listed(known)));
            return (format!("{message}`{written}`"), Some(help));
        }
    }
    match text.split_once("; ") {
        Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
        None => (text, None),
    }
}

/// A setting: the keys that lead to it from the top.
pub type Setting<'a> = &'a [&'a str];

/// What a check of settings has found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<SettingProblem>);

impl Findings {
    /// Notes the error of a result, for which these settings are to blame, the first one most; or
    /// gives the value.
    pub fn note<T>(
        &mut self,
        settings: &[Setting<'_>],
        result: Result<T, ConnectorError>,
    ) -> Option<T> {
        let owned = |setting: &Setting<'_>| setting.iter().map(ToString::to_string).collect();
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.push(SettingProblem {
                    settings: settings.iter().map(owned).collect(),
                    message: error.message,
                    help: error.help,
                });
                None
            }
        }
    }

    /// The first one as the error of a task, if there is one.
    pub(crate) fn refuse(self) -> Result<(), ConnectorError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some(SettingProblem { message, help, .. }) => {
                Err(ConnectorError { help, ..ConnectorError::misconfigured(message) })
            }
        }
    }
}

/// So many settings are left out before the search for problems is given up.
const LEFT_OUT_MAX: usize = 100;

/// Everything that is wrong with settings as they are written, as far as they alone can tell.
///
/// A setting that cannot be read is left out, and the others are looked at without it. That may be
/// one that only an expression will give, which is why the caller drops what is said about such.
pub fn findings<T: DeserializeOwned>(
    settings: &Value,
    check: impl FnOnce(&T, &mut Findings),
) -> Vec<SettingProblem> {
    let mut settings = settings.clone();
    let mut found = Findings::default();
    for _ in 0..LEFT_OUT_MAX {
        // By value, since some types must be able to take their texts.
        let error = match serde_path_to_error::deserialize(settings.clone()) {
            Ok(config) => {
                check(&config, &mut found);
                break;
            }
            Err(error) => error,
        };
        let error: serde_path_to_error::Error<serde_json::Error> = error;
        let Some(setting) = keys_of(error.path()).filter(|keys| leave_out(&mut settings, keys))
        else {
            // The settings as a whole lack something, which their schema says as well.
            break;
        };
        let (message, help) = reason(error.inner());
        let message = match error.path() {
            path if message.starts_with(NO_KEY) => format!("there is no setting `{path}`"),
            path => format!("`{path}`: {message}"),
        };
        found.0.push(SettingProblem { settings: vec![setting], message, help });
    }
    found.0
}

/// The keys and positions of a path; `None` for the top.
fn keys_of(path: &Path) -> Option<Vec<String>> {
    let key = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { index } => Some(index.to_string()),
        // What an enum holds is not known by its variant in the text.
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    };
    let keys: Vec<String> = path.iter().map_while(key).collect();
    (!keys.is_empty()).then_some(keys)
}

/// Takes a setting out, or the whole list that it is in; whether there was one.
fn leave_out(settings: &mut Value, keys: &[String]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return false };
    let Value::Object(entries) = settings else { return false };
    let Some(below) = entries.get_mut(first) else { return false };
    (below.is_object() && leave_out(below, rest)) || entries.shift_remove(first).is_some()
}

/// The JSON Schema of a config struct, as a value without the `$schema` line.
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    schema
}
