//! `tidemill profile`: one customer.

use crate::cli::Profile;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Profile) -> Result<(), Failure> {
    let path = format!("/api/v1/profiles/{}", encode(&command.id));
    let answer = with_home(globals, None, Mode::Look, async |access| access.get(&path).await)?;
    println!("{answer:#}");
    Ok(())
}

/// A text as one part of a path.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
