//! What a stored profile looks like: keys, bytes, limits.
//!
//! A value is a format byte, the first 16 bytes of the SHA-256 of the JSON text, and the text.
//! Encrypted profiles are to be another format, which only this file needs to know.

use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use super::object::Object;
use super::{ProfileError, StoredProfile};

/// Ids of profiles have at most this many bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Identities, `type:value`, have at most this many bytes.
pub const IDENTITY_BYTES_MAX: usize = 640;
/// A profile has at most this many bytes as JSON.
pub const PROFILE_BYTES_MAX: usize = 1024 * 1024;

/// The key of the number of profiles.
pub(super) const COUNT_KEY: &[u8] = b"n";
/// Keys of loads under way start with this.
pub(super) const LOAD_PREFIX: u8 = b'l';

const PLAIN: u8 = 1;
const HASH_BYTES: usize = 16;

/// A profile as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) json: Bytes,
    etag: [u8; HASH_BYTES],
}

impl Record {
    /// A record of this object.
    pub(super) fn new(id: &str, object: &Object) -> Result<Self, ProfileError> {
        let json = object.to_json().into_bytes();
        if json.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLarge { id: id.to_owned(), bytes: json.len() });
        }
        let digest = Sha256::digest(&json);
        let mut etag = [0; HASH_BYTES];
        etag.copy_from_slice(&digest[..HASH_BYTES]);
        Ok(Self { json: json.into(), etag })
    }

    /// The record as a value of the store below.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + HASH_BYTES + self.json.len());
        bytes.push(PLAIN);
        bytes.extend_from_slice(&self.etag);
        bytes.extend_from_slice(&self.json);
        bytes
    }

    /// The record in a value of the store below.
    pub(super) fn decode(id: &str, bytes: &[u8]) -> Result<Self, ProfileError> {
        match bytes.split_first() {
            Some((&PLAIN, rest)) if rest.len() > HASH_BYTES => {
                let (hash, json) = rest.split_at(HASH_BYTES);
                let mut etag = [0; HASH_BYTES];
                etag.copy_from_slice(hash);
                Ok(Self { json: Bytes::copy_from_slice(json), etag })
            }
            Some((&PLAIN, _)) | None => Err(damaged(id, "it is cut short")),
            Some((format, _)) => {
                Err(damaged(id, format!("its format {format} is of another version of Tidemill")))
            }
        }
    }

    /// The object.
    pub(super) fn object(&self, id: &str) -> Result<Object, ProfileError> {
        let text = std::str::from_utf8(&self.json).ok();
        text.and_then(Object::parse).ok_or_else(|| damaged(id, "it is no object"))
    }

    /// The identities of the profile.
    pub(super) fn identities(&self) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Identities {
            #[serde(default)]
            identities: Vec<String>,
        }
        serde_json::from_slice::<Identities>(&self.json).map(|i| i.identities).unwrap_or_default()
    }

    /// The profile as it is served.
    pub(super) fn served(&self, id: &str) -> StoredProfile {
        let (json, etag) = (self.json.clone(), hex::encode(self.etag));
        StoredProfile { id: id.to_owned(), json, etag }
    }

    /// Memory it takes, about.
    pub(super) fn memory(&self) -> usize {
        self.json.len() + size_of::<Self>()
    }
}

fn damaged(id: &str, what: impl std::fmt::Display) -> ProfileError {
    ProfileError::Damaged { id: id.to_owned(), what: what.to_string() }
}

/// Refuses what is no id.
pub(super) fn check_id(id: &str) -> Result<(), ProfileError> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) {
        return Ok(());
    }
    Err(ProfileError::BadId { bytes: id.len() })
}

/// Refuses what is no identity.
pub(super) fn check_identity(identity: &str) -> Result<(), ProfileError> {
    let is_pair = identity.split_once(':').is_some_and(|(kind, value)| {
        !kind.is_empty() && !value.is_empty() && !identity.contains('\0')
    });
    if is_pair && identity.len() <= IDENTITY_BYTES_MAX {
        return Ok(());
    }
    Err(ProfileError::BadIdentity { identity: identity.chars().take(100).collect() })
}

/// The key of a profile.
pub(super) fn profile_key(id: &str) -> Vec<u8> {
    [b"p", id.as_bytes()].concat()
}

/// The id in the key of a profile.
pub(super) fn id_of(key: &[u8]) -> Result<&str, ProfileError> {
    std::str::from_utf8(key.get(1..).unwrap_or_default())
        .map_err(|error| damaged(&key.escape_ascii().to_string(), error))
}

/// The key that leads from an identity to a profile.
pub(super) fn identity_key(identity: &str, id: &str) -> Vec<u8> {
    [b"i", identity.as_bytes(), b"\0", id.as_bytes()].concat()
}

/// The number of profiles in its value.
pub(super) fn read_count(bytes: &[u8]) -> Result<u64, ProfileError> {
    let bytes = bytes.try_into().map_err(|_| damaged("", "the number of profiles"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// An instant as `updated_at` shows it.
pub(super) fn instant(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let text = r#"{"id":"1","identities":["email:a"],"meta":{}}"#;
        let object = Object::parse(text).expect("an object");
        let record = Record::new("1", &object).expect("a record");
        assert_eq!(Record::decode("1", &record.encode()).expect("a record"), record);
        assert_eq!(record.object("1").expect("an object"), object);
        assert_eq!(record.identities(), ["email:a"]);
        assert_eq!(record.served("1").etag.len(), 32);
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let check = |bytes: &[u8], expected: &str| {
            let error = Record::decode("7", bytes).expect_err("an error");
            assert_eq!(error.to_string(), expected);
        };
        check(b"", "the stored profile `7` is damaged: it is cut short; load it again");
        check(&[1, 2], "the stored profile `7` is damaged: it is cut short; load it again");
        check(
            &[9, 2],
            "the stored profile `7` is damaged: its format 9 is of another version of Tidemill; \
             load it again",
        );
    }

    #[test]
    fn ids_and_identities_have_limits() {
        for (id, good) in [("", false), (&"x".repeat(128), true), (&"x".repeat(129), false)] {
            assert_eq!(check_id(id).is_ok(), good, "{id}");
        }
        assert!(check_identity("email:a@b.test").is_ok());
        for bad in ["email", ":a", "email:", "email:a\0b", &format!("email:{}", "x".repeat(640))] {
            assert!(check_identity(bad).is_err(), "{bad}");
        }
    }
}
