//! One page: fetched whole, or an error in its class.

use std::io::Read;

use chrono::Utc;
use encoding_rs::{Encoding, UTF_8};
use flate2::read::MultiGzDecoder;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use reqwest::{Response, StatusCode, Version};
use tidemill_connector::ConnectorError;
use tidemill_model::time::human_duration;
use tidemill_model::words::counted;

use super::Format;
use super::request::{Request, root_cause};
use super::retry_after::retry_after;

/// Bytes of a refusal that are quoted.
const REFUSAL_BYTES_MAX: usize = 200;

/// The body of a page, as UTF-8 text.
pub(super) type Body = String;

/// Asks for a page. It may be asked for again after a retryable error: nothing here has a memory.
pub(super) async fn fetch(
    request: &Request,
    params: &[(String, String)],
    format: Format,
    max_bytes: u64,
) -> Result<Body, ConnectorError> {
    let name = request.name();
    let response =
        request.page(params).send().await.map_err(|e| transport_error(request, &name, e))?;
    if !response.status().is_success() || response.status() == StatusCode::PARTIAL_CONTENT {
        return Err(refusal(request, &name, response).await);
    }
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        return Ok(String::new());
    }
    let marked_end = has_marked_end(&response);
    let gzip = match header(&response, &CONTENT_ENCODING) {
        None | Some("" | "identity") => false,
        Some("gzip" | "x-gzip") => true,
        Some(other) => {
            return Err(ConnectorError::data(format!(
                "`{name}` is packed with `{other}`, which was not asked for"
            )));
        }
    };
    let encoding = charset(&response);
    let packed = read_body(request, &name, response, max_bytes).await?;
    let bytes = if gzip { unpack(&name, &packed, max_bytes)? } else { packed };
    // A connection that closes looks the same after half an answer as after a whole one. JSON
    // tells by itself where it ends; rows in lines do at least end with a line.
    if format == Format::Json && bytes.is_empty() {
        return Err(cut_short(&name, "it is empty"));
    }
    if format != Format::Json && !marked_end && !gzip && !bytes.ends_with(b"\n") {
        return Err(cut_short(&name, "its last line has no end"));
    }
    to_text(&name, bytes, encoding)
}

/// The error for an answer that broke off on the way.
pub(super) fn cut_short(name: &str, why: &str) -> ConnectorError {
    ConnectorError::retryable(format!("the answer of `{name}` is cut short: {why}"))
}

/// Whether the other side says how long the answer is, so that a cut is noticed below.
fn has_marked_end(response: &Response) -> bool {
    response.version() >= Version::HTTP_2
        || response.headers().contains_key(CONTENT_LENGTH)
        || response.headers().contains_key(TRANSFER_ENCODING)
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The encoding that the answer names, UTF-8 if it names none.
fn charset(response: &Response) -> &'static Encoding {
    header(response, &CONTENT_TYPE)
        .and_then(|value| value.split(';').find_map(|part| part.trim().strip_prefix("charset=")))
        .and_then(|label| Encoding::for_label(label.trim_matches('"').as_bytes()))
        .unwrap_or(UTF_8)
}

async fn read_body(
    request: &Request,
    name: &str,
    mut response: Response,
    max_bytes: u64,
) -> Result<Vec<u8>, ConnectorError> {
    if response.content_length().is_some_and(|length| length > max_bytes) {
        return Err(too_large(name, max_bytes));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| transport_error(request, name, e))? {
        if body.len() as u64 + chunk.len() as u64 > max_bytes {
            return Err(too_large(name, max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unpack(name: &str, packed: &[u8], max_bytes: u64) -> Result<Vec<u8>, ConnectorError> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| cut_short(name, &error.to_string()))?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(name, max_bytes));
    }
    Ok(bytes)
}

fn to_text(
    name: &str,
    bytes: Vec<u8>,
    encoding: &'static Encoding,
) -> Result<String, ConnectorError> {
    let no_text = |encoding: &'static Encoding| {
        ConnectorError::data(format!("the answer of `{name}` is no {} text", encoding.name()))
    };
    if encoding == UTF_8 && !bytes.starts_with(b"\xef\xbb\xbf") {
        return String::from_utf8(bytes).map_err(|_| no_text(UTF_8));
    }
    let (text, encoding, broken) = encoding.decode(&bytes);
    if broken { Err(no_text(encoding)) } else { Ok(text.into_owned()) }
}

fn too_large(name: &str, max_bytes: u64) -> ConnectorError {
    ConnectorError::misconfigured(format!(
        "a page of `{name}` has more than {}",
        counted(max_bytes, "byte")
    ))
    .help("ask for smaller pages, or raise `max_bytes`")
}

/// An answer that is no success. Overload passes; the rest is a refusal.
async fn refusal(request: &Request, name: &str, response: Response) -> ConnectorError {
    let status = response.status();
    let passing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if passing {
        let message = format!("`{name}` answered {status}");
        let date = header(&response, &DATE);
        let asked = header(&response, &RETRY_AFTER);
        return match asked.and_then(|value| retry_after(value, date, Utc::now())) {
            Some(after) => ConnectorError::retry_after(message, after),
            None => ConnectorError::retryable(message),
        };
    }
    if status.is_redirection() && response.headers().contains_key(LOCATION) {
        return ConnectorError::refused(format!(
            "`{name}` redirects to another host, which must not see the secrets"
        ))
        .help("use the address it redirects to");
    }
    let help = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "look at the `token`, or the `user` and `password`, of the connection"
        }
        StatusCode::NOT_FOUND => "look at the address",
        _ => "",
    };
    let said = start_of_body(response).await;
    let said = request.mask(said.trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let error = ConnectorError::refused(format!("`{name}` answered {status}{said}"));
    if help.is_empty() { error } else { error.help(help) }
}

/// The first bytes of a body as one line of text; what does not arrive is not waited for twice.
async fn start_of_body(mut response: Response) -> String {
    let mut start = Vec::new();
    while start.len() < REFUSAL_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        start.extend_from_slice(&chunk);
    }
    start.truncate(REFUSAL_BYTES_MAX);
    String::from_utf8_lossy(&start).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A request that got no whole answer. Nearly all of these pass by themselves.
fn transport_error(request: &Request, name: &str, error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        let timeout = human_duration(request.timeout);
        return ConnectorError::retryable(format!(
            "`{name}` gave no whole answer within {timeout}"
        ))
        .help("raise `timeout` if it needs longer");
    }
    let cause = request.mask(&root_cause(&error));
    if error.is_redirect() {
        return ConnectorError::refused(format!(
            "cannot follow the redirects of `{name}`: {cause}"
        ));
    }
    if cause.contains("certificate") {
        return ConnectorError::misconfigured(format!("`{name}` is not who it says: {cause}"));
    }
    if error.is_builder() {
        return ConnectorError::misconfigured(format!("cannot ask `{name}`: {cause}"));
    }
    if error.is_body() || error.is_decode() {
        return cut_short(name, &cause);
    }
    ConnectorError::retryable(format!("cannot reach `{name}`: {cause}"))
}
