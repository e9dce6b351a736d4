//! [`SettingProblem`]: why the settings of a connector or a transform can never work.
//!
//! Connectors find them, the DAG language gives them their places; both know only this type.

/// Something in the settings of a task that can be told to be wrong from the settings alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The settings that are to blame, the first one most. Each is a way of keys and of positions
    /// in lists from the top: `["columns", "price"]`. Empty when it is the settings as a whole.
    ///
    /// Where an expression gives one of them, there is no problem yet: it is looked for again
    /// when the task runs.
    pub settings: Vec<Vec<String>>,
    /// What is wrong, in one line, with the name of the setting.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}
