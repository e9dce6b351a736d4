//! What a load makes of a profile, as a pure function.

use serde::{Deserialize, Serialize};

use super::ProfileError;
use super::object::{Object, quoted};
use super::record::{Record, check_id, check_identity};

/// The key of the identities in a profile.
const IDENTITIES: &str = "identities";
/// The key of what the store says about a profile.
const META: &str = "meta";
/// Its keys that the store writes.
const VERSION: &str = "version";
const UPDATED_AT: &str = "updated_at";

/// What is to be written into one profile.
///
/// A load owns the top-level keys that it names: their values take the place of what was there,
/// and keys without a value go. Other keys stay as other loads left them, unless `replace` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileUpdate {
    /// The profile; it is made if it is not there.
    pub id: String,
    /// The values of top-level keys, in the order in which they are to stand.
    pub fields: Object,
    /// The top-level keys that the load owns, also those without a value in this row.
    pub owned: Vec<String>,
    /// The identities, `type:value`; `None` leaves those that are there.
    pub identities: Option<Vec<String>>,
    /// What stands in `meta` beside the version and the time of the change; `None` leaves it.
    pub meta: Option<Object>,
    /// Nothing that was there stays, except the version.
    pub replace: bool,
}

/// The new record of a profile; `None` when nothing changes. `now` is the time of the change.
pub(super) fn apply(
    update: ProfileUpdate,
    old: Option<&Record>,
    now: &str,
) -> Result<Option<Record>, ProfileError> {
    let ProfileUpdate { id, fields, owned, identities, meta, replace } = update;
    check_id(&id)?;
    let mut before = match old {
        Some(old) => old.object(&id)?,
        None => Object::default(),
    };
    let mut old_meta =
        before.remove(META).and_then(|meta| Object::parse(&meta)).unwrap_or_default();
    let version = old_meta.remove(VERSION).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    old_meta.remove(UPDATED_AT);

    let mut after = fields;
    for (key, json) in before.iter().filter(|_| !replace) {
        if key != IDENTITIES && after.get(key).is_none() && !owned.iter().any(|own| own == key) {
            after.insert(key, json);
        }
    }
    let identities = match identities {
        Some(identities) => listed(identities)?,
        None => before.get(IDENTITIES).filter(|_| !replace).map(str::to_owned),
    };
    if let Some(identities) = identities {
        after.insert(IDENTITIES, identities);
    }
    let meta = match meta {
        Some(meta) => meta,
        None if replace => Object::default(),
        None => old_meta.clone(),
    };
    // Objects are equal whatever the order of their keys, so two loads do not undo each other.
    if old.is_some() && after == before && meta == old_meta {
        return Ok(None);
    }
    let mut all = Object::default();
    all.insert(VERSION, (version + 1).to_string());
    all.insert_text(UPDATED_AT, now);
    for (key, json) in meta.iter() {
        all.insert(key, json);
    }
    after.insert(META, all.to_json());
    Record::new(&id, &after).map(Some)
}

/// The list of identities in order, each once, as JSON; none when it is empty.
fn listed(mut identities: Vec<String>) -> Result<Option<String>, ProfileError> {
    identities.sort_unstable();
    identities.dedup();
    for identity in &identities {
        check_identity(identity)?;
    }
    let texts: Vec<String> = identities.iter().map(|identity| quoted(identity)).collect();
    Ok((!texts.is_empty()).then(|| format!("[{}]", texts.join(","))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> Object {
        Object::parse(&value.to_string()).expect("an object")
    }

    fn update(fields: &Value, owned: &[&str]) -> ProfileUpdate {
        ProfileUpdate {
            id: "7".to_owned(),
            fields: object(fields),
            owned: owned.iter().map(ToString::to_string).collect(),
            ..ProfileUpdate::default()
        }
    }

    fn check(update: ProfileUpdate, old: Option<&Value>, expected: Option<&Value>) {
        let old = old.map(|value| Record::new("7", &object(value)).expect("a record"));
        let got = apply(update, old.as_ref(), "T2").expect("applied");
        let got = got.map(|record| String::from_utf8_lossy(&record.json).into_owned());
        assert_eq!(got, expected.map(Value::to_string));
    }

    #[test]
    fn a_load_owns_its_keys() {
        let meta = json!({"version": 3, "updated_at": "T1"});
        check(
            update(&json!({"a": 1}), &["a"]),
            None,
            Some(&json!({"a": 1, "meta": {"version": 1, "updated_at": "T2"}})),
        );
        check(
            update(&json!({"a": 2}), &["a"]),
            Some(&json!({"a": 1, "b": 5, "meta": meta})),
            Some(&json!({"a": 2, "b": 5, "meta": {"version": 4, "updated_at": "T2"}})),
        );
        check(
            update(&json!({}), &["a"]),
            Some(&json!({"a": 1, "b": 5, "meta": meta})),
            Some(&json!({"b": 5, "meta": {"version": 4, "updated_at": "T2"}})),
        );
        let whole = ProfileUpdate { replace: true, ..update(&json!({"a": 2}), &["a"]) };
        check(
            whole,
            Some(&json!({"a": 1, "b": 5, "identities": ["e:x"], "meta": meta})),
            Some(&json!({"a": 2, "meta": {"version": 4, "updated_at": "T2"}})),
        );
    }

    #[test]
    fn what_is_the_same_stays() {
        let meta = json!({"version": 3, "updated_at": "T1", "as_of": "D"});
        let old = json!({"b": 5, "a": {"x": 1}, "c": 2, "identities": ["e:x"], "meta": meta});
        let same = json!({"c": 2, "a": {"x": 1}});
        check(update(&same, &["a", "c", "d"]), Some(&old), None);
        let identities = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
        let twice = identities(&["e:x", "e:x"]);
        let with = ProfileUpdate { identities: twice, ..update(&same, &["a", "c"]) };
        check(with.clone(), Some(&old), None);
        let without = ProfileUpdate { identities: identities(&[]), ..with };
        let meta = json!({"version": 4, "updated_at": "T2", "as_of": "D"});
        let new = json!({"c": 2, "a": {"x": 1}, "b": 5, "meta": meta});
        check(without, Some(&old), Some(&new));
    }

    /// Another load's number is not touched, not even in a digit that a parser would lose.
    #[test]
    fn numbers_keep_their_digits() {
        let mut old = object(&json!({"meta": {"version": 1, "updated_at": "T1"}}));
        old.insert("b", "27.820027401543502");
        let old = Record::new("7", &old).expect("a record");
        let new = apply(update(&json!({"a": 1}), &["a"]), Some(&old), "T2").expect("applied");
        let new = new.expect("a change").object("7").expect("an object");
        assert_eq!(new.get("b"), Some("27.820027401543502"));
    }

    #[test]
    fn bad_ids_and_identities_are_errors() {
        let error = apply(ProfileUpdate::default(), None, "T").expect_err("an error");
        assert_eq!(error.to_string(), "an id has 1 to 128 bytes, not 0");
        let bad = ProfileUpdate {
            identities: Some(vec!["nothing".to_owned()]),
            ..update(&json!({}), &[])
        };
        let error = apply(bad, None, "T").expect_err("an error");
        assert_eq!(
            error.to_string(),
            "`nothing` is no identity: it is written `type:value` and has at most 640 bytes"
        );
    }
}
