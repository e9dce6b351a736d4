//! The store against a model, in memory and on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemill_profile::store::{Applied, Object, ProfileUpdate};
use tidemill_profile::{ProfileStore, StoreOptions};
use tidemill_store::kv::{Kv, MemoryKv, SledKv};

fn options() -> StoreOptions {
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    StoreOptions { clock: Arc::new(clock), ..StoreOptions::default() }
}

fn open(kv: Arc<dyn Kv>) -> ProfileStore {
    ProfileStore::open(kv, options()).unwrap()
}

fn update(id: &str, n: u32, identities: &[&str]) -> ProfileUpdate {
    let mut fields = Object::default();
    fields.insert_text("id", id);
    fields.insert("n", n.to_string());
    ProfileUpdate {
        id: id.to_owned(),
        owned: vec!["id".to_owned(), "n".to_owned()],
        fields,
        identities: Some(identities.iter().map(ToString::to_string).collect()),
        ..ProfileUpdate::default()
    }
}

fn json_of(store: &ProfileStore, id: &str) -> Option<Value> {
    store.get(id).unwrap().map(|profile| serde_json::from_slice(&profile.json).unwrap())
}

#[test]
fn a_profile_is_found_by_id_and_by_identity() {
    let store = open(Arc::new(MemoryKv::default()));
    store
        .upsert(vec![update("7", 1, &["email:x", "phone:1"]), update("8", 1, &["email:x"])])
        .unwrap();
    let expected = json!({
        "id": "7", "n": 1, "identities": ["email:x", "phone:1"],
        "meta": {"version": 1, "updated_at": "1970-01-01T00:00:01.000000Z"},
    });
    assert_eq!(json_of(&store, "7"), Some(expected));
    let found = |identity: &str| store.get_by_identity(identity).unwrap().map(|p| p.id);
    assert_eq!(found("email:x").as_deref(), Some("7"));
    assert_eq!(found("email:").as_deref(), None);
    assert_eq!(found("email").as_deref(), None);
    store.upsert(vec![update("7", 1, &["phone:1"])]).unwrap();
    assert_eq!(found("email:x").as_deref(), Some("8"));
    store.remove(&["8".to_owned()]).unwrap();
    assert_eq!(found("email:x").as_deref(), None);
    assert_eq!(store.count(), 1);
    for nobody in ["", "9", &"x".repeat(1_000)] {
        assert_eq!(store.get(nobody).unwrap(), None);
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let store = open(Arc::new(MemoryKv::default()));
    let write = |n| store.upsert(vec![update("7", n, &[])]).unwrap();
    assert_eq!(write(1).changed, 1);
    let before = store.get("7").unwrap().unwrap();
    let applied = write(1);
    assert_eq!((applied.changed, applied.unchanged), (0, 1));
    assert_eq!(store.get("7").unwrap().as_ref(), Some(&before));
    write(2);
    let after = store.get("7").unwrap().unwrap();
    assert_ne!(after.etag, before.etag);
    assert_eq!(json_of(&store, "7").unwrap()["meta"]["version"], 2);
}

#[test]
fn pages_in_the_order_of_ids() {
    let store = open(Arc::new(MemoryKv::default()));
    store.upsert(["b", "a", "c"].map(|id| update(id, 1, &[])).to_vec()).unwrap();
    let page = |after: Option<&str>, limit| {
        let page = store.list(after, limit).unwrap();
        (page.profiles.into_iter().map(|p| p.id).collect::<Vec<_>>(), page.next)
    };
    let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(page(None, 2), (ids(&["a", "b"]), Some("b".to_owned())));
    assert_eq!(page(Some("b"), 2), (ids(&["c"]), None));
    assert_eq!(page(None, 3), (ids(&["a", "b", "c"]), None));
    assert_eq!(page(Some("c"), 1), (ids(&[]), None));
}

#[test]
fn profiles_outlast_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let kv = || Arc::new(SledKv::open(folder.path()).unwrap());
    let many: Vec<ProfileUpdate> = (0..600).map(|i| update(&i.to_string(), i, &["e:x"])).collect();
    let store = open(kv());
    assert_eq!(store.upsert(many.clone()).unwrap().changed, 600);
    let before = store.get("599").unwrap();
    drop(store);
    let store = open(kv());
    assert_eq!(store.count(), 600);
    assert_eq!(store.get("599").unwrap(), before);
    let applied = store.upsert(many).unwrap();
    assert_eq!((applied.changed, applied.unchanged), (0, 600));
}

