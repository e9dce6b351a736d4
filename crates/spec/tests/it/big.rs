//! Large files.

use std::fmt::Write as _;

use crate::support::{good, load};

/// A file of `count` tasks, each with SQL over the table before it.
fn chain(count: usize) -> String {
    let mut yaml = String::from("tasks:\n  t0: {ingest: {csv: {path: a.csv}}}\n");
    for i in 1..count {
        let before = i - 1;
        let _ = write!(
            yaml,
            "  t{i}:\n    transform:\n      sql: |\n        select *, $run_id as run\n        from t{before}\n    \
             when: tasks.t{before}.rows > 0\n    retry: {{limit: 3, delay: 5s}}\n"
        );
    }
    yaml
}

#[test]
fn twenty_thousand_tasks() {
    let dag = good(&chain(20_000));
    assert_eq!(dag.tasks().len(), 20_000);
    assert_eq!(dag.order().len(), 20_000);
    assert!(dag.tasks().iter().skip(1).all(|task| task.upstream.len() == 1));
}

#[test]
fn one_task_after_many() {
    let mut yaml = String::from("tasks:\n");
    let names: Vec<String> = (0..10_000).map(|i| format!("t{i}")).collect();
    for name in &names {
        let _ = writeln!(yaml, "  {name}: {{noop: {{}}}}");
    }
    let _ = writeln!(yaml, "  end: {{noop: {{}}, depends_on: [{}]}}", names.join(", "));
    let dag = good(&yaml);
    assert_eq!(dag.tasks().last().map(|task| task.upstream.len()), Some(10_000));
}

#[test]
fn a_mistake_in_every_task_is_cut_off() {
    let yaml = chain(20_000).replace("from t", "from u");
    let loaded = load(&yaml);
    assert!(loaded.dag.is_none());
    assert_eq!(loaded.diagnostics.len(), 201);
    assert_eq!(loaded.diagnostics.last().map(|d| d.code), Some("TM0012"));
}

fn check_refused(yaml: &str, code: &str, words: &str) {
    let loaded = load(yaml);
    let found: Vec<&str> = loaded.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(found, [code], "{words}");
    assert!(loaded.diagnostics[0].message.contains(words), "{}", loaded.diagnostics[0].message);
}

#[test]
fn limits() {
    check_refused(&"# a comment\n".repeat(800_000), "TM0002", "MiB");
    check_refused(&format!("x-a: [{}]\n", "1,".repeat(500_001)), "TM0002", "values");
    check_refused(&format!("x-a: {}{}", "[".repeat(65), "]".repeat(65)), "TM0002", "levels");
    let aliases = format!("x-a: &a 1\nx-b: [{}]\n", "*a,".repeat(101));
    check_refused(&aliases, "TM0009", "more than 100 aliases");
    let mut bomb = String::from("x-0: &a0 [1,1,1,1,1,1,1,1,1]\n");
    for i in 1..10 {
        let before = i - 1;
        let _ = writeln!(bomb, "x-{i}: &a{i} [{}]", vec![format!("*a{before}"); 9].join(","));
    }
    check_refused(&bomb, "TM0002", "values");
    let script = format!("tasks: {{a: {{run: \"{}\"}}}}", "echo a;".repeat(10_000));
    check_refused(&script, "TM0602", "KiB");
}
