//! The REST API: every route, its limits, its refusals.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use tidemill_server::reference::ROUTES;
use tidemill_server::{Permission, site};

use crate::support::{
    PORT, TOKEN, ask, closed_site, example, get, live_example, options, post, post_with, request,
    site as usual,
};
use crate::world::world;

/// The body with which a route works.
fn body(path: &str) -> &'static str {
    let takes_path = path.ends_with("/run-file") || path.ends_with("/backup");
    if takes_path {
        "{\"path\": \"/dags/a.yaml\"}"
    } else if path.ends_with("/sql") {
        "{\"sql\": \"select 1\"}"
    } else if path.ends_with("/answer") {
        "{\"approved\": true}"
    } else {
        "{}"
    }
}

#[tokio::test]
async fn every_route_answers_its_method_and_no_other() {
    let (site, _) = usual();
    let bearer = format!("Bearer {TOKEN}");
    let paths: Vec<&str> = site.table.iter().map(|route| route.path).collect();
    for route in &site.table {
        let path = live_example(route.path);
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"] {
            let method: Method = method.parse().expect("a method");
            let also = site.table.iter().any(|r| r.path == route.path && r.method == method);
            let get = site.table.iter().any(|r| r.path == route.path && r.method == Method::GET);
            let works = also || (method == Method::HEAD && get);
            let request = request(&method, &path)
                .header("content-type", "application/json")
                .header("authorization", &bearer)
                .body(Body::from(if method == Method::POST { body(&path) } else { "" }));
            let answer = ask(&site.router, request.expect("a request")).await;
            if works {
                assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
            } else {
                assert_eq!(answer.status, 405, "{method} {path}");
            }
        }
    }
    assert!(paths.len() > 25, "{paths:?}");
}

#[tokio::test]
async fn no_route_is_without_its_gate() {
    let site = closed_site();
    let mut open: Vec<&str> = Vec::new();
    for route in &site.table {
        let path = example(route.path);
        let answer = if route.method == Method::POST {
            post(&site.router, &path, body(&path)).await
        } else {
            get(&site.router, &path).await
        };
        match route.permission {
            Permission::Public => open.push(route.path),
            _ => assert_eq!(answer.status, 401, "{} {path}", route.method),
        }
    }
    open.sort_unstable();
    assert_eq!(open, ["/health", "/static/{file}"]);
}

#[tokio::test]
async fn dags_are_listed_and_shown() {
    let (site, _) = usual();
    let dags = get(&site.router, "/api/v1/dags").await.json();
    let ids: Vec<&str> =
        dags["items"].as_array().expect("a list").iter().filter_map(|d| d["id"].as_str()).collect();
    let expected =
        "fan_out hello inventory-sync orders_daily personalize regions release returns wide"
            .split(' ');
    assert_eq!(ids, expected.collect::<Vec<_>>());
    let orders = get(&site.router, "/api/v1/dags/orders_daily").await.json();
    assert_eq!(orders["schedule"], "0 2 * * *");
    assert_eq!(orders["next_tick"], "2026-11-25T02:00:00Z");
    assert_eq!(
        orders["recent"][0],
        json!({
            "id": "orders_daily.21", "state": "failed", "created_at": "2026-11-24T02:00:00Z",
            "duration_ms": orders["recent"][0]["duration_ms"],
        })
    );
    assert_eq!(orders["params"]["region"]["type"], "string");
    assert_eq!(
        orders["definition"][3]["upstream"][0],
        json!({
            "task": "clean_orders", "why": ["reads table clean_orders"],
        })
    );
    let broken = get(&site.router, "/api/v1/dags/returns").await.json();
    assert_eq!(broken["diagnostics"][0]["code"], "TM0107");
    assert_eq!(broken["version"], Value::Null);
}

