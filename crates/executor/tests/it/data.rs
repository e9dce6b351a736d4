//! Rows through real connectors and the real engine.

use serde_json::{Map, Value, json};
use tidemill_model::dag::{Check, CheckRule, OnFail, ParamKind};
use tidemill_model::effect::RunTask;
use tidemill_model::{Action, Counts, FailureKind, ReportOutcome, TableRef, TaskResult, TaskState};

use crate::house::{House, Plan, failure};
use crate::orders::{Job, template};

const ORDERS: &str = "id,customer,amount\n1,ann,10\n2,bob,-5\n3,ann,7\n4,,1\n";

fn ingest(config: &Value) -> Job {
    Job::of(Action::Ingest { connector: "csv".to_owned(), config: template(config) })
}

fn sql(config: &Value, table: &TableRef) -> Job {
    let config = template(config);
    let action = Action::Transform { kind: "sql".to_owned(), config, outputs: vec![String::new()] };
    Job { inputs: vec![("orders".to_owned(), table.clone())], ..Job::of(action) }
}

fn check(rule: CheckRule, on_fail: OnFail) -> Check {
    Check { rule, on_fail }
}

fn table<'a>(result: &'a TaskResult, name: &str) -> &'a TableRef {
    result.tables.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("{result:?}"))
}

