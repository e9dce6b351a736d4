//! What every request passes before a handler sees it, and what every answer carries.
//!
//! A browser on this machine can be made to talk to a loopback server by any site. So: the `Host`
//! must be one of ours (DNS rebinding), a method that changes something must come from our own
//! pages or from no page at all (cross-site requests), and no page of ours may be framed or run a
//! script that is not ours. That a route which changes something takes JSON alone is checked on the
//! route itself, so that an address or a method that is not there is called that first.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::Caller;

/// A request that is not answered after this long is given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// What goes through everything that is kept may take longer.
const LONG: [&str; 4] =
    ["/api/v1/backup", "/api/v1/doctor", "/api/v1/history/sql", "/api/v1/history/tidy"];

/// A backup copies everything that is kept.
const BACKUP_TIME_MAX: Duration = Duration::from_hours(2);

const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The hosts under which this server may be asked.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    port: u16,
    extra: Vec<String>,
}

impl Hosts {
    /// Loopback names with this port, and further names: with a port, or with any.
    pub(crate) fn new(port: u16, extra: &[String]) -> Self {
        Self { port, extra: extra.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    fn allow(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let (name, port) = split_port(&host);
        let ours = ["localhost", "127.0.0.1", "[::1]"].contains(&name)
            && port.unwrap_or("80").parse() == Ok(self.port);
        ours || self.extra.iter().any(|extra| *extra == host || *extra == name)
    }
}

/// Host and port; an IPv6 address keeps its brackets.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// The whole of it, around every route.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let checked = check(&app, &request);
    let answer = match checked {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            let limit =
                if LONG.contains(&path.as_str()) { BACKUP_TIME_MAX } else { ANSWER_TIME_MAX };
            match tokio::time::timeout(limit, next.run(request)).await {
                Ok(answer) => answer,
                Err(_) => ApiError::new(
                    ErrorCode::Timeout,
                    format!("the answer took longer than {} s", limit.as_secs()),
                )
                .into_response(),
            }
        }
        Err(error) => error.into_response(),
    };
    let mut answer = crate::pages::error::for_people(&app, &path, answer);
    dress(&path, answer.headers_mut());
    answer
}

fn dress(path: &str, headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let caching = if path.starts_with("/api/") { "no-store" } else { "private, no-cache" };
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(caching));
}

fn check(app: &App, request: &Request) -> Result<Caller, ApiError> {
    let headers = request.headers();
    let host = host_of(request)?;
    if !app.hosts.allow(host) {
        return Err(ApiError::new(ErrorCode::Forbidden, format!("this server is not `{host}`"))
            .help(
                "open it under the address that it printed, or allow the name with `--allow-host`",
            ));
    }
    let caller = caller_of(app, headers)?;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && !caller.token {
        check_origin(headers, host)?;
    }
    Ok(caller)
}

/// The one host that a request names.
fn host_of(request: &Request) -> Result<&str, ApiError> {
    let missing = || ApiError::bad_request("the request names no host, or several");
    let mut values = request.headers().get_all(header::HOST).iter();
    let host = values.next().and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let other = request.uri().authority().map(Authority::as_str);
    if values.next().is_some() || other.is_some_and(|other| !other.eq_ignore_ascii_case(host)) {
        return Err(missing());
    }
    Ok(host)
}

fn caller_of(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Caller::default()) };
    let given = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    match (given, &app.token) {
        (Some(given), Some(token)) if same(given, token) => Ok(Caller { token: true }),
        _ => Err(ApiError::new(ErrorCode::Unauthorized, "the token is not that of this server")
            .help("the server may have been started again; its newest token is in its home")),
    }
}

/// Compares digests, so that the time says nothing about the token.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

/// Browsers say where a request comes from, programs say nothing.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), ApiError> {
    let refused = |from: &str| {
        let detail = format!("a request that changes something may not come from {from}");
        Err(ApiError::new(ErrorCode::Forbidden, detail))
    };
    for origin in headers.get_all(header::ORIGIN) {
        let text = origin.to_str().unwrap_or("");
        let from = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if !from.is_some_and(|from| from.eq_ignore_ascii_case(host)) {
            return refused("another origin");
        }
    }
    for site in headers.get_all("sec-fetch-site") {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return refused("another site");
        }
    }
    Ok(())
}

/// A form of another site cannot send this type without being asked for permission first.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = types.next().and_then(|value| value.to_str().ok()).unwrap_or("");
    let (kind, rest) = kind.split_once(';').map_or((kind, ""), |(kind, rest)| (kind, rest.trim()));
    let plain = rest.is_empty() || rest.eq_ignore_ascii_case("charset=utf-8");
    if types.next().is_none() && plain && kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, "the body must be `application/json`")
        .help("send the header `content-type: application/json`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let hosts = Hosts::new(7100, &["tunnel.example:443".to_owned(), "Box".to_owned()]);
        let good =
            ["localhost:7100", "LOCALHOST:7100", "127.0.0.1:7100", "[::1]:7100", "box", "box:1"];
        for host in good {
            assert!(hosts.allow(host), "{host} should be allowed");
        }
        let bad = [
            "",
            "localhost",
            "localhost:7101",
            "127.0.0.1",
            "127.0.0.2:7100",
            "[::1]",
            "::1:7100",
            "evil.example:7100",
            "localhost.evil.example:7100",
            "localhost:7100.",
            "tunnel.example",
            "tunnel.example:80",
            "box.evil.example",
            "localhost:07100x",
            "a@localhost:7100",
        ];
        for host in bad {
            assert!(!hosts.allow(host), "{host} should be refused");
        }
        assert!(Hosts::new(80, &[]).allow("localhost"));
    }
}