#[tokio::test]
async fn dags_come_in_pages_that_fit_together() {
    let mut fake = world(None);
    // A file from which no name can be read, below a folder with a long name.
    let mut nameless = fake.dags[0].clone();
    nameless.view.id = None;
    nameless.view.file = format!("{}/x.yaml", "folder/".repeat(100)).into();
    fake.dags.insert(0, nameless);
    let site = site(std::sync::Arc::new(fake), &options(), PORT);
    let whole = get(&site.router, "/api/v1/dags").await.json()["items"].clone();
    assert_eq!(whole.as_array().map(Vec::len), Some(10));
    for limit in 1..10 {
        let mut items = Vec::new();
        let mut path = format!("/api/v1/dags?limit={limit}");
        loop {
            let page = get(&site.router, &path).await.json();
            let found = page["items"].as_array().expect("a list");
            assert!((1..=limit).contains(&found.len()), "{limit}: {page}");
            items.extend(found.clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/v1/dags?limit={limit}&after={next}");
        }
        assert_eq!(Value::Array(items), whole, "{limit}");
    }
    // A DAG that is gone by now is a place all the same.
    let after = "WyJoIiwiIl0"; // ["h",""]
    let page = get(&site.router, &format!("/api/v1/dags?limit=1&after={after}")).await.json();
    assert_eq!(page["items"][0]["id"], "hello");
    for after in ["AAAA", "!", "W10"] {
        assert_eq!(get(&site.router, &format!("/api/v1/dags?after={after}")).await.status, 400);
        assert_eq!(get(&site.router, &format!("/dags?after={after}")).await.status, 400);
    }
}

#[tokio::test]
async fn a_run_tells_everything_about_its_tasks() {
    let (site, _) = usual();
    let run = get(&site.router, "/api/v1/runs/orders_daily.21").await.json();
    assert_eq!(run["state"], "failed");
    assert_eq!(
        run["trigger"],
        json!({"by": "schedule", "tick": "2026-11-24T02:00:00Z", "trigger": "cron 0 2 * * *"})
    );
    assert_eq!(run["tasks_by_state"], json!({"succeeded": 5, "failed": 1, "upstream_failed": 1}));
    let report = &run["tasks"][5];
    assert_eq!(report["name"], "report");
    assert_eq!(report["upstream"], json!(["warehouse"]));
    assert_eq!(report["error"]["kind"], "exit");
    assert_eq!(report["history"][1]["outcome"], "lost");
    let clean = &run["tasks"][2];
    assert_eq!(clean["rejected"][0]["reason"], "no_customer");
    let rejected: u64 = clean["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["rows"].as_u64())
        .sum();
    let sum =
        clean["rows_out"].as_u64().unwrap() + clean["duplicates"].as_u64().unwrap() + rejected;
    assert_eq!(clean["rows_in"].as_u64(), Some(sum));
    assert_eq!(clean["tables"][1]["name"], "clean_orders.rejects");
}

#[tokio::test]
async fn runs_come_in_pages_that_fit_together() {
    let (site, fake) = usual();
    let mut ids = Vec::new();
    let mut path = "/api/v1/runs?limit=4".to_owned();
    loop {
        let page = get(&site.router, &path).await.json();
        let items = page["items"].as_array().expect("a list").clone();
        assert!(items.len() <= 4);
        ids.extend(items.iter().map(|run| run["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/runs?limit=4&after={next}"),
            None => break,
        }
    }
    let mut all: Vec<_> =
        fake.runs.iter().map(|run| (run.head.created_at, run.head.id.clone())).collect();
    all.sort_by(|a, b| b.cmp(a));
    let all: Vec<String> = all.into_iter().map(|(_, id)| id.to_string()).collect();
    assert_eq!(ids, all);
    let failed = get(&site.router, "/api/v1/dags/orders_daily/runs?state=failed,running").await;
    assert_eq!(failed.json()["items"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_a_reason() {
    let (site, fake) = usual();
    let long = "A".repeat(300);
    for (path, status, detail) in [
        ("/api/v1/runs?limit=0", 400, "`limit` must be 1 to 200, not 0"),
        ("/api/v1/runs?limit=201", 400, "`limit` must be 1 to 200, not 201"),
        ("/api/v1/runs?limit=x", 400, "`limit` in the query is not a whole number"),
        ("/api/v1/runs?limit=-1", 400, "`limit` in the query is not a whole number"),
        ("/api/v1/runs?limit=", 400, "`limit` in the query is empty"),
        (
            "/api/v1/runs?limit=99999999999999999999",
            400,
            "`limit` in the query is too large a number",
        ),
        ("/api/v1/runs?limit=1&limit=2", 400, "duplicate field `limit`"),
        ("/api/v1/runs/orders_daily.21/tasks/report/logs?raw=1", 400, "neither `true` nor `false`"),
        ("/api/v1/runs?colour=red", 400, "unknown field `colour`"),
        ("/api/v1/runs?state=broken", 400, "`broken` is no state of a run"),
        ("/api/v1/runs?after=AAAA", 400, "the cursor `after` is not one"),
        (&format!("/api/v1/runs?after={long}"), 400, "the cursor `after` is not one"),
        ("/api/v1/runs?dag=..", 400, "is not a DAG name"),
        ("/api/v1/runs/orders_daily", 404, "is not a run id"),
        ("/api/v1/runs/orders_daily.999", 404, "there is no run `orders_daily.999`"),
        ("/api/v1/dags/nope", 404, "there is no DAG `nope`"),
        ("/api/v1/dags?all=1", 400, "unknown field `all`"),
        ("/api/v1/runs/orders_daily.21/tables/nope", 404, "has no table `nope`"),
        ("/api/v1/runs/orders_daily.21/tables/clean_orders?limit=5000", 400, "1 to 1000"),
        ("/api/v1/runs/orders_daily.21/tasks/nope/logs", 404, "has no task `nope`"),
        ("/api/v1/runs/orders_daily.21/tasks/report/logs?attempt=9", 404, "has no attempt 9"),
        ("/api/v1/runs/orders_daily.21/tasks/report/logs?attempt=0", 404, "has no attempt 0"),
        ("/api/v1/runs/orders_daily.21/tasks/report/logs?from=x", 400, "an offset or `tail`"),
        ("/api/v1/runs/orders_daily.21/tasks/report/logs?limit=5001", 400, "1 to 5000"),
        ("/api/v1/runs/orders_daily.21/wait?timeout=fast", 400, "is not a duration"),
        ("/api/v1/profiles/nobody", 404, "there is no such profile"),
        ("/api/v1/nothing", 404, "there is nothing at this address"),
    ] {
        let answer = get(&site.router, path).await;
        let problem = answer.json();
        assert_eq!(answer.status, status, "{path}: {problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(problem["status"], status, "{path}");
        let said = problem["detail"].as_str().expect("a detail");
        assert!(said.contains(detail), "{path}: {said}");
    }
    for (path, body, status, detail) in [
        ("/api/v1/dags/personalize/runs", "", 400, "the body is empty"),
        ("/api/v1/dags/personalize/runs", "{\"owner\": 1}", 400, "unknown field `owner`"),
        ("/api/v1/dags/personalize/runs", "{\"dag\": \"x\"}", 400, "unknown field `dag`"),
        ("/api/v1/dags/personalize/runs", "{\"interval\": \"x\"}", 422, "`x` is no interval"),
        (
            "/api/v1/dags/personalize/runs",
            "{\"interval\": \"2026-01-01/2026-01-01\"}",
            422,
            "starts and ends at 2026-01-01T00:00:00Z, so nothing is in it",
        ),
        (
            "/api/v1/dags/personalize/runs",
            "{\"interval\": \"2026-02-01/2026-01-01\"}",
            422,
            "starts at 2026-02-01T00:00:00Z and ends before that, at 2026-01-01T00:00:00Z",
        ),
        (
            "/api/v1/dags/personalize/runs",
            "{\"params\": {\"region\": \"mars\"}}",
            422,
            "must be one of",
        ),
        ("/api/v1/dags/nope/runs", "{}", 404, "there is no DAG `nope`"),
        ("/api/v1/dags/nope/pause", "{}", 404, "there is no DAG `nope`"),
        ("/api/v1/runs/orders_daily.21/cancel", "{}", 409, "has already ended: failed"),
        ("/api/v1/runs/orders_daily.77/cancel", "{}", 404, "there is no run"),
        ("/api/v1/runs/personalize.43/cancel", "{\"force\": true}", 400, "unknown field `force`"),
        ("/api/v1/run-file", "{\"path\": \"/a.yaml\"}", 401, "takes the token"),
    ] {
        let answer = post(&site.router, path, body).await;
        let problem = answer.json();
        assert_eq!(answer.status, status, "{path} {body}: {problem}");
        let said = problem["detail"].as_str().expect("a detail");
        assert!(said.contains(detail), "{path} {body}: {said}");
    }
    assert_eq!(fake.orders(), [] as [&str; 0]);
}

/// Names of our own types say nothing to those who ask.
#[tokio::test]
async fn a_body_that_is_no_object_is_told_what_it_may_hold() {
    let (site, fake) = usual();
    let bearer = format!("Bearer {TOKEN}");
    let posts = ROUTES.iter().filter_map(|doc| Some((doc.route.strip_prefix("POST ")?, doc.takes)));
    for (path, takes) in posts {
        for body in ["[]", "[{}, null]", "\"x\"", "5", " null", "true", "[", "\u{feff}{}"] {
            let auth = [("authorization", bearer.as_str())];
            let answer = post_with(&site.router, &live_example(path), body, &auth).await;
            let problem = answer.json();
            assert_eq!(answer.status, 400, "{path} {body}: {problem}");
            assert_eq!(problem["detail"], "the body must be a JSON object", "{path} {body}");
            let help = problem["help"].as_str().expect("help");
            let named: Vec<&str> = help.split('`').skip(1).step_by(2).collect();
            let documented: Vec<&str> = takes.iter().map(|(name, _)| *name).collect();
            let expected = if takes.is_empty() { vec!["{}"] } else { documented };
            assert_eq!(named, expected, "{path} {body}");
        }
        for body in ["{", "{\"params\": 5}", "{\"path\": {}}", "{\"interval\": []}", "{} {}"] {
            let auth = [("authorization", bearer.as_str())];
            let answer = post_with(&site.router, &live_example(path), body, &auth).await;
            let text = answer.text();
            assert!(answer.status == 400 && !text.contains("struct"), "{path} {body}: {text}");
        }
    }
    assert_eq!(fake.orders(), [] as [&str; 0]);
}

#[tokio::test]
async fn orders_reach_the_backend() {
    let (site, fake) = usual();
    let params = "{\"params\": {\"limit\": 7}, \"interval\": \"2026-01-01/2026-01-02\"}";
    let run = post(&site.router, "/api/v1/dags/personalize/runs", params).await;
    assert_eq!((run.status, run.header("location")), (201, "/api/v1/runs/personalize.101"));
    assert_eq!(run.json()["url"], "/runs/personalize.101");
    let bearer = format!("Bearer {TOKEN}");
    let file = "{\"path\": \"/dags/a.yaml\"}";
    let auth = [("authorization", bearer.as_str())];
    assert_eq!(post_with(&site.router, "/api/v1/run-file", file, &auth).await.status, 201);
    let relative = "{\"path\": \"a.yaml\"}";
    assert_eq!(post_with(&site.router, "/api/v1/run-file", relative, &auth).await.status, 422);
    assert_eq!(post(&site.router, "/api/v1/dags/personalize/pause", "{}").await.status, 200);
    assert_eq!(post(&site.router, "/api/v1/dags/personalize/resume", "{}").await.status, 200);
    assert_eq!(post(&site.router, "/api/v1/runs/personalize.43/cancel", "{}").await.status, 202);
    let path = "/api/v1/runs/orders_daily.21/rerun";
    let again = post(&site.router, path, "{}").await;
    assert_eq!((again.status, again.json()["started"].clone()), (200, json!(true)));
    let preview = "{\"from\": \"clean_orders\", \"latest\": true, \"preview\": true}";
    assert_eq!(post(&site.router, path, preview).await.json()["started"], json!(false));
    let both = "{\"from\": \"clean_orders\", \"tasks\": \"all\"}";
    assert_eq!(post(&site.router, path, both).await.status, 422);
    let expected = [
        "trigger personalize {\"limit\":7} browser",
        "run-file /dags/a.yaml cli",
        "pause personalize true browser",
        "pause personalize false browser",
        "cancel personalize.43 browser",
        "rerun orders_daily.21 Failed false false browser",
        "rerun orders_daily.21 From(\"clean_orders\") true true browser",
    ];
    assert_eq!(fake.orders(), expected);
    let state = get(&site.router, "/api/v1/runs/orders_daily.21/wait?timeout=1s").await.json();
    assert_eq!(state, json!({"id": "orders_daily.21", "state": "failed", "finished": true}));
}

#[tokio::test]
async fn a_key_starts_one_run() {
    let (site, fake) = usual();
    let path = "/api/v1/dags/personalize/runs";
    let start = async |key: &str, body: &str| {
        let answer = post_with(&site.router, path, body, &[("idempotency-key", key)]).await;
        (answer.status, answer.json()["id"].clone())
    };
    let first = start("a", "{}").await;
    assert_eq!(first.0, 201);
    assert_eq!(start("a", "{}").await, first);
    assert_eq!(start("a", "{\"params\": {\"limit\": 1}}").await.0, 409);
    assert_eq!(start("c", "{\"params\": {\"region\": \"mars\"}}").await.0, 422);
    assert_ne!(start("b", "{}").await.1, first.1);
    // What was refused may be sent again under its key.
    assert_eq!(start("c", "{}").await.0, 201);
    assert_eq!(start(&"k".repeat(200), "{}").await.0, 400);
    assert_eq!(fake.orders().len(), 3);
}

#[tokio::test]
async fn logs_are_paged_followed_and_downloaded() {
    let (site, _) = usual();
    let path = "/api/v1/runs/orders_daily.21/tasks/report/logs";
    let whole = get(&site.router, path).await.json();
    let lines = whole["lines"].as_array().expect("lines").clone();
    assert_eq!((lines.len(), &whole["ended"], &whole["attempt"]), (12, &json!(true), &json!(3)));
    assert_eq!(lines[0]["stream"], "tidemill");
    assert_eq!(lines[0]["at"], "2026-11-24T02:00:04Z");
    let mut paged = Vec::new();
    let mut from = json!(0);
    loop {
        let page = get(&site.router, &format!("{path}?from={from}&limit=5")).await.json();
        paged.extend(page["lines"].as_array().expect("lines").clone());
        from = page["next"].clone();
        if page["ended"] == true {
            break;
        }
    }
    assert_eq!(paged, lines);
    let tail = get(&site.router, &format!("{path}?from=tail&limit=2")).await.json();
    assert_eq!(tail["lines"].as_array().expect("lines")[..], lines[10..]);
    let raw = get(&site.router, &format!("{path}?raw=true")).await;
    assert!(raw.text().ends_with("attempt 3 failed: exit code 1\n"));
    assert_eq!(raw.header("content-security-policy"), "default-src 'none'; sandbox");
    let saved = "attachment; filename=\"orders_daily.21.report.3.log\"";
    assert_eq!(raw.header("content-disposition"), saved);
    // Following an attempt that has ended does not wait.
    let end = get(&site.router, &format!("{path}?from={}&follow=true", whole["next"])).await.json();
    assert_eq!((&end["lines"], &end["ended"]), (&json!([]), &json!(true)));
    // A task that has not started has an empty log.
    let none = get(&site.router, "/api/v1/runs/orders_daily.21/tasks/notify/logs").await.json();
    assert_eq!((&none["attempt"], &none["ended"]), (&json!(0), &json!(true)));
}

/// Whoever reads page by page comes to an end, even where a killed server could not write it.
#[tokio::test]
async fn the_log_of_an_attempt_that_is_over_ends() {
    let mut fake = world(None);
    fake.logs_cut = true;
    let site = site(std::sync::Arc::new(fake), &options(), PORT);
    let path = "/api/v1/runs/orders_daily.21/tasks/report/logs";
    let whole = get(&site.router, path).await.json();
    assert_eq!(
        (whole["lines"].as_array().map(Vec::len), &whole["ended"]),
        (Some(12), &json!(false))
    );
    for from in [whole["next"].clone(), json!(1_000_000), json!(u64::MAX)] {
        let end = get(&site.router, &format!("{path}?from={from}&follow=true")).await.json();
        assert_eq!((&end["lines"], &end["ended"]), (&json!([]), &json!(true)), "{from}");
    }
    let run = get(&site.router, "/api/v1/runs/personalize.43").await.json();
    let mut tasks = run["tasks"].as_array().expect("a list").iter();
    let running = tasks.find(|task| task["state"] == "running").expect("a task at work");
    let name = running["name"].as_str().expect("a name");
    let path = format!("/api/v1/runs/personalize.43/tasks/{name}/logs?from=1000000");
    assert_eq!(get(&site.router, &path).await.json()["ended"], json!(false));
}

#[tokio::test]
async fn tables_show_their_first_rows() {
    let (site, _) = usual();
    let path = "/api/v1/runs/orders_daily.21/tables/clean_orders?limit=2";
    let sample = get(&site.router, path).await.json();
    assert_eq!(sample["columns"][2], json!({"name": "amount", "type": "double"}));
    assert_eq!(sample["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(sample["task"], "clean_orders");
    let other = get(&site.router, "/api/v1/runs/orders_daily.21/tables/raw_tx").await.json();
    assert!(other["help"].as_str().expect("help").starts_with("it has: orders, customers"));
}

#[tokio::test]
async fn profiles_are_read_once_while_they_stay_the_same() {
    let (site, fake) = usual();
    let path = "/api/v1/profiles/12346";
    let first = get(&site.router, path).await;
    assert_eq!(first.json(), fake.profiles[0].1);
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = async |known: &str| {
        let request = request(&Method::GET, path).header("if-none-match", known);
        let answer = ask(&site.router, request.body(Body::empty()).expect("a request")).await;
        (answer.status, answer.body.len())
    };
    assert_eq!(again(&tag).await, (304, 0));
    assert_eq!(again(&format!("\"x\", {tag}")).await, (304, 0));
    assert_eq!(again("\"x\"").await.0, 200);
    assert_eq!(first.header("cache-control"), "no-store");
    let mail = get(&site.router, "/api/v1/profiles/email:customer12346@example.test").await;
    assert_eq!(mail.json()["customer_id"], "12346");

    let mut ids = Vec::new();
    let mut path = "/api/v1/profiles?limit=50".to_owned();
    loop {
        let page = get(&site.router, &path).await.json();
        assert_eq!(page["total"], 120);
        let items = page["items"].as_array().expect("a list").clone();
        ids.extend(items.iter().map(|p| p["customer_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/profiles?limit=50&after={next}");
    }
    assert_eq!(ids.len(), 120);
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn health_and_metrics() {
    let (usual, _) = usual();
    let good = get(&usual.router, "/health").await;
    assert_eq!((good.status, &good.json()["status"]), (200, &json!("ok")));
    assert_eq!(good.json()["version"], "1.2.3");
    let ill = site(std::sync::Arc::new(world(Some("the disk is full"))), &options(), PORT);
    let ill = get(&ill.router, "/health").await;
    assert_eq!((ill.status, &ill.json()["parts"][1]["ok"]), (503, &json!(false)));

    get(&usual.router, "/api/v1/runs/orders_daily.21").await;
    let metrics = get(&usual.router, "/metrics").await.text();
    for line in [
        "tidemill_commits_total 7",
        "tidemill_runs{state=\"running\"} 2",
        "tidemill_commit_seconds_bucket{le=\"0.1\"} 2",
        "tidemill_commit_seconds_bucket{le=\"+Inf\"} 3",
        "tidemill_http_requests_total{method=\"GET\",route=\"/api/v1/runs/{run}\",status=\"200\"} 1",
    ] {
        assert!(metrics.lines().any(|own| own.starts_with(line)), "{line} is not in\n{metrics}");
    }
}
