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

/// Whatever is looked up in a list of thousands is looked up thousands of times: with 40,000, each
/// of these took from three to twenty seconds. Here the expressions take the time, so they are few.
#[test]
fn thousands_of_names_used_thousands_of_times() {
    const COUNT: usize = 2_000;
    let env = |value: &dyn Fn(usize) -> String| -> String {
        let lines = (0..COUNT).map(|i| format!("      E{i}: ${{{{ {} }}}}\n", value(i)));
        format!("  z:\n    run: [env]\n    env:\n{}", lines.collect::<String>())
    };
    let each = |line: &dyn Fn(usize) -> String| (0..COUNT).map(line).collect::<String>();
    let params = each(&|i| format!("  p{i}: {{type: string, default: a}}\n"));
    good(&format!("params:\n{params}tasks:\n{}", env(&|i| format!("params.p{i}"))));
    let unknown = load(&format!("params:\n{params}tasks:\n{}", env(&|i| format!("params.q{i}"))));
    assert_eq!(unknown.diagnostics.len(), 201);
    good(&format!("tasks:\n  a: {{noop: {{}}}}\n{}", env(&|_| "tasks.a.attempts".to_owned())));
    let outputs = each(&|i| format!("      o{i}: string\n"));
    let command = format!("tasks:\n  a:\n    run: [b]\n    outputs:\n{outputs}");
    good(&format!("{command}{}", env(&|i| format!("tasks.a.outputs.o{i}"))));
}

#[test]
fn a_cycle_through_all_tasks() {
    const COUNT: usize = 20_000;
    let task = |i: usize| format!("  t{i}: {{noop: {{}}, depends_on: [t{}]}}\n", (i + 1) % COUNT);
    let loaded = load(&format!("tasks:\n{}", (0..COUNT).map(task).collect::<String>()));
    assert_eq!(loaded.diagnostics.len(), 1);
    assert!(loaded.diagnostics[0].help.as_ref().is_some_and(|help| help.len() < 1_000));
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
    // Counted before anything is kept, and at the same place.
    let keys = (0..300_000).fold(String::new(), |all, i| all + "  k" + &i.to_string() + ": 1\n");
    check_refused(&format!("x-a:\n{keys}"), "TM0002", "values");
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
