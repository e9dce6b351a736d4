//! Who may ask, and from where: hosts, origins, content types, tokens, headers.

use axum::body::Body;
use axum::http::{Method, Request};

use crate::support::{Answer, HOST, TOKEN, ask, get, live_example, post_with, request, site};

#[tokio::test]
async fn only_our_own_names_are_answered() {
    let (site, _) = site();
    let check = async |hosts: &[&str], uri: &str| {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        ask(&site.router, request.body(Body::empty()).expect("a request")).await.status
    };
    for host in ["localhost:7100", "127.0.0.1:7100", "[::1]:7100", "tunnel.example:443"] {
        assert_eq!(check(&[host], "/health").await, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:7100", "127.0.0.1", "tunnel.example", "0.0.0.0:7100"]
    {
        assert_eq!(check(&[host], "/health").await, 403, "{host}");
        assert_eq!(check(&[host], "/api/v1/runs").await, 403, "{host}");
    }
    assert_eq!(check(&[], "/health").await, 400);
    assert_eq!(check(&[HOST, HOST], "/health").await, 400);
    assert_eq!(check(&[HOST], "http://evil.example/health").await, 400);
    assert_eq!(check(&[HOST], &format!("http://{HOST}/health")).await, 200);
}

#[tokio::test]
async fn what_changes_something_comes_from_our_pages_or_from_a_program() {
    let (site, fake) = site();
    let own = format!("http://{HOST}");
    let post = async |headers: &[(&str, &str)]| {
        post_with(&site.router, "/api/v1/dags/hello/pause", "{}", headers).await.status
    };
    for headers in [
        &[][..],
        &[("origin", own.as_str())],
        &[("origin", &own), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(post(headers).await, 200, "{headers:?}");
    }
    let good = fake.orders().len();
    for headers in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "http://127.0.0.1:7101")],
        &[("origin", "http://localhost:7100")],
        &[("origin", "http://127.0.0.1:7100.evil.example")],
        &[("origin", &own), ("origin", "http://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", &own), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(post(headers).await, 403, "{headers:?}");
    }
    assert_eq!((good, fake.orders().len()), (4, 4));
}

#[tokio::test]
async fn bodies_are_json_and_say_so() {
    let (site, fake) = site();
    let post = async |kind: Option<&str>| {
        let mut request = request(&Method::POST, "/api/v1/dags/hello/pause");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        ask(&site.router, request.body(Body::from("{}")).expect("a request")).await.status
    };
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(post(Some(kind)).await, 200, "{kind}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/json; charset=utf-7",
        "application/jsonp",
        "application/problem+json",
        "*/*",
        "",
    ] {
        assert_eq!(post(Some(kind)).await, 415, "{kind}");
    }
    assert_eq!(post(None).await, 415);
    assert_eq!(fake.orders().len(), 3);
}

/// What is not there is called that, whatever the body is; who may not ask is told that first.
#[tokio::test]
async fn an_address_and_a_method_are_judged_before_the_body() {
    let (site, fake) = site();
    let paths = site.table.iter().map(|route| live_example(route.path));
    let paths: Vec<String> = paths.chain(["/nothing".into(), "/api/v1/nothing".into()]).collect();
    for path in paths {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"] {
            let of_path = site.table.iter().filter(|route| live_example(route.path) == path);
            let methods: Vec<&str> = of_path.map(|route| route.method.as_str()).collect();
            let method: Method = method.parse().expect("a method");
            let with = async |headers: &[(&str, &str)]| {
                let mut request = request(&method, &path).header("content-type", "text/plain");
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                ask(&site.router, request.body(Body::empty()).expect("a request")).await
            };
            let foreign = with(&[("origin", "http://evil.example")]).await;
            assert_eq!(foreign.status, 403, "{method} {path}");
            let answer = with(&[("authorization", &format!("Bearer {TOKEN}"))]).await;
            let expected = match methods.as_slice() {
                [] => 404,
                methods if methods.contains(&method.as_str()) => 415,
                _ => 405,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
            let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
            allowed.retain(|method| !["", "HEAD"].contains(method));
            let named = if expected == 405 { methods } else { Vec::new() };
            assert_eq!(allowed, named, "{method} {path}");
        }
    }
    assert_eq!(fake.orders(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_wrong_token_is_refused_everywhere() {
    let (site, _) = site();
    for value in ["Bearer wrong", "Bearer ", "Basic c0ffee", TOKEN] {
        let request = request(&Method::GET, "/health").header("authorization", value);
        let answer = ask(&site.router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, 401, "{value}");
    }
}

#[tokio::test]
async fn a_get_changes_nothing() {
    let (site, fake) = site();
    for route in &site.table {
        let path = live_example(route.path);
        get(&site.router, &path).await;
        get(&site.router, &format!("{path}?_method=POST&method=POST")).await;
        for (name, value) in
            [("x-http-method-override", "POST"), ("x-original-url", "/api/v1/dags/hello/pause")]
        {
            let request = request(&Method::GET, &path).header(name, value);
            ask(&site.router, request.body(Body::empty()).expect("a request")).await;
        }
    }
    assert_eq!(fake.orders(), [] as [&str; 0]);
}

fn check_headers(path: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{path}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    assert_ne!(answer.header("cache-control"), "", "{path}");
}

#[tokio::test]
async fn every_answer_is_dressed() {
    let (site, _) = site();
    let mut paths: Vec<String> = site.table.iter().map(|route| live_example(route.path)).collect();
    paths.extend(["/nothing", "/api/v1/nothing", "/runs/x", "/static/nothing"].map(str::to_owned));
    for path in paths {
        check_headers(&path, &get(&site.router, &path).await);
    }
    let refused = Request::builder().uri("/").header("host", "evil.example").body(Body::empty());
    check_headers("/", &ask(&site.router, refused.expect("a request")).await);
}

#[tokio::test]
async fn texts_are_compressed_for_clients_that_take_it() {
    let (site, _) = site();
    let sizes = async |path: &str, takes: &str| {
        let request = request(&Method::GET, path).header("accept-encoding", takes);
        let answer = ask(&site.router, request.body(Body::empty()).expect("a request")).await;
        (answer.header("content-encoding").to_owned(), answer.body)
    };
    let (plain, whole) = sizes("/dags", "br").await;
    let (packed, small) = sizes("/dags", "br, gzip").await;
    assert_eq!((plain.as_str(), packed.as_str()), ("", "gzip"));
    assert!(small.len() * 3 < whole.len(), "{} of {}", small.len(), whole.len());
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&small[..]);
    std::io::Read::read_to_end(&mut decoder, &mut unpacked).expect("gzip");
    // Both are drawn at the same instant from the same data.
    assert_eq!(unpacked, whole);
}
