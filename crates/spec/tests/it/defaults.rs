//! `_defaults.yaml`: what the DAGs of a folder have unless they say otherwise.

use std::path::Path;
use std::time::Duration;

use tidemill_model::trigger_rule::TriggerRule;
use tidemill_spec::{Loaded, Nobody, SourceText, load_dag_with};

use crate::support::catalog;

fn load(defaults: &str, yaml: &str) -> Loaded {
    let source = |path, text| SourceText { path: Path::new(path), text };
    let defaults = source("dags/_defaults.yaml", defaults);
    load_dag_with(source("dags/shop.yaml", yaml), Some(defaults), catalog(), &Nobody)
}

/// Each finding in one line.
fn found(defaults: &str, yaml: &str) -> Vec<String> {
    let loaded = load(defaults, yaml);
    assert_eq!(loaded.dag.is_none(), loaded.diagnostics.iter().any(|d| d.blocks_run));
    let shown = loaded.diagnostics.iter();
    shown.map(|d| format!("{}:{}:{} {} {}", d.file, d.line, d.column, d.code, d.message)).collect()
}

const DEFAULTS: &str = "
owner: shop-data
tags: [shop]
timezone: Europe/Zurich
x-note: free
defaults:
  retry: {limit: 3, delay: 1s}
  timeout: 5m
  pool: loads
  env: {A: folder, N: 1, C: folder}
";

#[test]
fn a_dag_has_what_its_folder_has_and_its_own_goes_first() {
    let plain = load(DEFAULTS, "tasks:\n  a: {run: [x]}\n").dag.expect("a DAG");
    assert_eq!(
        (plain.owner.as_deref(), plain.tags.as_slice()),
        (Some("shop-data"), &["shop".to_owned()][..])
    );
    assert_eq!(plain.timezone.name(), "Europe/Zurich");
    let task = &plain.tasks()[0];
    assert_eq!((task.retry.limit, task.timeout), (3, Some(Duration::from_mins(5))));
    assert_eq!((task.pool.as_str(), task.trigger_rule), ("loads", TriggerRule::AllSuccess));
    let env = |task: &tidemill_model::Task| {
        let shown = task.env.iter().map(|(name, value)| {
            let value = value.render(&serde_json::Map::new()).expect("a text");
            format!("{name}={}", value.as_str().unwrap_or_default())
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(env(task), "A=folder N=1 C=folder");

    let own = "
owner: me
tags: []
timezone: UTC
defaults: {retry: {limit: 1}, env: {A: file}, pool: default}
tasks:
  a: {run: [x], env: {C: task}, timeout: 1s}
";
    let own = load(DEFAULTS, own).dag.expect("a DAG");
    assert_eq!((own.owner.as_deref(), own.tags.len()), (Some("me"), 0));
    assert_eq!(own.timezone.name(), "UTC");
    let task = &own.tasks()[0];
    // Keys of `retry` take precedence one by one.
    assert_eq!((task.retry.limit, task.retry.delay), (1, Duration::from_secs(1)));
    assert_eq!((task.timeout, task.pool.as_str()), (Some(Duration::from_secs(1)), "default"));
    assert_eq!(env(task), "A=file N=1 C=task");
}

#[test]
fn which_failures_are_tried_again_may_be_said_for_the_folder() {
    let later = "2:32 TM0901 this version cannot run `when` yet";
    let defaults =
        |when: &str| format!("defaults:\n  retry: {{limit: 3, delay: 1s, when: {when}}}\n");
    let dag = "tasks:\n  a: {run: [x]}\n  b: {noop: , retry: {when: false}}\n";
    let good = load(&defaults("error.kind == 'x'"), dag).dag.expect("a DAG");
    let when =
        |at: usize| good.tasks()[at].forms["retry.when"].as_str().unwrap_or_default().to_owned();
    assert_eq!((when(0), when(1)), ("error.kind == 'x'".to_owned(), "false".to_owned()));
    let found = found(&defaults("error =="), "tasks:\n  a: {run: [x]}\n");
    assert_eq!(found[0], format!("dags/_defaults.yaml:{later}"));
    assert!(found[1].starts_with("dags/_defaults.yaml:2:"), "{}", found[1]);
    assert!(found[1].contains("TM0201 the expression does not parse"), "{}", found[1]);
}

#[test]
fn what_they_mean_is_part_of_the_version() {
    let yaml = "tasks:\n  a: {run: [x]}\n";
    let version = |defaults| load(defaults, yaml).dag.expect("a DAG").version.clone();
    assert_eq!(version(""), version("# nothing\n"));
    assert_eq!(
        version("defaults: {retry: 3}"),
        version("x-a: 1\ndefaults:\n  retry: {limit: 3}\n")
    );
    assert_ne!(version("defaults: {retry: 3}"), version("defaults: {retry: 2}"));
}

#[test]
fn what_is_wrong_is_told_at_its_own_place() {
    let yaml = "tasks:\n  a: {run: [x]}\n";
    let check = |defaults: &str, expected: &[&str]| assert_eq!(found(defaults, yaml), expected);
    check(
        "ownr: me\ndefaults: {retri: 3, env: {A: \"${{ params.a }}\"}}\ntasks: {}\n",
        &[
            "dags/_defaults.yaml:1:1 TM0101 `_defaults.yaml` has no key `ownr`",
            "dags/_defaults.yaml:2:12 TM0101 `defaults` has no key `retri`",
            "dags/_defaults.yaml:2:31 TM0112 variable `A` holds an expression, which only a DAG can",
            "dags/_defaults.yaml:3:1 TM0101 `_defaults.yaml` has no key `tasks`",
        ],
    );
    check("[a]", &["dags/_defaults.yaml:1:1 TM0103 the file is a list, not a mapping"]);
    check(
        "a: b: c",
        &[
            "dags/_defaults.yaml:1:5 TM0001 this is not YAML: the value of `a` holds a `:` with a space behind it",
        ],
    );
    check(
        "defaults: {pool: nowhere}",
        &["dags/shop.yaml:2:3 TM0116 task `a` uses the pool `nowhere`, which does not exist"],
    );
}
