//! What a command is given: its words, its variables, and nothing else.

use serde_json::{Map, Value, json};
use tidemill_executor::logs::Stream;
use tidemill_model::{Action, FailureKind, ReportOutcome};

use crate::house::{House, failure};
use crate::orders::{Job, template};

/// Texts that a shell, a format or an expression would take for its own.
fn nasty() -> Vec<String> {
    let seeds = [
        "$(id)",
        "`id`",
        ";id",
        "|id",
        "&id",
        ">x",
        "<x",
        "*",
        "?",
        "~",
        "#",
        "!!",
        "\\",
        "\\n",
        "'",
        "\"",
        "'\"'\"'",
        "$HOME",
        "${HOME}",
        "--upload-pack",
        "-e",
        "{{7*7}}",
        "${{ params.a }}",
        "%s%n",
        "a\nb",
        "a\rb",
        "\t",
        " ",
        "",
        "é",
        "日本",
        "\u{202e}",
        "\u{1}",
        "\u{7f}",
        "=",
        "$'x'",
        "$((1))",
        "{a,b}",
        "[a]",
        "\n",
    ];
    (0..2_000)
        .map(|i| {
            let (a, b) = (seeds[i % seeds.len()], seeds[(i / seeds.len()) % seeds.len()]);
            format!("{a}{b}")
        })
        .collect()
}

fn params(texts: &[String]) -> Map<String, Value> {
    texts.iter().enumerate().map(|(i, text)| (format!("p{i}"), json!(text))).collect()
}

