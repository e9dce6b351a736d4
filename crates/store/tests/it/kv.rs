//! Keys and values: both kinds do the same, and large values come back whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_store::StoreError;
use tidemill_store::kv::{Kv, KvOptions, MemoryKv, Pair, SledKv};

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

#[test]
fn values_of_any_size_come_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 3_991, 3_992, 3_993, 4_096, 8_000, 100_000, 1_000_000];
    let pairs: Vec<Pair> =
        sizes.iter().map(|n| (format!("key{n}").into_bytes(), noise(*n, *n as u64))).collect();
    let kv = SledKv::open(dir.path()).unwrap();
    kv.apply(&pairs, &[]).unwrap();
    // Over it go smaller and larger ones.
    let swapped: Vec<Pair> = pairs
        .iter()
        .zip(pairs.iter().rev())
        .map(|((k, _), (_, v))| (k.clone(), v.clone()))
        .collect();
    kv.apply(&swapped, &[b"key1".to_vec()]).unwrap();
    kv.flush().unwrap();
    drop(kv);
    let kv = SledKv::open(dir.path()).unwrap();
    for (key, value) in &swapped {
        let expected = (key != b"key1").then(|| value.clone());
        assert_eq!(kv.get(key).unwrap(), expected);
    }
    assert_eq!(kv.len_prefix(b"key").unwrap(), sizes.len() - 1);
    assert_eq!(kv.scan(b"", None, 100).unwrap().len(), sizes.len() - 1);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "no value is large enough to leak");
}

#[test]
fn bad_keys_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Box<dyn Kv>; 2] =
        [Box::new(MemoryKv::default()), Box::new(SledKv::open(dir.path()).unwrap())];
    for kv in stores {
        for bad in [vec![], vec![0, 1], vec![b'x'; 1_001]] {
            let puts = [(b"good".to_vec(), vec![1]), (bad.clone(), vec![2])];
            assert!(matches!(kv.apply(&puts, &[]), Err(StoreError::TooLarge { .. })), "{bad:?}");
        }
        assert_eq!(kv.len_prefix(b"").unwrap(), 0);
        kv.apply(&[(vec![b'x'; 1_000], vec![1])], &[]).unwrap();
    }
}

#[test]
fn a_folder_that_does_not_open_is_an_error_or_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kv");
    SledKv::open(&path).unwrap().apply(&[(b"a".to_vec(), b"1".to_vec())], &[]).unwrap();
    std::fs::write(path.join("conf"), "garbage that is no configuration").unwrap();
    assert!(matches!(SledKv::open(&path), Err(StoreError::Damaged { .. })));
    let (kv, notes) = SledKv::open_or_move_aside(&path, KvOptions::default()).unwrap();
    assert_eq!((kv.len_prefix(b"").unwrap(), notes.len()), (0, 1));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the old folder is kept");
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<Pair>, Vec<Vec<u8>>),
    Scan(Vec<u8>, Option<Vec<u8>>, usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![1_u8, b'a', b'b', 0xfe, 0xff]), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let value = (0_usize..9_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed));
    let pairs = prop::collection::vec((key(), value), 0..6);
    prop_oneof![
        (pairs, prop::collection::vec(key(), 0..3)).prop_map(|(p, d)| Step::Apply(p, d)),
        (prop_oneof![Just(Vec::new()), key()], prop::option::of(key()), 0_usize..8)
            .prop_map(|(prefix, after, limit)| Step::Scan(prefix, after, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn both_kinds_agree_with_a_sorted_map(steps in prop::collection::vec(step(), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let (sled, memory) = (SledKv::open(dir.path()).unwrap(), MemoryKv::default());
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(puts, deletes) => {
                    sled.apply(&puts, &deletes).unwrap();
                    memory.apply(&puts, &deletes).unwrap();
                    map.extend(puts);
                    for key in &deletes {
                        map.remove(key);
                    }
                }
                Step::Scan(prefix, after, limit) => {
                    let expected: Vec<Pair> = map
                        .iter()
                        .filter(|(k, _)| k.starts_with(&prefix))
                        .filter(|(k, _)| after.as_ref().is_none_or(|after| *k > after))
                        .take(limit)
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect();
                    let count = map.keys().filter(|k| k.starts_with(&prefix)).count();
                    for kv in [&sled as &dyn Kv, &memory] {
                        prop_assert_eq!(kv.scan(&prefix, after.as_deref(), limit).unwrap(), expected.clone());
                        prop_assert_eq!(kv.len_prefix(&prefix).unwrap(), count);
                    }
                }
            }
        }
    }
}
