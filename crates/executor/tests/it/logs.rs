//! What commands write: byte for byte, bounded, and without secrets.

use base64::Engine as _;
use tidemill_executor::logs::{self, AttemptLog, LogLimits, Stream};
use tidemill_model::{FailureKind, ReportOutcome};

use crate::house::{House, Plan, failure, run_id, until};
use crate::orders::{Job, Known, Wall, paths};

/// Reproducible bytes of every value.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_are_kept_as_they_are() {
    let house = House::new();
    let mut bytes = noise(3_000_000);
    bytes.extend_from_slice(b"\r\x00\x1b[31m\xff\xfe\r\n\n\n no newline at the end");
    std::fs::write(house.path().join("noise"), &bytes).unwrap();
    let (id, _) = house.done(Job::shell("cat noise; cat noise >&2", &[])).await;
    assert!(house.output(&id, Stream::Stdout) == bytes, "stdout differs");
    assert!(house.output(&id, Stream::Stderr) == bytes, "stderr differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_have_streams_and_the_log_ends() {
    let house = House::new();
    let (id, _) = house.done(Job::shell("echo one; echo two >&2; printf three", &[])).await;
    let page = logs::read(&house.log_path(&id), 0, 100).unwrap();
    let of = |stream| {
        let lines = page.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| line.text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Stdout), ["one", "three"]);
    assert_eq!(of(Stream::Stderr), ["two"]);
    assert_eq!(of(Stream::Tidemill).first(), Some(&"attempt 1 of `work`: run shell"));
    assert!(page.ended && page.dropped == 0);
    assert!(page.lines.iter().all(|line| line.at.as_micros() > 0));
    for behind in [page.next, page.next + 1, u64::MAX] {
        let again = logs::read(&house.log_path(&id), behind, 100).unwrap();
        assert_eq!((again.lines, again.ended), (vec![], true), "{behind}");
    }
    assert_eq!(logs::latest_attempt(&paths(house.path()).logs, &run_id(1), "work"), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_can_be_read_while_it_grows() {
    let house = House::new();
    let id = house
        .start(Job::shell("echo first; while [ ! -e go ]; do sleep 0.01; done; echo last", &[]));
    let path = house.log_path(&id);
    let texts = |from| {
        let page = logs::read(&path, from, 100).unwrap();
        let lines: Vec<String> = page.lines.iter().map(|line| line.text.clone()).collect();
        (lines, page.next, page.ended)
    };
    until("the first line", || texts(0).0.iter().any(|line| line == "first")).await;
    let (_, next, ended) = texts(0);
    assert!(!ended);
    house.put("go", "");
    house.report().await;
    let (lines, _, ended) = texts(next);
    assert!(ended && lines.iter().any(|line| line == "last"), "{lines:?}");
    assert!(!lines.iter().any(|line| line == "first"), "nothing comes twice: {lines:?}");
}

/// The bytes that a log takes, its index and its tail included.
fn size(house: &House) -> u64 {
    let folder = paths(house.path()).logs.join("shop/1");
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_keeps_its_head_and_its_tail() {
    let log = LogLimits { head_bytes: 200_000, tail_bytes: 100_000 };
    let house = House::of(Plan { log, ..Plan::default() });
    let (id, _) = house.done(Job::shell("seq 1 2000000", &[])).await;
    let (lines, ended) = house.lines(&id);
    assert!(ended);
    assert_eq!(lines[1], "1");
    assert!(lines.iter().any(|line| line == "2000000"), "the end is kept");
    assert!(lines.iter().any(|line| line.contains("bytes are left out here")));
    let written: u64 = (1..=2_000_000_u64).map(|n| n.to_string().len() as u64 + 1).sum();
    let kept = house.output(&id, Stream::Stdout).len() as u64;
    let page = logs::read(&house.log_path(&id), 0, usize::MAX).unwrap();
    assert!(size(&house) < 700_000, "{} bytes are kept", size(&house));
    let dropped = last_page(&house, &id, page).dropped;
    assert_eq!(kept + dropped, written, "every byte is kept or counted");
}

fn last_page(
    house: &House,
    id: &tidemill_model::AttemptId,
    mut page: logs::LogPage,
) -> logs::LogPage {
    while !page.ended {
        page = logs::read(&house.log_path(id), page.next, usize::MAX).unwrap();
    }
    page
}

#[test]
fn a_flood_of_tiny_pieces_is_bounded_with_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LogLimits { head_bytes: 20_000, tail_bytes: 10_000 };
    let log = AttemptLog::create(
        &folder.path().join("work.1.log"),
        limits,
        &Known(Vec::new()),
        std::sync::Arc::new(Wall),
    );
    for _ in 0..12_000 {
        log.output(Stream::Stdout, b"\n");
    }
    let bytes = || -> u64 {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(bytes() <= 41_000, "{} bytes are kept while it grows", bytes());
    drop(log);
    assert!(bytes() <= 41_000, "{} bytes are kept in the end", bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the tail's files are gone");
    let page = logs::read(&folder.path().join("work.1.log"), 0, usize::MAX).unwrap();
    assert!(page.ended && page.dropped > 0, "a log that is dropped has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_end_is_bounded_and_stalls_nobody() {
    let log = LogLimits { head_bytes: 1 << 20, tail_bytes: 1 << 20 };
    let house = House::of(Plan { log, ..Plan::default() });
    let flood = house.start(Job::argv(["head", "-c", "1000000000", "/dev/zero"]));
    let begun = memory();
    let others: Vec<_> = (0..20).map(|_| house.start(Job::argv(["true"]))).collect();
    let mut seen = Vec::new();
    while seen.len() < 21 {
        let report = house.report().await;
        assert!(matches!(report.outcome, ReportOutcome::Succeeded(_)), "{:?}", report.outcome);
        seen.push(report.id);
    }
    assert!(others.iter().all(|id| seen.contains(id)) && seen.contains(&flood));
    assert!(size(&house) < 4 << 20, "{} bytes are kept", size(&house));
    let grown = memory().saturating_sub(begun);
    assert!(grown < 256 << 20, "memory grew by {grown} bytes");
}

/// The memory that this process holds now, in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

const SECRETS: &[(&str, &str)] = &[("token", "s3cr3t/valué'x"), ("pin", "0123456789")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_masked_in_every_writing() {
    let secret = SECRETS[0].1;
    let std64 = base64::engine::general_purpose::STANDARD;
    let url64 = base64::engine::general_purpose::URL_SAFE;
    let percent: String = (secret.bytes())
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") }
        })
        .collect();
    for (what, written) in [
        ("as it is", secret.to_owned()),
        ("base64", std64.encode(secret)),
        ("base64 inside, 1", std64.encode(format!("u{secret}:more"))),
        ("base64 inside, 2", std64.encode(format!("us{secret}:more"))),
        ("url base64", url64.encode(format!("user:{secret}"))),
        ("hex", hex::encode(secret)),
        ("upper hex", hex::encode_upper(secret)),
        (
            "percent",
            percent
                .to_uppercase()
                .replace("S3CR3T", "s3cr3t")
                .replace("VALU", "valu")
                .replace('X', "x"),
        ),
        ("lower percent", percent),
        ("json", serde_json::to_string(secret).unwrap()),
        ("ascii json", "s3cr3t/valu\\u00e9'x".to_owned()),
        ("shell", secret.replace('\'', "'\\''")),
    ] {
        let house = House::of(Plan { secrets: SECRETS, ..Plan::default() });
        let (id, outcome) = house
            .run(Job {
                params: [("w".to_owned(), written.clone().into())].into_iter().collect(),
                ..Job::shell(
                    "printf '<%s>' \"$w\"; printf '<%s>\\n' \"$w\" >&2; exit 1",
                    &[("w", "params.w")],
                )
            })
            .await;
        let (kind, error) = failure(outcome);
        assert_eq!(kind, FailureKind::Exit);
        let log = std::fs::read(house.log_path(&id)).unwrap();
        for (place, text) in [("log", String::from_utf8_lossy(&log).into_owned()), ("error", error)]
        {
            assert!(text.contains("***"), "{what}: {place}: {text}");
            assert!(!text.contains(&written), "{what}: {place}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_masked_across_pieces() {
    let house = House::of(Plan { secrets: SECRETS, ..Plan::default() });
    let script =
        "printf 'a 0123'; sleep 0.05; printf '456'; sleep 0.05; printf '789 b\\n'; printf 0123";
    let (id, _) = house.done(Job::shell(script, &[])).await;
    assert_eq!(house.stdout(&id), "a *** b\n0123");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_the_command_that_asks() {
    let house = House::of(Plan { secrets: SECRETS, ..Plan::default() });
    let script = "[ \"$pin\" = 0123456789 ] && echo \"$pin\"";
    let (id, _) = house.done(Job::shell(script, &[("pin", "secrets.pin")])).await;
    assert_eq!(house.stdout(&id), "***\n");
    let (_, outcome) = house.run(Job::shell("true", &[("x", "secrets.nope")])).await;
    assert_eq!(
        failure(outcome),
        (FailureKind::Misconfigured, "there is no secret `nope`".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_lines_and_not_the_task() {
    let house = House::new();
    let path = logs::log_path(&paths(house.path()).logs, &run_id(1), "work", 1);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Every write to this device finds it full.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (id, _) = house.done(Job::argv(["seq", "1", "1000"])).await;
    let page = logs::read(&house.log_path(&id), 0, 100).unwrap();
    assert!(page.ended);
    let written: u64 = (1..=1_000_u64).map(|n| n.to_string().len() as u64 + 1).sum();
    assert!(page.dropped >= written, "{} bytes are counted as dropped", page.dropped);
}