async fn orders(house: &House) -> TableRef {
    house.put("orders.csv", ORDERS);
    let (_, result) = house.done(ingest(&json!({"path": "orders.csv"}))).await;
    table(&result, "work").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_file_to_table_to_file() {
    let house = House::new();
    let orders = orders(&house).await;
    assert_eq!(orders.rows, 4);
    let query = "select customer, sum(amount) as total from orders where amount > $low group by customer order by customer";
    let mut job = sql(&json!(query), &orders);
    job.params = Map::from_iter([("low".to_owned(), json!(0))]);
    let (_, result) = house.done(job).await;
    assert_eq!(result.counts, Counts { rows_in: 4, rows_out: 2, ..Counts::default() });
    let totals = table(&result, "work").clone();
    assert_eq!(house.rows(&totals), ["ann | 17", " | 1"].map(String::from).to_vec().tap_sorted());
    let load =
        Action::Load { connector: "csv".to_owned(), config: template(&json!({"path": "out.csv"})) };
    let job = Job { inputs: vec![("totals".to_owned(), totals)], ..Job::of(load) };
    let (id, result) = house.done(job).await;
    assert_eq!(result.counts, Counts { rows_in: 2, rows_out: 2, ..Counts::default() });
    assert!(house.get("out.csv").contains("ann,17"), "{}", house.get("out.csv"));
    assert!(house.log(&id).contains("published 2 rows"), "{}", house.log(&id));
}

/// Order in which the engine puts nulls is not the matter here.
trait TapSorted {
    fn tap_sorted(self) -> Self;
}

impl TapSorted for Vec<String> {
    fn tap_sorted(mut self) -> Self {
        self.sort_by_key(|text| text.starts_with(" |"));
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_read_are_set_aside_and_counted() {
    let house = House::new();
    house.put("orders.csv", "id,amount\n1,10\n2,ten\n3,30\n4\n");
    let config = json!({"path": "orders.csv", "columns": {"id": "int64", "amount": "int64"}, "on_bad_row": "quarantine"});
    let (_, result) = house.done(ingest(&config)).await;
    assert_eq!((result.counts.rows_in, result.counts.rows_out), (4, 2));
    assert_eq!(result.counts.rejected_total(), 2);
    let bad = house.rows(table(&result, "work.bad_rows"));
    assert_eq!(bad.len(), 2);
    assert!(bad[0].contains("orders.csv | 3 | amount | ten | 2,ten"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_stops_with_its_place() {
    let house = House::new();
    house.put("orders.csv", "id,amount\n1,10\n2,ten\n");
    let config = json!({"path": "orders.csv", "columns": {"id": "int64", "amount": "int64"}});
    let (kind, text) = failure(house.run(ingest(&config)).await.1);
    assert_eq!(kind, FailureKind::Data);
    assert!(text.contains("orders.csv") && text.contains('3') && text.contains("ten"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing() {
    let house = House::new();
    let (kind, text) = failure(house.run(ingest(&json!({"path": "none.csv"}))).await.1);
    assert_eq!(kind, FailureKind::Misconfigured);
    assert!(text.contains("none.csv"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_quarantine_then_stop_or_warn() {
    let house = House::new();
    house.put("orders.csv", ORDERS);
    let with = |checks| Job { checks, ..ingest(&json!({"path": "orders.csv"})) };
    let positive = || check(CheckRule::Where("amount >= 0".to_owned()), OnFail::Quarantine);
    let (_, result) = house.done(with(vec![positive()])).await;
    assert_eq!((result.counts.rows_in, result.counts.rows_out), (4, 3));
    assert_eq!(result.counts.rejected, [("where(amount >= 0)".to_owned(), 1)]);
    assert_eq!(house.rows(table(&result, "work")).len(), 3);
    assert_eq!(house.rows(table(&result, "work.rejects")).len(), 1);

    let few = check(CheckRule::Rows { min: Some(4), max: None }, OnFail::Stop);
    let (kind, _) = failure(house.run(with(vec![positive(), few])).await.1);
    assert_eq!(kind, FailureKind::Check, "three rows survive, four are wanted");

    let warn = check(CheckRule::NotNull(vec!["customer".to_owned()]), OnFail::Warn);
    let (id, result) = house.done(with(vec![warn])).await;
    assert_eq!(result.warnings.len(), 1, "{result:?}");
    assert!(house.log(&id).contains("warning: "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_sees_params_binds_secrets_and_the_interval() {
    let house = House::of(Plan { secrets: &[("key", "0123456789")], ..Plan::default() });
    let orders = orders(&house).await;
    let query = "select cast($since < interval_end as boolean) as a, $day as day, $key as key, $n as n, \
                 $run_id as run from (select $interval_end as interval_end from orders limit 1)";
    let mut job = sql(&json!(query), &orders);
    job.kinds = vec![("since", ParamKind::Timestamp), ("day", ParamKind::Date)];
    job.params = Map::from_iter([
        ("since".to_owned(), json!("2026-01-01T10:00:00Z")),
        ("day".to_owned(), json!("2026-02-03")),
    ]);
    job.bind = vec![("key", "secrets.key"), ("n", "1 + 2")];
    let (id, result) = house.done(job).await;
    assert_eq!(house.rows(table(&result, "work")), ["true | 2026-02-03 | 0123456789 | 3 | shop.2"]);
    assert!(!house.log(&id).contains("0123456789"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_that_is_wrong_says_what_is_there() {
    let house = House::new();
    let orders = orders(&house).await;
    let (kind, text) =
        failure(house.run(sql(&json!("select Amount from orders"), &orders)).await.1);
    assert_eq!(kind, FailureKind::Misconfigured);
    assert!(text.contains("did you mean `amount`"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_table() {
    let house = House::new();
    let orders = orders(&house).await;
    let counts =
        Counts { rows_in: 5, rows_out: 3, duplicates: 1, rejected: vec![("bad".into(), 1)] };
    let row = RunTask { task: "orders".into(), state: TaskState::Succeeded, attempts: 2, counts };
    let mut job = sql(&json!("select * from run_tasks"), &orders);
    job.run_tasks = Some(vec![row]);
    let (_, result) = house.done(job).await;
    let expected = "orders | succeeded | 2 | 5 | 3 | 1 | 1 | {\"bad\":1}";
    assert_eq!(house.rows(table(&result, "work")), [expected]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_table_has_no_rows() {
    let house = House::new();
    let orders = orders(&house).await;
    let query = "select o.id, r.why from orders o left join r on r.id = cast(o.id as varchar)";
    let with = |table: &str| Job {
        skipped: vec![("r".to_owned(), table.to_owned())],
        ..sql(&json!(query), &orders)
    };
    let (id, result) = house.done(with("returns")).await;
    assert_eq!(house.rows(table(&result, "work")), ["1 | ", "2 | ", "3 | ", "4 | "]);
    assert!(house.log(&id).contains("`returns` has no rows: its task was skipped"));
    let (kind, text) = failure(house.run(with("others")).await.1);
    assert_eq!(kind, FailureKind::Misconfigured);
    assert!(text.contains("`others` has no rows") && text.contains("declare them"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_get_tables_as_files() {
    let house = House::new();
    let orders = orders(&house).await;
    let script = "cp \"$TIDEMILL_INPUT_ORDERS\" copy.arrow; dirname \"$TIDEMILL_INPUT_ORDERS\"";
    let inputs = vec![("orders".to_owned(), orders)];
    let (id, _) = house.done(Job { inputs, ..Job::shell(script, &[]) }).await;
    let file = std::fs::File::open(house.path().join("copy.arrow")).unwrap();
    let reader = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 4);
    assert!(!std::path::Path::new(house.stdout(&id).trim()).exists(), "the files go with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_large_and_small_are_the_same_to_read() {
    let house = House::new();
    for rows in [10_u64, 200_000] {
        let row = |n: u64| format!("{n},{}\n", n * 7_919 % 100_003);
        let lines: Vec<String> = (0..rows).map(row).collect();
        house.put("many.csv", &format!("n,v\n{}", lines.concat()));
        let (_, result) = house.done(ingest(&json!({"path": "many.csv"}))).await;
        let stored = table(&result, "work");
        let file = house
            .path()
            .join("tables")
            .join(&stored.hash[..2])
            .join(format!("{}.arrow", stored.hash));
        assert_eq!(file.exists(), rows > 10, "small ones travel, large ones are files");
        let read = house.rows(stored);
        assert_eq!(read.len() as u64, rows);
        assert_eq!(read[9], "9 | 71271");
        let (_, again) = house.done(ingest(&json!({"path": "many.csv"}))).await;
        assert_eq!(table(&again, "work"), stored, "the same rows have the same hash");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_of_tables_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let tables = folder.path().join("tables");
    std::fs::create_dir_all(&tables).unwrap();
    std::fs::write(tables.join("1-0.tmp"), "half a table").unwrap();
    std::fs::write(tables.join("kept"), "no business of ours").unwrap();
    let slab = std::sync::Arc::default();
    let config = crate::orders::config(
        folder.path(),
        std::path::Path::new(env!("CARGO_BIN_EXE_tidemill-exec-test")),
        &slab,
        &[],
        std::time::Duration::ZERO,
        tidemill_executor::logs::LogLimits::default(),
    );
    tidemill_executor::Executor::new(config, std::sync::Arc::new(|_| {})).unwrap();
    assert!(!tables.join("1-0.tmp").exists() && tables.join("kept").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noop_reports_at_once() {
    let house = House::new();
    let (_, outcome) = house.run(Job::of(Action::Noop)).await;
    assert!(matches!(outcome, ReportOutcome::Succeeded(_)));
    assert!(!house.path().join("logs/shop").exists(), "nothing is written for it");
}
