//! Secrets: from the environment, else from a file that only its owner can read.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tidemill_connector::ConnectorError;
use tidemill_executor::Secrets;
use tidemill_model::Secret;

/// What the name of an environment variable with a secret starts with.
const VARIABLE_PREFIX: &str = "TIDEMILL_SECRET_";

/// The secrets of this process, read once at its start.
pub(crate) struct SecretStore {
    file: Option<PathBuf>,
    from_file: BTreeMap<String, Secret>,
    from_environment: BTreeMap<String, Secret>,
}

/// A file of secrets that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("cannot read the secrets file `{}`: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error(
        "the secrets file `{}` can be read by others (mode {mode:o}); run `chmod 600` on it",
        path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error("the secrets file `{}` is not a mapping of names to texts: {what}", path.display())]
    Form { path: PathBuf, what: String },
}

impl SecretStore {
    /// Reads the environment, and `file`, or `secrets.yaml` in `folder` if that exists.
    pub(crate) fn open(file: Option<&Path>, folder: Option<&Path>) -> Result<Self, SecretsError> {
        let beside = folder.map(|folder| folder.join("secrets.yaml")).filter(|path| path.exists());
        let file = file.map(Path::to_path_buf).or(beside);
        let from_file = match &file {
            Some(path) => read_file(path)?,
            None => BTreeMap::new(),
        };
        let from_environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.to_str()?.strip_prefix(VARIABLE_PREFIX)?.to_lowercase();
                Some((name, Secret::new(value.into_string().ok()?)))
            })
            .collect();
        Ok(Self { file, from_file, from_environment })
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Secret>, SecretsError> {
    let read = |error| SecretsError::Read { path: path.to_owned(), error };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::Mode { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    // The parser's own message may quote the text, which is secret: only the place is passed on.
    let values: BTreeMap<String, String> = serde_yaml::from_str(&text).map_err(|error| {
        let what = match error.location() {
            Some(at) => format!("see line {}, column {}", at.line(), at.column()),
            None => "write `name: value` lines, values in quotes".to_owned(),
        };
        SecretsError::Form { path: path.to_owned(), what }
    })?;
    Ok(values.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

impl Secrets for SecretStore {
    fn get(&self, name: &str) -> Result<Secret, ConnectorError> {
        let found = self.from_environment.get(&name.to_lowercase()).or(self.from_file.get(name));
        found.cloned().ok_or_else(|| {
            let file = match &self.file {
                Some(path) => format!("add `{name}: …` to `{}`", path.display()),
                None => {
                    "write it to a file with mode 600 and give that with `--secrets`".to_owned()
                }
            };
            ConnectorError::misconfigured(format!("there is no secret `{name}`")).help(format!(
                "set the environment variable `{VARIABLE_PREFIX}{}`, or {file}",
                name.to_uppercase()
            ))
        })
    }

    fn values(&self) -> Vec<Secret> {
        self.from_environment.values().chain(self.from_file.values()).cloned().collect()
    }
}