/// Every text followed by a zero byte, which none of them holds.
fn joined(texts: &[String]) -> String {
    texts.iter().flat_map(|text| [text.as_str(), "\0"]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_reach_a_program_byte_for_byte() {
    let house = House::new();
    let texts = nasty();
    let mut words = vec!["printf".to_owned(), "%s\\0".to_owned()];
    words.extend((0..texts.len()).map(|i| format!("${{{{ params.p{i} }}}}")));
    let (id, _) = house.done(Job { params: params(&texts), ..Job::argv(words) }).await;
    assert_eq!(house.stdout(&id), joined(&texts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_in_sql_are_never_read_as_sql() {
    // Some for every way in which SQL quotes, ends and comments.
    let more =
        ["' or '1'='1", "'; drop table t; --", "/* ", "--", "$p1", "$$", "E'\\\\'", "u&'\\0027'"];
    let texts: Vec<String> =
        nasty().into_iter().chain(more.iter().map(|text| (*text).to_owned())).collect();
    let house = House::new();
    for texts in texts.chunks(250) {
        let names: Vec<String> = (0..texts.len()).map(|i| format!("p{i}")).collect();
        let columns: Vec<String> = names.iter().map(|name| format!("${name} as {name}")).collect();
        let config = template(&json!(format!("select {}", columns.join(", "))));
        let outputs = vec![String::new()];
        let action = Action::Transform { kind: "sql".to_owned(), config, outputs };
        let (_, result) = house.done(Job { params: params(texts), ..Job::of(action) }).await;
        assert_eq!(house.rows(&result.tables[0]), [texts.join(" | ")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_of_a_script_are_not_read_by_the_shell() {
    let house = House::new();
    let texts = nasty();
    let names: Vec<String> = (0..texts.len()).map(|i| format!("v{i}")).collect();
    let exprs: Vec<String> = (0..texts.len()).map(|i| format!("params.p{i}")).collect();
    let lines: Vec<String> = names.iter().map(|n| format!("printf '%s\\0' \"${n}\"\n")).collect();
    let variables: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(exprs.iter().map(String::as_str)).collect();
    let (id, _) =
        house.done(Job { params: params(&texts), ..Job::shell(&lines.concat(), &variables) }).await;
    assert_eq!(house.stdout(&id), joined(&texts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn env_of_a_task_keeps_its_bytes() {
    let house = House::new();
    for text in nasty().into_iter().take(39) {
        let job = Job {
            params: Map::from_iter([("a".to_owned(), json!(text))]),
            env: vec![("GIVEN", json!("${{ params.a }}"))],
            ..Job::argv(["sh", "-c", "printf %s \"$GIVEN\""])
        };
        let (id, _) = house.done(job).await;
        assert_eq!(house.stdout(&id), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_byte_is_refused() {
    let house = House::new();
    let job = Job {
        params: Map::from_iter([("a".to_owned(), json!("x\0y"))]),
        ..Job::argv(["echo", "${{ params.a }}"])
    };
    let (_, outcome) = house.run(job).await;
    let (kind, text) = failure(outcome);
    assert_eq!(kind, FailureKind::Expression);
    assert!(text.contains("zero byte"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_what_is_allowed() {
    let house = House::new();
    // There must be something to keep back.
    assert!(std::env::vars().any(|(name, _)| name == "SHELL" || name.starts_with("CARGO")));
    let job = Job { env: vec![("MINE", json!("1"))], ..Job::argv(["env", "-0"]) };
    let (id, _) = house.done(job).await;
    let text = house.stdout(&id);
    let own = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "MINE"];
    for name in text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name) {
        let known = own.contains(&name) || name.starts_with("LC_") || name.starts_with("TIDEMILL_");
        assert!(known, "`{name}` was passed on");
    }
    for wanted in [
        "MINE=1",
        "TIDEMILL_DAG=shop",
        "TIDEMILL_RUN_ID=shop.1",
        "TIDEMILL_TASK=work",
        "TIDEMILL_ATTEMPT=1",
        "TIDEMILL_INTERVAL_START=2026-01-01T00:00:00Z",
        "TIDEMILL_INTERVAL_END=2026-01-02T00:00:00Z",
        "TIDEMILL_LOGICAL_TIME=2026-01-01T00:00:00Z",
    ] {
        assert!(text.split('\0').any(|entry| entry == wanted), "{wanted} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_beside_the_dag_without_input_or_terminal() {
    let house = House::new();
    let script = "pwd -P; cat; (: </dev/tty) 2>/dev/null || echo no terminal";
    let (id, _) = house.done(Job::shell(script, &[])).await;
    let folder = house.path().canonicalize().unwrap();
    assert_eq!(house.stdout(&id), format!("{}\nno terminal\n", folder.display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_in_the_folder_that_is_asked_for() {
    let house = House::new();
    std::fs::create_dir_all(house.path().join("scripts/eu")).unwrap();
    let region = |value: &str| Map::from_iter([("region".to_owned(), json!(value))]);
    let job = |region: Map<String, Value>| Job {
        params: region,
        workdir: Some(json!("scripts/${{ params.region }}")),
        ..Job::shell("pwd", &[])
    };
    let (id, _) = house.done(job(region("eu"))).await;
    let folder = std::fs::canonicalize(house.path().join("scripts/eu")).unwrap();
    assert_eq!(house.stdout(&id).trim(), folder.display().to_string());
    for (value, expected) in [
        ("us", "scripts/us` is not there (`workdir` of task `work`)"),
        ("../..", "`scripts/../..` leads out of the folder of the DAG (`workdir` of task `work`)"),
    ] {
        let (kind, text) = failure(house.run(job(region(value))).await.1);
        assert_eq!(kind, FailureKind::Misconfigured);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_open_file_of_ours_is_passed_on() {
    let house = House::new();
    house.put("ours", "");
    let _open = std::fs::File::open(house.path().join("ours")).unwrap();
    let (id, _) = house.done(Job::argv(["ls", "-l", "/proc/self/fd"])).await;
    let text = house.stdout(&id);
    assert!(text.contains(" 1 -> pipe:"), "{text}");
    assert!(!text.contains("/ours") && !text.contains("processes"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes() {
    async fn check(script: &str, expected: &str) {
        let house = House::new();
        let (_, outcome) = house.run(Job::shell(script, &[])).await;
        let said = match outcome {
            ReportOutcome::Succeeded(_) => "succeeded".to_owned(),
            ReportOutcome::Failed(error) => format!("{:?}: {}", error.kind, error.message),
            ReportOutcome::Skipped(reason) => format!("skipped: {reason}"),
            ReportOutcome::Cancelled => "cancelled".to_owned(),
            ReportOutcome::Interrupted => "interrupted".to_owned(),
            ReportOutcome::Lost(cause) => format!("lost: {cause:?}"),
        };
        assert_eq!(said, expected, "{script}");
    }
    check("exit 0", "succeeded").await;
    check("exit 3", "Exit: ended with code 3").await;
    check("exit 99", "skipped: the command ended with code 99").await;
    check(
        "echo a >&2; echo ' the reason ' >&2; echo >&2; exit 1",
        "Exit: ended with code 1: the reason",
    )
    .await;
    check("echo only out; false; echo never", "Exit: ended with code 1").await;
    check(
        "echo $no_such_variable",
        "Exit: ended with code 2: /bin/sh: 1: no_such_variable: parameter not set",
    )
    .await;
    check("kill -9 $$", "Signal: was ended by signal KILL (perhaps for want of memory)").await;
    check("kill -TERM $$", "Signal: was ended by signal TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there() {
    let house = House::new();
    let (id, outcome) = house.run(Job::argv(["no-such-program-here", "--x"])).await;
    let (kind, text) = failure(outcome);
    assert_eq!(kind, FailureKind::Exit);
    assert!(text.contains("code 127: cannot start `no-such-program-here`"), "{text}");
    assert!(!house.output(&id, Stream::Stderr).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_gone_fails_its_task_alone() {
    let house = House::new();
    let gone = house.path().join("gone");
    house.executor.start(Job::argv(["true"]).order(&gone, 1));
    let (kind, text) = failure(house.report().await.outcome);
    assert_eq!(kind, FailureKind::Misconfigured);
    assert!(text.contains("gone` of the DAG is not there"), "{text}");
    house.executor.start(Job::argv(["true"]).order(house.path(), 2));
    assert!(matches!(house.report().await.outcome, ReportOutcome::Succeeded(_)));
}

/// Whatever commands do, the server that all other runs wait for goes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_stands_behind_the_server() {
    let house = House::new();
    let (id, _) = house.done(Job::shell("nice; cat /proc/self/autogroup || true", &[])).await;
    let output = String::from_utf8(house.output(&id, Stream::Stdout)).unwrap();
    let own = rustix::process::nice(0).unwrap();
    let wanted = (own + 10).min(19);
    let (nice, group) = output.split_once('\n').unwrap();
    assert_eq!(nice, wanted.to_string());
    // A kernel without groups of sessions has no such file. Those who are not root may set the
    // weight of a session ten times a second, and other tests do so, too.
    if rustix::process::geteuid().is_root() && !group.is_empty() {
        assert!(group.trim_end().ends_with(" nice 10"), "{group}");
    }
}
