//! Paths that want past the gate, ids that want out of their folder, texts that want to be script.

use std::sync::Arc;

use crate::support::{PORT, closed_site, example, get, options, post, site};
use crate::world::world;

/// Sixty ways of writing a path that some servers take for another one.
fn mutations(path: &str) -> Vec<String> {
    let upper = path.to_uppercase();
    let (head, tail) = path.rsplit_once('/').unwrap_or(("", path));
    let mut all: Vec<String> = [
        "/",
        "//",
        "/.",
        "/..",
        "/../",
        ";",
        ";a=b",
        "/;/",
        "%2f",
        "%2F",
        "%252f",
        "%00",
        "%0a",
        "%0d%0a",
        ".",
        "..",
        "%20",
        "+",
        "%09",
        "?",
        "?/health",
        "?a=/health",
        "%23",
        "%3f",
        "/health",
        "/ready",
        "/configs",
        "/login",
        "/static",
        ";/health",
        "/../health",
        "/..;/health",
        "/%2e%2e/health",
        ".json",
        ".css",
        ".html",
        "~",
        "*",
        "%5c",
        "%c0%af",
        "%e2%80%ae",
    ]
    .iter()
    .map(|end| format!("{path}{end}"))
    .collect();
    for start in [
        "/health/..",
        "/health/%2e%2e",
        "/static/..",
        "/static/%2e%2e",
        "/static/..;",
        "/./",
        "//",
        "/.",
        "/%2e",
        "/health;",
        "/%2f",
        "/api/../",
        "/x/..",
        "/health%2f..",
        "/static%2f..",
        "/;",
    ] {
        all.push(format!("{start}{path}"));
    }
    all.push(upper);
    all.push(format!("{head}//{tail}"));
    all.push(format!("{head}/./{tail}"));
    all.push(format!("{head}/x/../{tail}"));
    all.push(format!("{head}%2f{tail}"));
    all.push(format!(
        "{head}/%{:02x}{}",
        tail.as_bytes().first().unwrap_or(&b'x'),
        tail.get(1..).unwrap_or("")
    ));
    all
}

