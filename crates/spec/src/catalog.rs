//! What an installation offers, as the language needs to know it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tidemill_model::SettingProblem;
use tidemill_model::schedule::Calendar;

/// The connectors, transforms, connections, pools and calendars that a DAG may name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// What `ingest` and `load` may name.
    pub connectors: Arc<[ConnectorInfo]>,
    /// What `transform` may name.
    pub transforms: Arc<[TransformInfo]>,
    /// The connections beside the DAG; `None` = not known, so not checked.
    pub connections: Option<Vec<String>>,
    /// The pools beside the DAG; `None` = not known, so not checked.
    pub pools: Option<Vec<String>>,
    /// The calendars beside the DAG; `None` = not known, so not checked.
    pub calendars: Option<Arc<[Arc<Calendar>]>>,
}

/// A connector.
#[derive(Debug, Clone)]
pub struct ConnectorInfo {
    /// The key below `ingest` and `load`.
    pub name: String,
    /// What it is, in one sentence.
    pub summary: String,
    /// The JSON Schema of a source's settings; `None` when it cannot be read from.
    pub source: Option<Value>,
    /// The JSON Schema of a sink's settings; `None` when it cannot be written to.
    ///
    /// A sink whose schema says `"x-inputs": "many"` takes several tables by name.
    pub sink: Option<Value>,
    /// What else can be wrong with a source's settings.
    pub source_check: SettingsCheck,
    /// What else can be wrong with a sink's settings.
    pub sink_check: SettingsCheck,
    /// A source's settings as YAML.
    pub source_example: String,
    /// A sink's settings as YAML.
    pub sink_example: String,
}

/// A transform.
#[derive(Debug, Clone)]
pub struct TransformInfo {
    /// The key below `transform`.
    pub name: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// The JSON Schema of its settings.
    pub schema: Value,
    /// What else can be wrong with its settings.
    pub check: SettingsCheck,
    /// Settings as YAML.
    pub example: String,
}

/// Finds what a schema cannot say: that settings can never work. It looks at nothing but them.
#[derive(Clone, Default)]
pub struct SettingsCheck(Option<Arc<CheckFn>>);

type CheckFn = dyn Fn(&Value) -> Vec<SettingProblem> + Send + Sync;

impl SettingsCheck {
    /// The check that this function makes. Texts with expressions reach it as they are written.
    pub fn new(check: impl Fn(&Value) -> Vec<SettingProblem> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(check)))
    }

    pub(crate) fn problems(&self, settings: &Value) -> Vec<SettingProblem> {
        self.0.as_ref().map(|check| check(settings)).unwrap_or_default()
    }
}

impl fmt::Debug for SettingsCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SettingsCheck").field(&self.0.is_some()).finish()
    }
}

impl Catalog {
    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Option<&ConnectorInfo> {
        self.connectors.iter().find(|c| c.name == name)
    }

    /// The transform of this name.
    pub fn transform(&self, name: &str) -> Option<&TransformInfo> {
        self.transforms.iter().find(|t| t.name == name)
    }
}
