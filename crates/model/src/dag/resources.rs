//! [`Resources`]: how much of the machine a command may take.

use serde::{Deserialize, Serialize};

/// How much of the machine a command may take, with everything that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Memory, in bytes; without it as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Time of processors, in thousandths of one; without it as much as is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Open files of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

impl Resources {
    /// Processes and threads, where nothing else is said: far more than a command needs, and far
    /// fewer than the machine has.
    pub const PROCESSES_DEFAULT: u32 = 4_096;
    /// Open files of a process, where nothing else is said.
    pub const FILES_DEFAULT: u64 = 65_536;

    /// These, and those of `others` that are not said here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.or(others.memory_bytes),
            cpu_millis: self.cpu_millis.or(others.cpu_millis),
            processes: self.processes.or(others.processes),
            files: self.files.or(others.files),
        }
    }

    /// These, with the defaults that hold without a word.
    #[must_use]
    pub fn or_default(self) -> Self {
        self.or(Self {
            processes: Some(Self::PROCESSES_DEFAULT),
            files: Some(Self::FILES_DEFAULT),
            ..Self::default()
        })
    }
}

/// The units of sizes, with their bytes; the greater of two that fit goes first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a size: a whole number and a unit, `512MiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, bytes) =
        UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))?;
    let digits = digits.trim_end();
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| digits.parse::<u64>().ok()?.checked_mul(bytes)).flatten()
}

/// A size as one writes it.
pub fn written_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (unit, of_unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / of_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1B", Some(1)),
            ("2GiB", Some(2 << 30)),
            ("2 GB", Some(2_000_000_000)),
            ("512MiB", Some(512 << 20)),
            ("10KB", Some(10_000)),
            ("17179869184GiB", None),
            ("1.5GiB", None),
            ("-1MB", None),
            ("GiB", None),
            ("12", None),
            ("1gib", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for bytes in [1, 1_000, 1_024, 1_500, 3 << 30, 2_000_000_000, 1_234_567] {
            assert_eq!(parse_size(&written_size(bytes)), Some(bytes), "{bytes}");
        }
    }
}