#[tokio::test]
async fn no_way_of_writing_a_path_passes_the_gate() {
    let site = closed_site();
    let (router, mut tried) = (&site.router, 0);
    for route in site.table.iter().filter(|route| !route.path.starts_with("/static")) {
        if route.path == "/health" {
            continue;
        }
        let paths = mutations(&example(route.path));
        assert!(paths.len() >= 60, "{}", paths.len());
        for path in paths {
            let Ok(uri) = path.parse::<axum::http::Uri>() else { continue };
            if uri.path() == "/health" {
                continue;
            }
            tried += 1;
            for answer in [get(router, &path).await, post(router, &path, "{}").await] {
                let refused = [400, 401, 404, 405].contains(&answer.status);
                assert!(refused, "{path}: {}", answer.status);
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[tokio::test]
async fn things_that_are_named_like_public_ones_are_not_public() {
    let site = closed_site();
    for name in ["health", "ready", "configs", "login", "static", "metrics"] {
        for path in [
            format!("/dags/{name}"),
            format!("/api/v1/dags/{name}"),
            format!("/api/v1/profiles/{name}"),
            format!("/runs/{name}.1"),
            format!("/runs/a.1/tasks/{name}"),
            format!("/runs/a.1/tables/{name}"),
        ] {
            assert_eq!(get(&site.router, &path).await.status, 401, "{path}");
        }
    }
}

#[tokio::test]
async fn ids_that_are_paths_name_nothing() {
    let (site, _) = site();
    let tricks = [
        "..",
        "...",
        ".",
        "../..",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%2e%2e%2f%2e%2e",
        "..%5c..",
        "%252e%252e",
        "..%00",
        "%00",
        "a%00.1",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "~root",
        "C:%5c",
        "..%c0%af",
        "%ef%bc%8e%ef%bc%8e",
        "a.1%2f..",
        "A.1",
        "a.01",
        "a.1.log",
        "orders_daily.21%2e%2e",
        "orders_daily.21%0a",
        "orders_daily.-1",
        "orders_daily.1e3",
        "%f0%9f%92%a9",
        "con",
        "a'%20or%201=1--",
        "$(id)",
        "%60id%60",
        "{{7*7}}",
        "%25s",
    ];
    let spots = [
        "/dags/X",
        "/runs/X",
        "/runs/X/live",
        "/runs/orders_daily.21/tasks/X",
        "/runs/X/tasks/report",
        "/runs/orders_daily.21/tables/X",
        "/profiles/X",
        "/static/X",
        "/api/v1/dags/X",
        "/api/v1/dags/X/runs",
        "/api/v1/runs/X",
        "/api/v1/runs/X/wait",
        "/api/v1/runs/X/tasks/report/logs",
        "/api/v1/runs/orders_daily.21/tasks/X/logs",
        "/api/v1/runs/orders_daily.21/tables/X",
        "/api/v1/profiles/X",
    ];
    for spot in spots {
        for trick in tricks {
            let path = spot.replace('X', trick);
            if path.parse::<axum::http::Uri>().is_err() {
                continue;
            }
            let answer = get(&site.router, &path).await;
            let nothing = [400, 404].contains(&answer.status);
            // A DAG that may exist has no runs; that is an answer.
            let empty = answer.status == 200 && answer.text().starts_with("{\"items\":[]");
            assert!(nothing || empty, "{path}: {} {}", answer.status, answer.text());
        }
    }
    for trick in tricks {
        for spot in ["/api/v1/dags/X/runs", "/api/v1/dags/X/pause", "/api/v1/runs/X/cancel"] {
            let path = spot.replace('X', trick);
            if path.parse::<axum::http::Uri>().is_ok() {
                assert_eq!(post(&site.router, &path, "{}").await.status, 404, "{path}");
            }
        }
    }
}

/// Every page, with a run, a task and a table for each kind that there is.
pub(crate) const PAGES: [&str; 20] = [
    "/",
    "/live",
    "/dags",
    "/dags/personalize",
    "/dags/orders_daily",
    "/dags/returns",
    "/dags/wide",
    "/dags/fan_out?all=true",
    "/runs",
    "/runs?state=failed",
    "/runs/orders_daily.21",
    "/runs/personalize.43",
    "/runs/fan_out.3",
    "/runs/orders_daily.21/tasks/report",
    "/runs/orders_daily.21/tasks/clean_orders",
    "/runs/orders_daily.21/tasks/report/lines?from=0",
    "/runs/orders_daily.21/tables/clean_orders",
    "/profiles",
    "/profiles/12346",
    "/nothing",
];

#[tokio::test]
async fn texts_never_become_markup() {
    let payloads = [
        "<script>window.__pwned=1</script>",
        "\"><img src=x onerror=__pwned()>",
        "' autofocus onfocus='__pwned()",
        "\" onmouseover=\"__pwned()\" x=\"",
        "</title><svg onload=__pwned()>",
        "</textarea></code></pre><iframe src=//evil.example>",
        "javascript:__pwned()",
        "{{7*7}}${7*7}<%=7*7%>",
        "\u{1b}[31m<b>__pwned</b>\u{1b}]8;;javascript:__pwned()\u{7}x",
        "<a href=\"javascript:__pwned()\">x</a>",
        "&lt;script&gt;__pwned()&lt;/script&gt;",
        "--><!--><style>*{display:none}</style>",
    ];
    for payload in payloads {
        let site = tidemill_server::site(Arc::new(world(Some(payload))), &options(), PORT);
        for page in PAGES {
            let answer = get(&site.router, page).await;
            check_inert(page, payload, &answer.text());
        }
    }
}

/// Every tag of a page is one of ours, with attributes of ours.
pub(crate) fn check_inert(page: &str, payload: &str, html: &str) {
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let tag = read_tag(rest);
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        let bad = ["img", "iframe", "style", "object", "embed", "base", "b>__pwned"];
        assert!(!bad.contains(&name.as_str()), "{page}: <{tag}> from {payload}");
        if name == "script" {
            assert!(
                tag.starts_with("script type=\"module\" src=\"/static/tidemill.js?v="),
                "{page}: <{tag}>"
            );
        }
        for (name, value) in attributes(tag) {
            assert!(!name.starts_with("on") && name != "style", "{page}: {name} in <{tag}>");
            if ["href", "src", "action"].contains(&name.as_str()) {
                let local = value.starts_with('/') && !value.starts_with("//");
                assert!(local || value.starts_with(['#', '?']), "{page}: {value} in <{tag}>");
            }
        }
    }
}

/// The inside of a tag, up to the `>` that is outside of quotes.
fn read_tag(text: &str) -> &str {
    let mut quote = None;
    let end = text.char_indices().find(|(_, c)| {
        match (quote, c) {
            (Some(q), c) if q == *c => quote = None,
            (None, '"' | '\'') => quote = Some(*c),
            (None, '>') => return true,
            _ => {}
        }
        false
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = tag.split_once(char::is_whitespace).map_or("", |(_, rest)| rest).trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].to_lowercase();
        rest = &rest[end..];
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let quoted = after.strip_prefix('"').and_then(|text| text.split_once('"'));
            (value, rest) = quoted.unwrap_or_else(|| {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                after.split_at(end)
            });
        }
        found.push((name, value.to_owned()));
        rest = rest.trim_start();
    }
    found
}
