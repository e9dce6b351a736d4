//! Customer profiles.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, BytesMut};
use serde::Deserialize;

use super::limit_of;
use crate::app::App;
use crate::cursor;
use crate::error::ApiError;
use crate::extract::{Path, Query};

/// Bytes of an id or an identity.
const ID_BYTES_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// The stored objects are passed on as they are.
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let after = query.after.as_deref().map(cursor::read).transpose()?;
    let page = app.backend.profiles(after.as_deref(), limit_of(query.limit)?).await?;
    let mut body = BytesMut::from(&b"{\"items\":["[..]);
    for (n, profile) in page.profiles.iter().enumerate() {
        if n > 0 {
            body.put_u8(b',');
        }
        body.extend_from_slice(&profile.json);
    }
    let next = page.next.as_deref().map(cursor::write);
    let end = format!("],\"next\":{},\"total\":{}}}", serde_json::json!(next), page.total);
    body.extend_from_slice(end.as_bytes());
    Ok(([(header::CONTENT_TYPE, "application/json")], body.freeze()).into_response())
}

/// A profile's id, or 404.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        let detail = format!("a profile's id has 1 to {ID_BYTES_MAX} bytes");
        return Err(ApiError::not_found(detail));
    }
    Ok(())
}

pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_id(&id)?;
    // What was asked for is not repeated: ids are personal.
    let profile =
        app.backend.profile(&id).ok_or_else(|| ApiError::not_found("there is no such profile"))?;
    let etag = format!("W/\"{}\"", profile.etag);
    if is_known(&headers, &profile.etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, etag)];
    Ok((headers, profile.json).into_response())
}

/// Whether the client already has the answer with this tag.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|tag| tag == etag || tag == "*")
}
