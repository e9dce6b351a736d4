//! What a run may be told.

use chrono::NaiveDate;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::dag::Dag;
use crate::expr::Type;
use crate::id::VarName;
use crate::time::Timestamp;

/// A value that a run may be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParamKind,
    /// Its value when none is given; without one, a run must give it.
    pub default: Option<Value>,
    /// The only values allowed; empty = all of the type.
    #[serde(rename = "enum")]
    pub allowed: Vec<Value>,
    /// What it means.
    pub description: Option<String>,
}

/// The type of a param.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ParamKind {
    String,
    Integer,
    Number,
    Boolean,
    Timestamp,
    Date,
    Json,
}

impl ParamKind {
    /// Every type, in the order of the reference.
    pub const ALL: [Self; 7] = [
        Self::String,
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Timestamp,
        Self::Date,
        Self::Json,
    ];

    /// The word of the language.
    pub fn label(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Json => "json",
        }
    }

    /// What its values are, for messages.
    pub fn value(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer of 64 bits",
            Self::Number => "a number",
            Self::Boolean => "`true` or `false`",
            Self::Timestamp => "an instant such as `2026-01-31T02:00:00Z`",
            Self::Date => "a date such as `2026-01-31`",
            Self::Json => "JSON such as `[\"eu\", \"us\"]`",
        }
    }

    /// The type that its values have in expressions: days and instants are texts there.
    pub fn type_in_expr(self) -> Type {
        match self {
            Self::String | Self::Timestamp | Self::Date => Type::Text,
            Self::Integer => Type::Int,
            Self::Number => Type::Double,
            Self::Boolean => Type::Bool,
            Self::Json => Type::Dynamic,
        }
    }

    /// Whether a value is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::String, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => true,
            (Self::Json, value) => !value.is_null(),
            (Self::Integer, Value::Number(n)) => n.is_i64(),
            (Self::Number, Value::Number(_)) => true,
            (Self::Timestamp, Value::String(text)) => text.parse::<Timestamp>().is_ok(),
            (Self::Date, Value::String(text)) => {
                NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
            }
            _ => false,
        }
    }

    /// A value of this type in the one form that it has, so that values can be compared whatever
    /// was given: `3` is `3.0` where a number may have a fraction, a day has all its digits, and an
    /// instant is in UTC.
    pub(crate) fn settled(self, value: Value) -> Value {
        let settled = match (self, &value) {
            (Self::Number, Value::Number(number)) => {
                number.as_f64().and_then(Number::from_f64).map(Value::Number)
            }
            (Self::Date, Value::String(text)) => {
                let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
                day.map(|day| Value::String(day.format("%Y-%m-%d").to_string()))
            }
            (Self::Timestamp, Value::String(text)) => {
                text.parse::<Timestamp>().ok().map(|instant| Value::String(instant.to_string()))
            }
            _ => None,
        };
        settled.unwrap_or(value)
    }

    /// A value from the text of a command line or a form.
    pub fn read(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::String | Self::Timestamp | Self::Date => Value::String(text.to_owned()),
            Self::Integer => text.parse::<i64>().ok()?.into(),
            Self::Number => Number::from_f64(text.parse().ok()?)?.into(),
            Self::Boolean => text.parse::<bool>().ok()?.into(),
            Self::Json => serde_json::from_str(text).ok()?,
        };
        self.admits(&value).then_some(value)
    }

    /// As [`ParamKind::read`]; what is no value of the type stays a text, which is refused by the
    /// name of its param where that is known.
    pub fn read_or_text(self, text: &str) -> Value {
        self.read(text).unwrap_or_else(|| Value::from(text))
    }
}

/// A param that a run was given wrongly, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BadParam {
    #[error("there is no param `{name}`; {known}")]
    Unknown { name: String, known: String },
    #[error("param `{name}` must be {kind}, not `{value}`")]
    Type { name: VarName, kind: &'static str, value: String },
    #[error("param `{name}` must be one of {allowed}, not `{value}`")]
    NotAllowed { name: VarName, allowed: String, value: String },
    #[error("param `{name}` has no default, so the run must give it")]
    Missing { name: VarName },
}

impl Dag {
    /// The params of a run: what was given, checked, and defaults for the rest.
    pub fn params_of(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, BadParam> {
        settled_params(&self.params, &format!("`{}`", self.id), given)
    }

    /// The params of a run that nobody gave any; null where there is no default.
    pub fn params_by_default(&self) -> Map<String, Value> {
        let value = |param: &Param| param.default.clone().map(|value| param.kind.settled(value));
        let all = self.params.iter();
        all.map(|(name, param)| (name.to_string(), value(param).unwrap_or_default())).collect()
    }
}

/// Values for params of `owner`: what was given, checked, and defaults for the rest.
pub fn settled_params(
    params: &IndexMap<VarName, Param>,
    owner: &str,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, BadParam> {
    if let Some(name) = given.keys().find(|name| !params.contains_key(name.as_str())) {
        let known: Vec<&str> = params.keys().map(VarName::as_str).collect();
        let known = match known.as_slice() {
            [] => format!("{owner} has none"),
            names => format!("{owner} has: {}", names.join(", ")),
        };
        return Err(BadParam::Unknown { name: name.clone(), known });
    }
    let mut settled = Map::new();
    for (name, param) in params {
        let value = match given.get(name.as_str()).or(param.default.as_ref()) {
            None => return Err(BadParam::Missing { name: name.clone() }),
            Some(value) => value.clone(),
        };
        if !param.kind.admits(&value) {
            let (kind, value) = (param.kind.value(), value.to_string());
            return Err(BadParam::Type { name: name.clone(), kind, value });
        }
        if !param.allowed.is_empty() && !param.allowed.contains(&value) {
            let allowed =
                param.allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let value = value.to_string();
            return Err(BadParam::NotAllowed { name: name.clone(), allowed, value });
        }
        settled.insert(name.as_str().to_owned(), param.kind.settled(value));
    }
    Ok(settled)
}