#[test]
fn too_large_is_an_error_and_nothing_is_stored() {
    let store = open(Arc::new(MemoryKv::default()));
    let mut large = update("7", 1, &[]);
    large.fields.insert_text("text", &"x".repeat(1 << 20));
    let error = store.upsert(vec![update("6", 1, &[]), large]).expect_err("an error");
    assert_eq!(
        error.to_string(),
        "the profile `7` would have 1048666 bytes, at most 1048576 are stored"
    );
    assert_eq!((store.count(), json_of(&store, "6")), (0, None));
}

#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<(u8, u32, Vec<u8>)>),
    Remove(Vec<u8>),
    Get(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0..6u8, 0..3u32, proptest::collection::vec(0..4u8, 0..3));
    prop_oneof![
        proptest::collection::vec(row, 1..5).prop_map(Step::Upsert),
        proptest::collection::vec(0..6u8, 1..3).prop_map(Step::Remove),
        (0..6u8).prop_map(Step::Get),
        Just(Step::Reopen),
    ]
}

/// What a profile should be: its number, its identities and its version.
type Model = BTreeMap<String, (u32, Vec<String>, u64)>;

fn upsert(model: &mut Model, id: String, n: u32, mut identities: Vec<String>) -> Applied {
    identities.sort();
    identities.dedup();
    let entry = model.entry(id).or_default();
    let changed = entry.2 == 0 || entry.0 != n || entry.1 != identities;
    if changed {
        *entry = (n, identities, entry.2 + 1);
    }
    Applied { changed: u64::from(changed), unchanged: u64::from(!changed), ..Applied::default() }
}

fn compare(store: &ProfileStore, model: &Model) {
    assert_eq!(store.count(), model.len() as u64);
    let listed = store.list(None, 100).unwrap().profiles;
    assert_eq!(listed.iter().map(|p| &p.id).collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
    for (id, (n, identities, version)) in model {
        let json = json_of(store, id).expect("a profile");
        assert_eq!((&json["n"], &json["meta"]["version"]), (&json!(n), &json!(version)));
        let got = json.get("identities").cloned().unwrap_or(json!([]));
        assert_eq!(got, json!(identities));
    }
    for identity in 0..4 {
        let identity = format!("e:{identity}");
        let first = model.iter().find(|(_, (_, all, _))| all.contains(&identity));
        let found = store.get_by_identity(&identity).unwrap();
        assert_eq!(found.map(|p| p.id).as_ref(), first.map(|(id, _)| id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_store_is_a_map(steps in proptest::collection::vec(step(), 1..20), cache in 0..3usize) {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        let small = || StoreOptions { cache_bytes: cache * 600, ..options() };
        let mut store = ProfileStore::open(kv.clone(), small()).unwrap();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Upsert(rows) => {
                    let mut expected = Applied::default();
                    let mut updates = Vec::new();
                    for (id, n, identities) in rows {
                        let identities: Vec<String> = identities.iter().map(|i| format!("e:{i}")).collect();
                        let names: Vec<&str> = identities.iter().map(String::as_str).collect();
                        updates.push(update(&id.to_string(), n, &names));
                        expected += upsert(&mut model, id.to_string(), n, identities);
                    }
                    let applied = store.upsert(updates).unwrap();
                    prop_assert_eq!((applied.changed, applied.unchanged), (expected.changed, expected.unchanged));
                }
                Step::Remove(ids) => {
                    let ids: std::collections::BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
                    let there = ids.iter().filter(|id| model.remove(*id).is_some()).count();
                    let ids: Vec<String> = ids.into_iter().collect();
                    prop_assert_eq!(store.remove(&ids).unwrap().removed, there as u64);
                }
                Step::Get(id) => {
                    prop_assert_eq!(json_of(&store, &id.to_string()).is_some(), model.contains_key(&id.to_string()));
                }
                Step::Reopen => store = ProfileStore::open(kv.clone(), small()).unwrap(),
            }
            compare(&store, &model);
        }
    }
}
