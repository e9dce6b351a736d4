//! The pages: what an operator comes for is there, every link leads somewhere, nothing is heavy.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;

use crate::hostile::{PAGES, check_inert};
use crate::support::{ask, get, request, site};

async fn check(path: &str, texts: &[&str]) {
    let (site, _) = site();
    let answer = get(&site.router, path).await;
    assert_eq!(answer.status, 200, "{path}");
    let html = answer.text();
    for text in texts {
        assert!(html.contains(text), "`{text}` is not on {path}:\n{html}");
    }
}

#[tokio::test]
async fn home_says_what_is_wrong_and_why() {
    let error = "the command ended with code 1: ZeroDivisionError: division by zero";
    check("/", &[
        "failed 3 times in a row", error, "tasks.report.run in dags/orders_daily.yaml:31",
        "<a href=\"/runs/orders_daily.21/tasks/report#log\">Open the log</a>",
        "href=\"/runs/orders_daily.21/tasks/report#L372\"",
        // The last lines of its log, in colour.
        "<span class=\"a1 ab\">ZeroDivisionError</span>: division by zero",
        // A file that does not load.
        "task <code>load_orders</code> depends on <code>extract_order</code>, which does not exist", "dags/returns.yaml:18:18",
        // What runs and what is next.
        "href=\"/runs/personalize.43\"", "0 */2 * * *", "title=\"2026-11-24 14:00:00 UTC\"",
    ]).await;
}

#[tokio::test]
async fn lists_show_histories_and_filters() {
    check(
        "/dags",
        &[
            "Score customers by purchases",
            "Last runs: 10 succeeded, 4 failed",
            "paused",
            "which does not exist (line 18)",
        ],
    )
    .await;
    check("/dags?find=STOCK", &["inventory-sync"]).await;
    check("/dags?tag=email", &["personalize"]).await;
    check(
        "/runs?state=failed&dag=orders_daily",
        &["/runs/orders_daily.12", "5 succeeded, 1 failed, 1 upstream failed"],
    )
    .await;
    check("/runs?dag=nobody", &["No run matches."]).await;
    let (site, _) = site();
    let found = get(&site.router, "/dags?find=stock").await.text();
    assert!(!found.contains("/dags/personalize\""));
}

#[tokio::test]
async fn a_dag_shows_grid_graph_and_source() {
    check(
        "/dags/orders_daily",
        &[
            "aria-label=\"#21: failed,",
            "href=\"/runs/orders_daily.19/tasks/report\"",
            "reads table clean_orders",
            "name=\"limit\" type=\"number\"",
            "data-kind=\"integer\"",
            "id=\"S24\"",
            "up to 2 retries",
        ],
    )
    .await;
    check(
        "/dags/returns",
        &["<mark>extract_order</mark>", "did you mean <code>extract_orders</code>?", "TM0107"],
    )
    .await;
    check("/dags/fan_out", &["leaf_* × 200", "Show 162 more tasks"]).await;
}

#[tokio::test]
async fn a_run_shows_where_it_went_wrong() {
    check(
        "/runs/orders_daily.21",
        &[
            "ZeroDivisionError",
            "6 of 7 tasks ended".replace('6', "7").as_str(),
            "class=\"node n-failed\"",
            "class=\"e-bad\"",
            "no_customer",
            "1 warning",
            "which shops".replace("which shops", "region").as_str(),
        ],
    )
    .await;
    check(
        "/runs/personalize.43",
        &[
            "data-live=\"/runs/personalize.43/live\"",
            "Cancel run",
            "pool <code>default</code> is full",
        ],
    )
    .await;
    check("/runs/fan_out.3", &["leaf_* × 200", "2 failed", "198 succeeded"]).await;
}

#[tokio::test]
async fn a_task_shows_error_log_attempts_and_rows() {
    check(
        "/runs/orders_daily.21/tasks/report",
        &[
            "tasks.report.run in dags/orders_daily.yaml:31",
            "id=\"L0\"",
            "attempt=2#log",
            "raw=true",
            "o-stderr",
            "<span class=\"a1 ab\">ZeroDivisionError</span>",
        ],
    )
    .await;
    check(
        "/runs/orders_daily.21/tasks/clean_orders",
        &[
            "no_customer",
            "in = out + duplicates + rejected",
            "href=\"/runs/orders_daily.21/tables/clean_orders.rejects\"",
            "United Kingdom",
        ],
    )
    .await;
    check(
        "/runs/orders_daily.21/tables/clean_orders",
        &["The first 200 rows", "double", "class=\"null\""],
    )
    .await;
}

#[tokio::test]
async fn a_profile_explains_its_score() {
    check(
        "/profiles/12346",
        &[
            "61.5",
            "warm",
            "cart_abandoner",
            "&#43;41.7".replace("&#43;", "+").as_str(),
            "WHITE HANGING HEART",
            "granted",
        ],
    )
    .await;
    let (site, _) = site();
    let found = get(&site.router, "/profiles?find=email:customer12346@example.test").await;
    let to = "/profiles/email%3Acustomer12346%40example.test";
    assert_eq!((found.status, found.header("location")), (303, to));
    assert_eq!(get(&site.router, to).await.status, 200);
    assert!(
        get(&site.router, "/profiles?find=nobody").await.text().contains("No profile has exactly")
    );
}

