//! What starts runs by itself.

use std::fmt;

use serde_json::Value;

use super::listen::Listen;
use crate::expr::Expr;
use crate::schedule::Timer;
use crate::template::Template;

/// An entry of `triggers`, or `schedule`, which is short for one.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerDef {
    /// What its progress is kept under: its kind and what stands there as written, `cron 0 2 * * *`,
    /// with a number where several are written alike. So its progress outlasts edits of all else.
    pub key: String,
    /// What it waits for.
    pub on: On,
    /// No run starts where this gives false.
    pub when: Option<Expr>,
    /// The params of its runs.
    pub params: Template,
}

/// What a trigger waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum On {
    /// An instant that is known ahead.
    Clock(Timer),
    /// What other DAGs do.
    Others(Listen),
}

impl TriggerDef {
    /// A trigger by the clock alone.
    pub fn by_clock(timer: Timer) -> Self {
        Self {
            key: timer.clock.to_string(),
            on: On::Clock(timer),
            when: None,
            params: Template::Literal(Value::Null),
        }
    }

    /// Its timer, if it waits for the clock.
    pub fn timer(&self) -> Option<&Timer> {
        match &self.on {
            On::Clock(timer) => Some(timer),
            On::Others(_) => None,
        }
    }

    /// A trigger by what other DAGs do.
    pub fn by_others(listen: Listen) -> Self {
        let (key, params) = (listen.to_string(), Template::Literal(Value::Null));
        Self { key, on: On::Others(listen), when: None, params }
    }

    /// What it waits for, if other DAGs do it.
    pub fn listen(&self) -> Option<&Listen> {
        match &self.on {
            On::Others(listen) => Some(listen),
            On::Clock(_) => None,
        }
    }
}

impl fmt::Display for TriggerDef {
    /// As people call it: a cron line is known as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on {
            On::Clock(timer) => {
                let words = timer.clock.to_string();
                f.write_str(words.strip_prefix("cron ").unwrap_or(&words))
            }
            On::Others(listen) => write!(f, "{listen}"),
        }
    }
}
