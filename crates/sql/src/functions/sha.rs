//! `sha256`.

use datafusion::common::Result;
use sha2::{Digest, Sha256};

use super::{ArrayRef, FunctionDoc, Kind, RowFunction, map_text};

pub(super) static SHA256: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "sha256",
        signature: "sha256(text) → text",
        doc: "The SHA-256 of a text's UTF-8 bytes, as 64 lowercase hexadecimal digits. To hide \
              who a row is about, use `pseudonymize`: a plain hash of a known value is easily \
              found again.",
        example: "sha256('abc')",
        gives: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    },
    takes: &[Kind::Text],
    gives: Kind::Text,
    call: sha256,
};

fn sha256(columns: &[ArrayRef]) -> Result<ArrayRef> {
    map_text(&columns[0], |text, out| out.append_value(hex::encode(Sha256::digest(text))))
}