#[tokio::test]
async fn errors_are_pages_for_people() {
    let (site, _) = site();
    for (path, status, text) in [
        ("/nothing", 404, "there is nothing at this address"),
        ("/runs/orders_daily.999", 404, "there is no run `orders_daily.999`"),
        ("/runs/..", 404, "Not found"),
        ("/runs?colour=red", 400, "unknown field `colour`"),
    ] {
        let answer = get(&site.router, path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "text/html; charset=utf-8")
        );
        assert!(answer.text().contains(text), "{path}");
    }
}

#[tokio::test]
async fn parts_are_sent_again_only_when_they_change() {
    let (site, _) = site();
    for path in ["/live", "/runs/personalize.43/live", "/runs/orders_daily.21/tasks/report/live"] {
        let first = get(&site.router, path).await;
        let request = request(&Method::GET, path).header("if-none-match", first.header("etag"));
        let again = ask(&site.router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!((first.status, again.status, again.body.len()), (200, 304, 0), "{path}");
        assert!(!first.text().contains("<html"), "{path}");
    }
    assert_eq!(get(&site.router, "/runs/personalize.43/live").await.header("x-again"), "yes");
    assert_eq!(get(&site.router, "/runs/orders_daily.21/live").await.header("x-again"), "no");
    let lines = get(&site.router, "/runs/orders_daily.21/tasks/report/lines?from=0").await;
    assert_eq!((lines.header("x-again"), lines.text().matches("<li ").count()), ("no", 12));
}

/// Every address on a page that is ours.
fn links(html: &str) -> Vec<String> {
    html.split("href=\"")
        .skip(1)
        .filter_map(|text| {
            text.split_once('"').map(|(link, _)| link.replace("&amp;", "&").replace("&#38;", "&"))
        })
        .filter(|link| link.starts_with('/'))
        .map(|link| link.split('#').next().unwrap_or("").to_owned())
        .collect()
}

#[tokio::test]
async fn every_link_leads_somewhere() {
    let (site, _) = site();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        // Two hundred leaves are alike.
        if path.contains("leaf_") && !path.ends_with("leaf_17") || !seen.insert(path.clone()) {
            continue;
        }
        let answer = get(&site.router, &path).await;
        assert!([200, 304].contains(&answer.status), "{path}: {}", answer.status);
        if answer.header("content-type").starts_with("text/html") {
            open.extend(links(&answer.text()));
        }
    }
    assert!(seen.len() > 200, "{}", seen.len());
    let reached = |part: &str| seen.iter().any(|path| path.contains(part));
    for part in [
        "/tables/",
        "/tasks/",
        "raw=true",
        "attempt=1",
        "tag=",
        "/profiles/",
        "/static/tidemill.css?v=",
    ] {
        assert!(reached(part), "{part}");
    }
}

#[tokio::test]
async fn pages_are_well_formed_and_accessible() {
    let (site, _) = site();
    for page in PAGES.iter().filter(|page| !page.ends_with("/live") && !page.contains("/lines")) {
        let html = get(&site.router, page).await.text();
        check_inert(page, "nobody", &html);
        for (text, n) in [
            ("<h1", 1),
            ("<main", 1),
            ("<title>", 0),
            ("lang=\"en\"", 1),
            ("<script", 1),
            ("class=\"skip\"", 1),
        ] {
            let found = html.matches(text).count();
            assert!(if n == 0 { found > 0 } else { found == n }, "{found} × `{text}` on {page}");
        }
        for tag in [
            "table", "section", "div", "dl", "ol", "ul", "svg", "a", "p", "article", "tr", "td",
            "th", "span", "form", "nav",
        ] {
            let opened = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "<{tag}> on {page}");
        }
        let ids: Vec<&str> =
            html.split(" id=\"").skip(1).filter_map(|t| t.split('"').next()).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "an id occurs twice on {page}: {ids:?}");
        for id in html.split(" for=\"").skip(1).filter_map(|text| text.split('"').next()) {
            assert!(unique.contains(id), "a label for `{id}` on {page}");
        }
        let heads = html.matches("<th").count() - html.matches("<thead").count();
        assert_eq!(html.matches("scope=\"").count(), heads, "a <th> without scope on {page}");
    }
}

#[tokio::test]
async fn a_first_visit_is_light() {
    let (site, _) = site();
    let weight = async |path: &str| {
        let request = request(&Method::GET, path).header("accept-encoding", "gzip");
        ask(&site.router, request.body(Body::empty()).expect("a request")).await.body.len()
    };
    let script = weight("/static/tidemill.js").await;
    let common =
        weight("/static/tidemill.css").await + script + weight("/static/favicon.svg").await;
    assert!(script < 60_000, "{script}");
    for page in PAGES {
        let all = common + weight(page).await;
        assert!(all < 150_000, "{page}: {all}");
    }
}

#[tokio::test]
async fn files_are_kept_by_browsers_under_their_hash() {
    let (site, _) = site();
    let html = get(&site.router, "/").await.text();
    let style = links(&html).into_iter().find(|link| link.contains(".css")).expect("a style");
    let answer = get(&site.router, &style).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(answer.header("content-type"), "text/css");
    assert_eq!(
        get(&site.router, "/static/tidemill.css?v=old").await.header("cache-control"),
        "public, no-cache"
    );
    assert_eq!(
        get(&site.router, "/static/tidemill.js").await.header("content-type"),
        "text/javascript"
    );
    // No page and no file of ours asks anybody else.
    for path in ["/static/tidemill.css", "/static/tidemill.js"] {
        let text = get(&site.router, path).await.text();
        assert!(
            !text.contains("http://") && !text.contains("https://") && !text.contains("eval("),
            "{path}"
        );
    }
}
