//! Keys that no code runs yet, and those of triggers: the reader and the JSON Schema say the same of their values, and
//! they are part of what a DAG means.

use serde_json::{Value, json};
use tidemill_spec::keys::PLACES;
use tidemill_spec::{json_schema, meaning};

use crate::support::{catalog, good, load};
use crate::validate::is_valid;

/// Every key with values that it takes and values that it refuses, as YAML in one line.
const VALUES: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "dag",
        "triggers",
        &[
            "[{cron: '0 2 * * *', seconds: false}]",
            "[{every: 5m, catchup: all, catchup_window: 1d}, {at: '2026-12-31T23:00:00Z'}]",
            "[{dataset: a.b}, {dataset: {all: [a.b]}}, {file: {path: a}}, {dag: {name: x}}]",
            "[{webhook: {source: x}}, {stream: {kafka: {connection: shop, topic: t}}}]",
            "[{cron: '@daily', when: true, jitter: 1m, calendar: factory, enabled: false}]",
            "[{cron: '@daily', blackout: [{from: '22:00', to: '06:00', days: [sat]}]}]",
        ],
        &[
            "[]",
            "{cron: '0 2 * * *'}",
            "[{}]",
            "[{cron: 5}]",
            "[{cron: '@daily', every: 1h}]",
            "[{every: 5}]",
            "[{every: often}]",
            "[{cron: '@daily', catchup: last}]",
            "[{cron: '@daily', enabled: 'yes'}]",
            "[{cron: '@daily', blackout: [{from: '22:00'}]}]",
            "[{cron: '@daily', blackout: [{from: '22:00', to: '24:30'}]}]",
            "[{cron: '@daily', dst_fold: both}]",
            "[{cron: '@daily', params: [a]}]",
            "[{dataset: {any: []}}]",
            "[{dataset: {any: [a.b], all: [c.d]}}]",
            "[{dataset: A B}]",
            "[{file: {}}]",
            "[{dag: {name: x, states: [running]}}]",
            "[{webhook: {source: x, batch: {rows: 0}}}]",
            "[{stream: {kafka: {topic: t}}}]",
        ],
    ),
    (
        "trigger",
        "dataset",
        &["crm.b", "{all: [crm.b], consume: latest}"],
        &["A B", "{}", "[crm.b]"],
    ),
    ("trigger", "file", &["{path: 'in/*.csv'}", "{path: a}"], &["a", "{}", "{path: ''}"]),
    ("trigger", "dag", &["{name: crm}", "{name: x, states: [failed]}"], &["crm", "{states: []}"]),
    ("trigger", "webhook", &["{source: crm}", "{source: x, batch: {rows: 5}}"], &["crm", "{}"]),
    (
        "trigger",
        "stream",
        &["{kafka: {connection: shop, topic: t}}", "{kafka: {connection: shop, topic: u}}"],
        &["shop", "{}", "{kafka: {topic: t}}"],
    ),
    ("dag", "end", &["2026-12-31", "'2026-12-31T06:00:00'"], &["5", "[2026-12-31]"]),
    (
        "dag",
        "concurrency",
        &["3", "{limit: 2, overlap: replace, key: run.trigger}"],
        &["0", "many", "{limit: 0}", "{overlap: wait}", "{key: [a]}", "{most: 1}"],
    ),
    ("dag", "deadline", &["{within: 3h}"], &["3h", "{}", "{within: 3}", "{within: 3h, of: end}"]),
    (
        "dag",
        "retry",
        &["2", "{limit: 2, delay: 5s, when: true}"],
        &["-1", "often", "{limit: two}", "{limit: 1, wen: true}", "{limit: 1, when: [x]}"],
    ),
    ("dag", "timeout", &["2h"], &["5", "long"]),
    (
        "dag",
        "on_success",
        &["[{notify: ops}]", "[{run: [echo], timeout: 5s}]"],
        &["[]", "{notify: ops}", "[{notify: 5}]", "[{}]", "[{notify: ops, run: [echo]}]"],
    ),
    ("dag", "on_failure", &["[{notify: ops, when: true}]"], &["[{tasks: {a: {noop: }}}]", "[ops]"]),
    ("dag", "finally", &["[{noop: }]"], &["[{noop: , depends_on: [a]}]", "[{notfy: ops}]"]),
    ("dag", "auto_pause", &["{after_failures: 3}"], &["3", "{}", "{after_failures: 0}"]),
    ("modifier", "queue_timeout", &["5m"], &["5", "soon"]),
    ("modifier", "slots", &["2"], &["0", "1.5", "two"]),
    ("modifier", "priority", &["-2", "0"], &["1.5", "high", "[1]"]),
    (
        "modifier",
        "rate",
        &["{limit: 10, per: 1m}"],
        &["10", "10/1m", "{limit: 10}", "{limit: 0, per: 1m}", "{limit: 1, per: 1}"],
    ),
    ("modifier", "workdir", &["scripts", "'a/${{ run.id }}'"], &["5", "''", "[a]"]),
    ("modifier", "dataset", &["crm.customers"], &["5", "A B", "''"]),
    ("modifier", "engine", &["spark", "{connection: shop}"], &["flink", "{}", "{conection: shop}"]),
    ("modifier", "worker", &["gpu", "[gpu, big]"], &["5", "[]", "[A B]", "''"]),
    ("modifier", "depends_on_past", &["true", "false"], &["'yes'", "1"]),
    ("modifier", "on_failure", &["[{notify: ops}]"], &["ops", "[]", "[{notify: ops, retry: 1}]"]),
    ("modifier", "on_success", &["[{run: [echo]}]"], &["[{run: []}]", "[{for_each: [1]}]"]),
    ("modifier", "finally", &["[{notify: ops}]"], &["[{}]", "[{notify: [ops]}]"]),
    ("retry", "when", &["true", "error.kind == 'x'"], &["5", "[x]"]),
];

