//! Calls into sled: a panic is an error, and what sled says of itself is said in our words.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use crate::disk::{self, NO_SPACE};
use crate::store::StoreError;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// In our words.
    pub(crate) words: String,
    /// sled panicked: it may hold its locks for ever.
    pub(crate) panicked: bool,
    /// In sled's words, for the log alone.
    raw: String,
}

impl Fault {
    /// With the key that was read.
    pub(crate) fn at(mut self, key: &[u8]) -> Self {
        self.raw.push_str(&format!(" (key {})", key.escape_ascii()));
        self
    }
}

impl From<String> for Fault {
    fn from(words: String) -> Self {
        Self { raw: words.clone(), words, panicked: false }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => NO_SPACE.to_owned().into(),
            other => other.to_string().into(),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        let raw = error.to_string();
        // sled wraps what the system said into a text of its own.
        let words = match error.raw_os_error() {
            Some(_) => format!("a file in it cannot be used: {error}"),
            None if disk::says_full(&raw) => NO_SPACE.to_owned(),
            None if raw.contains("could not acquire lock") => "another one has it open".to_owned(),
            None => "a file in it cannot be used".to_owned(),
        };
        Self { words, panicked: false, raw }
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        let raw = error.to_string();
        match error {
            sled::Error::Io(error) => error.into(),
            _ if disk::says_full(&raw) => Self { words: NO_SPACE.to_owned(), panicked: false, raw },
            sled::Error::Unsupported(_) => {
                let words = "its format is not known".to_owned();
                Self { words, panicked: false, raw }
            }
            _ => Self { words: "what is in its files is damaged".to_owned(), panicked: false, raw },
        }
    }
}

/// Calls into sled. What it says goes to the log at level `debug`.
pub(crate) fn guarded<T>(path: &Path, call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    hush();
    let before = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    let done = done.unwrap_or_else(|panic| {
        let raw = panic_text(&*panic);
        let full = disk::says_full(&raw);
        let words = if full { NO_SPACE } else { "what is in its files is damaged" }.to_owned();
        Err(Fault { words, panicked: true, raw })
    });
    done.inspect_err(|fault| {
        tracing::debug!(path = %path.display(), raw = %fault.raw, "sled failed");
    })
}

thread_local! {
    /// This thread is inside of a guarded call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A panic that becomes an error prints nothing: its message says nothing to a user.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let of_sled = thread.name().is_some_and(|name| name.starts_with("sled-"));
            if GUARDED.try_with(Cell::get).unwrap_or_default() || of_sled {
                tracing::debug!(%panic, "a panic inside sled");
            } else {
                before(panic);
            }
        }));
    });
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    format!("sled panicked: {}", text.lines().next().unwrap_or_default())
}
