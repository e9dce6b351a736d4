//! `tidemill profile`: one customer.

use crate::access::Access;
use crate::cli::Profile;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Profile) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Look).await?;
        let answer = access.get(&format!("/api/v1/profiles/{}", encode(&command.id))).await;
        access.close().await;
        println!("{:#}", answer?);
        Ok(())
    })
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
