//! The files of `web/static`, inside the binary. Their addresses carry a hash, so browsers keep
//! them for good.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use serde::Deserialize;

use crate::api;
use crate::error::ApiError;
use crate::extract::{Path, Query};

#[derive(RustEmbed)]
#[folder = "../../web/static"]
struct Files;

fn tag(file: &EmbeddedFile) -> String {
    hex::encode(&file.metadata.sha256_hash()[..6])
}

/// The address of a file.
pub(super) fn address(name: &str) -> String {
    let version = Files::get(name).map(|file| tag(&file)).unwrap_or_default();
    format!("/static/{name}?v={version}")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    v: Option<String>,
}

pub(super) async fn file(
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // A name is looked up in the binary's own list: there is no path to leave.
    let file = Files::get(&name).ok_or_else(|| ApiError::not_found("there is no such file"))?;
    let tag = tag(&file);
    let caching = if asked.v.as_deref() == Some(&tag) {
        "public, max-age=31536000, immutable"
    } else {
        "public, no-cache"
    };
    let common = [
        (header::ETAG, format!("W/\"{tag}\"")),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
    ];
    if api::is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, file.data.into_owned()).into_response())
}