/// A DAG with the key, which is good but for its value.
fn dag(place: &str, key: &str, value: &str) -> String {
    let action = match key {
        "engine" => "transform: {sql: select 1 as a}",
        _ => "run: [echo]",
    };
    match place {
        "trigger" => format!("triggers: [{{{key}: {value}}}]\ntasks:\n  a: {{{action}}}\n"),
        "dag" => format!("{key}: {value}\ntasks:\n  a: {{{action}}}\n"),
        "modifier" => format!("tasks:\n  a:\n    {action}\n    {key}: {value}\n"),
        _ => format!("tasks:\n  a:\n    {action}\n    {place}: {{limit: 1, {key}: {value}}}\n"),
    }
}

#[test]
fn the_reader_and_the_schema_say_the_same() {
    let schema = json_schema(catalog());
    let is_good = |yaml: &str| {
        let value: Value = serde_yaml::from_str(yaml).expect("YAML");
        (load(yaml).dag.is_some(), is_valid(&schema, &schema, &value))
    };
    for (place, key, goods, bads) in VALUES {
        for value in *goods {
            let yaml = dag(place, key, value);
            assert_eq!(is_good(&yaml), (true, true), "{:?}\n{yaml}", load(&yaml).diagnostics);
        }
        for value in *bads {
            let yaml = dag(place, key, value);
            assert_eq!(is_good(&yaml), (false, false), "{yaml}");
        }
    }
}

#[test]
fn every_later_key_has_values_here_and_is_refused_where_it_would_run() {
    for (place, key) in PLACES.iter().flat_map(|(place, keys)| {
        keys.iter().filter(|key| key.later).map(move |key| (*place, key.name))
    }) {
        let found = VALUES.iter().find(|(p, k, ..)| (*p, *k) == (place, key));
        let (.., goods, _) = found.unwrap_or_else(|| panic!("values for `{key}` of {place}"));
        for value in *goods {
            let loaded = load(&dag(place, key, value));
            assert!(loaded.runnable().is_none(), "{key}: {value}");
            assert!(loaded.diagnostics.iter().any(|d| d.code == "TM0901"), "{key}: {value}");
        }
    }
}

#[test]
fn a_value_is_part_of_the_version_and_of_the_meaning() {
    let version = |yaml: &str| good(yaml).version.to_string();
    for (place, key, goods, _) in VALUES {
        let plain = version(&dag("dag", "x-nothing", "1").replace(
            "run: [echo]",
            if *key == "engine" { "transform: {sql: select 1 as a}" } else { "run: [echo]" },
        ));
        let with: Vec<String> =
            goods.iter().map(|value| version(&dag(place, key, value))).collect();
        assert!(!with.contains(&plain), "{key}");
        assert!(with.windows(2).all(|two| two[0] != two[1]), "{key}");
    }
    let dag = meaning(&good(
        "concurrency: 2\ntimeout: 120m\nretry: {limit: 1, when: \" error.kind == 'x' \"}\n\
         triggers: [{cron: ' 0  2 * * * ', jitter: 60s}]\n\
         tasks:\n  a: {run: [echo], worker: gpu, retry: {limit: 1, when: true}, slots: 2}\n",
    ));
    assert_eq!(dag["concurrency"], json!({"limit": 2}));
    assert_eq!(dag["timeout"], "2h");
    assert_eq!(dag["retry"]["when"], "error.kind == 'x'");
    assert_eq!(dag["triggers"], json!([{"cron": "0 2 * * *", "jitter": "1m"}]));
    let task = &dag["tasks"]["a"];
    assert_eq!((&task["worker"], &task["slots"]), (&json!(["gpu"]), &json!(2)));
    assert_eq!(task["retry.when"], "true");
}

#[test]
fn one_meaning_in_two_forms_is_one_version() {
    for (one, other) in [
        ("timeout: 60s", "timeout: 1m"),
        ("concurrency: 1", "concurrency: {limit: 1}"),
        ("end: 2026-12-31", "end: 2026-12-31T00:00:00Z"),
        ("deadline: {within: 1h, of: started}", "deadline: {of: started, within: 60m}"),
        ("triggers: [{at: 2026-01-01T01:00:00+01:00}]", "triggers: [{at: 2026-01-01T00:00:00Z}]"),
        ("retry: 2", "retry: {limit: 2, delay: 10s}"),
    ] {
        let version =
            |key: &str| good(&format!("{key}\ntasks: {{a: {{noop: }}}}\n")).version.clone();
        assert_eq!(version(one), version(other), "{one} | {other}");
    }
}

#[test]
fn a_dag_without_such_keys_keeps_its_version() {
    // As it was before there were such keys.
    let yaml = "dag: kept\nschedule: 0 2 * * *\ntasks:\n  a: {noop: }\n  b: {run: [echo], depends_on: [a], retry: 2}\n";
    assert_eq!(good(yaml).version.to_string(), "2c104fd0774034c66a584c80ebf0633d");
}
