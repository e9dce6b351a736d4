//! `pseudonymize`.

use std::sync::Arc;

use arrow::array::{Array, StringBuilder};
use datafusion::common::Result;
use datafusion::common::cast::as_string_array;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ArrayRef, FunctionDoc, Kind, RowFunction};
use crate::error::pass;

pub(super) static PSEUDONYMIZE: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "pseudonymize",
        signature: "pseudonymize(text, key text) → text",
        doc: "The HMAC-SHA-256 of a text under a key, as 64 lowercase hexadecimal digits: the same \
              for the same text and key, and of no use without the key. A whole number is taken in \
              decimal form. Bind the key from a secret: `pseudonymize(customer_id, $key)`.",
        example: "pseudonymize('what do ya want for nothing?', 'Jefe')",
        gives: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    takes: &[Kind::Text, Kind::Text],
    gives: Kind::Text,
    call: pseudonymize,
};

fn pseudonymize(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, keys) = (as_string_array(&columns[0])?, as_string_array(&columns[1])?);
    let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * 64);
    // The key is nearly always the same in all rows; preparing it costs as much as a short text.
    let mut prepared: Option<(&str, Hmac<Sha256>)> = None;
    for (text, key) in texts.iter().zip(keys) {
        let (Some(text), Some(key)) = (text, key) else {
            out.append_null();
            continue;
        };
        if key.is_empty() {
            return Err(pass(
                tidemill_connector::ConnectorError::misconfigured(
                    "the key of `pseudonymize` is empty",
                )
                .help("bind one from a secret, at least 16 characters long"),
            ));
        }
        let mac = match &prepared {
            Some((same, mac)) if *same == key => mac,
            _ => {
                let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
                    .map_err(|e| datafusion::common::exec_datafusion_err!("{e}"))?;
                &prepared.insert((key, mac)).1
            }
        };
        let mut mac = mac.clone();
        mac.update(text.as_bytes());
        out.append_value(hex::encode(mac.finalize().into_bytes()));
    }
    Ok(Arc::new(out.finish()))
}
