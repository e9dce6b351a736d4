//! What handlers take from a request. Ids are parsed here, once, into their types; whatever does
//! not parse never reaches a handler.

mod fields;

use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ErrorCode};
use crate::routes::Caller;

/// The parts of the path. A part that is no valid id names nothing: 404.
pub(crate) struct Path<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
                Err(ApiError::not_found(why))
            }
        }
    }
}

/// The query. Unknown keys are refused by the types, which say `deny_unknown_fields`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
                Err(ApiError::bad_request(match value_fault(why) {
                    Some((name, fault)) => format!("`{name}` in the query {fault}"),
                    None => format!("the query is not understood: {why}"),
                }))
            }
        }
    }
}

/// What is wrong with the value of a key, in our words: `limit: invalid digit found in string`.
fn value_fault(why: &str) -> Option<(&str, &'static str)> {
    let (name, why) = why.split_once(": ")?;
    let fault = match why {
        "invalid digit found in string" => "is not a whole number",
        "cannot parse integer from empty string" => "is empty, and should be a number",
        "number too large to fit in target type" => "is too large a number",
        "provided string was not `true` or `false`" => "is neither `true` nor `false`",
        _ => return None,
    };
    Some((name, fault))
}

/// A JSON object as the body. The route has already refused other content types.
pub(crate) struct Body<T>(pub(crate) T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail =
                    format!("the body is longer than {} bytes", crate::app::BODY_BYTES_MAX);
                ApiError::new(ErrorCode::TooLarge, detail)
            } else {
                ApiError::bad_request("the body ended too early")
            }
        })?;
        if bytes.is_empty() {
            return Err(ApiError::bad_request("the body is empty").help("send at least `{}`"));
        }
        // Some types would take a list of their values, too; and what does not fit is called by the
        // names of our types.
        let begin = bytes.iter().find(|byte| !b" \t\r\n".contains(byte));
        if begin != Some(&b'{') {
            let help = match fields::of::<T>() {
                [] => "it has no fields: send `{}`".to_owned(),
                names => format!("it may hold {}", quoted(names)),
            };
            return Err(ApiError::bad_request("the body must be a JSON object").help(help));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::bad_request(format!("the body is not what this route takes: {error}"))
        })
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A body without fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}
