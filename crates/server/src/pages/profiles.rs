//! Customer profiles: look one up, and see where each value came from.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::json::{Block, blocks};
use super::parts::plain;
use super::{Frame, html};
use crate::api::check_profile_id;
use crate::app::App;
use crate::backend::ProfileDoc;
use crate::cursor;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::say;

/// Profiles on a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "profiles.html")]
struct List {
    frame: Frame,
    total: String,
    rows: Vec<Row>,
    next: Option<String>,
    first: bool,
    find: String,
    missed: bool,
}

struct Row {
    id: String,
    url: String,
    headline: Headline,
}

/// What stands out of a profile, whatever its fields.
#[derive(Default)]
struct Headline {
    /// A number of `score`, with its name.
    score: Option<(String, String)>,
    /// Words such as a band and a segment.
    words: Vec<String>,
}

#[derive(Template)]
#[template(path = "profile.html")]
struct One {
    frame: Frame,
    id: String,
    headline: Headline,
    blocks: Vec<Block>,
    raw: String,
    api: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    find: Option<String>,
    after: Option<String>,
}

pub(super) async fn list(
    Shared(app): Shared<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let find = query.find.as_deref().unwrap_or("").trim().to_owned();
    if !find.is_empty() && check_profile_id(&find).is_ok() && app.backend.profile(&find).is_some() {
        let to = [(header::LOCATION, address(&find))];
        return Ok((StatusCode::SEE_OTHER, to).into_response());
    }
    let after = query.after.as_deref().map(cursor::read).transpose()?;
    let page = app.backend.profiles(after.as_deref(), PAGE).await?;
    html(&List {
        frame: Frame::new(&app, "Profiles", "profiles"),
        total: say::plural(page.total, "profile"),
        rows: page.profiles.iter().map(row).collect(),
        next: page.next.as_deref().map(cursor::write),
        first: after.is_none(),
        missed: !find.is_empty(),
        find,
    })
}

pub(super) async fn show(
    Shared(app): Shared<App>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    check_profile_id(&id)?;
    let profile = app.backend.profile(&id).ok_or_else(|| {
        ApiError::not_found("there is no such profile")
            .help("search by the customer's id, or by an identity such as `email:ada@example.test`")
    })?;
    let document = document(&profile);
    html(&One {
        frame: Frame::new(&app, "Profile", "profiles"),
        headline: headline(&document),
        blocks: blocks(&document),
        raw: serde_json::to_string_pretty(&document).unwrap_or_default(),
        api: format!("/api/v1{}", address(&profile.id)),
        id: profile.id,
    })
}

fn document(profile: &ProfileDoc) -> Map<String, Value> {
    serde_json::from_slice(&profile.json).unwrap_or_default()
}

fn row(profile: &ProfileDoc) -> Row {
    let headline = headline(&document(profile));
    Row { url: address(&profile.id), id: profile.id.clone(), headline }
}

/// The page of a profile. Ids may hold anything, so every byte that is not plain is escaped.
fn address(id: &str) -> String {
    let mut text = "/profiles/".to_owned();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && id.len() > 2)
        {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn headline(document: &Map<String, Value>) -> Headline {
    let score = document.get("score");
    let fields = score.and_then(Value::as_object);
    let number = fields
        .and_then(|fields| fields.iter().find(|(_, value)| value.is_number()))
        .and_then(|(name, value)| Some((name.clone(), format!("{:.1}", value.as_f64()?))))
        .or_else(|| Some(("score".to_owned(), format!("{:.1}", score?.as_f64()?))));
    let words = ["band", "segment"].into_iter().filter_map(|name| {
        let value = fields.and_then(|fields| fields.get(name)).or_else(|| document.get(name))?;
        value.is_string().then(|| plain(value))
    });
    Headline { score: number, words: words.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_any_id() {
        let check = |id: &str, expected: &str| assert_eq!(address(id), expected);
        check("17850", "/profiles/17850");
        check("email:a.b@c.test", "/profiles/email%3Aa.b%40c.test");
        check("..", "/profiles/%2E%2E");
        check("a/b?c#d", "/profiles/a%2Fb%3Fc%23d");
        check("é", "/profiles/%C3%A9");
    }
}
