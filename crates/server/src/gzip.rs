//! Compresses texts for clients that take it. Answers that stream stay as they are.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Shorter bodies fit a packet anyway.
const BYTES_MIN: u64 = 1_400;
/// Longer ones would hold a worker for too long.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Wraps a route: see the module.
pub(crate) async fn gzip(request: Request, next: Next) -> Response {
    let takes = request
        .headers()
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            matches!(coding.trim(), "gzip" | "*") || coding.trim().starts_with("gzip;q=1")
        });
    let answer = next.run(request).await;
    if takes && is_text(&answer) { compress(answer).await } else { answer }
}

fn is_text(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let text = ["text/html", "text/css", "text/javascript", "image/svg", "application/json"];
    kind.is_some_and(|kind| text.iter().any(|text| kind.starts_with(text)))
        && !answer.headers().contains_key(header::CONTENT_ENCODING)
        && answer.body().size_hint().exact().is_some_and(|n| (BYTES_MIN..=BYTES_MAX).contains(&n))
}

async fn compress(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let Ok(bytes) = to_bytes(body, BYTES_MAX as usize).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(4));
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    match packed {
        Ok(packed) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            Response::from_parts(parts, Body::from(packed))
        }
        Err(_) => Response::from_parts(parts, Body::from(bytes)),
    }
}
