//! A list of files that tells whether it is whole: with the checksum of its own text.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A manifest and its checksum.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sealed<M> {
    manifest: M,
    sha256: String,
}

impl<M: Serialize> Sealed<M> {
    /// Seals a manifest.
    pub fn of(manifest: M) -> Self {
        let sha256 = sum_of(&manifest);
        Self { manifest, sha256 }
    }

    /// The manifest, if its checksum is its own.
    pub fn open(self) -> Option<M> {
        (sum_of(&self.manifest) == self.sha256).then_some(self.manifest)
    }
}

/// The SHA-256 of the text, in hex.
fn sum_of(manifest: &impl Serialize) -> String {
    let text = serde_json::to_vec(manifest).unwrap_or_default();
    hex::encode(Sha256::digest(&text))
}
