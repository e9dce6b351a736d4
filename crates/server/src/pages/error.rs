//! Errors as pages, where a person asked.

use askama::Template;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;

use super::Frame;
use crate::app::App;
use crate::error::ApiError;

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
    frame: Frame,
    status: u16,
    title: &'static str,
    detail: String,
    help: Option<String>,
}

/// The answer as it is, or a page in its place when it is an error and its address is a page's.
pub(crate) fn for_people(app: &App, path: &str, answer: Response) -> Response {
    let machine = ["/api/", "/static/", "/health", "/metrics"];
    if machine.iter().any(|prefix| path.starts_with(prefix)) {
        return answer;
    }
    let Some(error) = answer.extensions().get::<ApiError>().cloned() else { return answer };
    let page = Page {
        frame: Frame::new(app, error.code.title(), ""),
        status: error.code.status().as_u16(),
        title: error.code.title(),
        detail: error.detail,
        help: error.help,
    };
    let Ok(text) = page.render() else { return answer };
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    parts.headers.insert(header::CONTENT_TYPE, kind);
    Response::from_parts(parts, text.into())
}
