//! Which page comes next.

use sha2::{Digest, Sha256};
use tidemill_connector::ConnectorError;
use tidemill_model::words::counted;

use super::page::PageEnd;
use super::{Cursor, Format, HttpSourceConfig, PageNumbers, Pagination, Stop};

/// The pages of a source: those that were had, and the one to ask for.
///
/// Asking changes nothing; only a page that arrived whole moves on. So a page that failed is asked
/// for again, and none is left out or had twice.
pub(super) struct Paging {
    pagination: Option<Pagination>,
    next: Option<Next>,
    /// Pages had.
    had: u64,
    max_pages: u64,
    /// The page before, to notice a server that gives the same one over and over.
    last: Option<[u8; 32]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    First,
    Number(u64),
    Cursor(String),
}

/// Refuses pages that can never be asked for.
pub(super) fn check_pagination(config: &HttpSourceConfig) -> Result<(), ConnectorError> {
    let free = |param: &str| {
        if config.query.contains_key(param) {
            return Err(ConnectorError::misconfigured(format!(
                "`query` sets the parameter `{param}`, which `pagination` sets too"
            ))
            .help("take it out of `query`"));
        }
        Ok(())
    };
    match &config.pagination {
        None => Ok(()),
        Some(Pagination::Cursor(cursor)) => {
            if config.format != Format::Json {
                return Err(ConnectorError::misconfigured(
                    "`pagination: {cursor: …}` needs `format: json`",
                )
                .help("the other formats have no place for the text of the next page"));
            }
            for (key, text) in [("param", &cursor.param), ("next", &cursor.next)] {
                if text.is_empty() {
                    return Err(ConnectorError::misconfigured(format!(
                        "`pagination.cursor.{key}` is empty"
                    )));
                }
            }
            free(&cursor.param)
        }
        Some(Pagination::Page(page)) => {
            if page.size.is_none() && (page.stop == Stop::Short || page.size_param.is_some()) {
                return Err(ConnectorError::misconfigured(
                    "`stop: short` and `size_param` need `size`",
                )
                .help("add `size`: how many rows a full page has"));
            }
            if page.size == Some(0) {
                return Err(ConnectorError::misconfigured(
                    "`pagination.page.size` must be at least 1",
                ));
            }
            if page.size_param.as_ref() == Some(&page.param) {
                return Err(ConnectorError::misconfigured(format!(
                    "`param` and `size_param` are both `{}`",
                    page.param
                ))
                .help("the number of the page and the rows in it need a parameter each"));
            }
            if page.param.is_empty() {
                return Err(ConnectorError::misconfigured("`pagination.page.param` is empty"));
            }
            [Some(&page.param), page.size_param.as_ref()]
                .into_iter()
                .flatten()
                .try_for_each(|p| free(p))
        }
    }
}

/// Refuses a limit that not even one page or byte keeps.
pub(super) fn check_limit(key: &str, limit: u64) -> Result<(), ConnectorError> {
    if limit == 0 {
        return Err(ConnectorError::misconfigured(format!("`{key}` must be at least 1")));
    }
    Ok(())
}

impl Paging {
    pub(super) fn new(config: &HttpSourceConfig) -> Result<Self, ConnectorError> {
        check_pagination(config)?;
        let next = match &config.pagination {
            Some(Pagination::Page(page)) => Next::Number(page.start),
            Some(Pagination::Cursor(_)) | None => Next::First,
        };
        Ok(Self {
            pagination: config.pagination.clone(),
            next: Some(next),
            had: 0,
            max_pages: config.max_pages,
            last: None,
        })
    }

    /// The number of the page to ask for, from 1, for messages.
    pub(super) fn number(&self) -> u64 {
        self.had + 1
    }

    /// The parameters of the page to ask for; `None` when all were had.
    pub(super) fn params(&self) -> Result<Option<Vec<(String, String)>>, ConnectorError> {
        let Some(next) = &self.next else { return Ok(None) };
        if self.had >= self.max_pages {
            return Err(ConnectorError::data(format!(
                "there are more than {}",
                counted(self.max_pages, "page")
            ))
            .help("raise `max_pages`, or look whether the pages ever end"));
        }
        Ok(Some(match (&self.pagination, next) {
            (Some(Pagination::Page(page)), Next::Number(number)) => {
                let mut params = vec![(page.param.clone(), number.to_string())];
                if let (Some(param), Some(size)) = (&page.size_param, page.size) {
                    params.push((param.clone(), size.to_string()));
                }
                params
            }
            (Some(Pagination::Cursor(cursor)), Next::Cursor(text)) => {
                vec![(cursor.param.clone(), text.clone())]
            }
            _ => Vec::new(),
        }))
    }

    /// Moves on after a page that arrived whole.
    pub(super) fn had(&mut self, body: &str, end: PageEnd) -> Result<(), ConnectorError> {
        let next = match (&self.pagination, self.next.take()) {
            (Some(Pagination::Page(page)), Some(Next::Number(number))) => {
                self.after_number(page, number, body, end.rows)?
            }
            (Some(Pagination::Cursor(cursor)), now) => {
                after_cursor(cursor, now.as_ref(), end.next)?
            }
            _ => None,
        };
        self.last = Some(Sha256::digest(body.as_bytes()).into());
        self.next = next;
        self.had += 1;
        Ok(())
    }

    fn after_number(
        &self,
        page: &PageNumbers,
        number: u64,
        body: &str,
        rows: u64,
    ) -> Result<Option<Next>, ConnectorError> {
        if rows > 0 && self.last == Some(Sha256::digest(body.as_bytes()).into()) {
            return Err(ConnectorError::data(format!(
                "page {number} is the same as the page before"
            ))
            .help(format!("does the server know the parameter `{}`?", page.param)));
        }
        let last = match page.stop {
            Stop::Empty => rows == 0,
            Stop::Short => rows < page.size.unwrap_or(0),
        };
        Ok((!last).then(|| Next::Number(number.saturating_add(1))))
    }
}

fn after_cursor(
    cursor: &Cursor,
    now: Option<&Next>,
    next: Option<String>,
) -> Result<Option<Next>, ConnectorError> {
    let next = next.map(Next::Cursor);
    if next.is_some() && next.as_ref() == now {
        return Err(ConnectorError::data("a page names itself as the next one")
            .help(format!("does the server know the parameter `{}`?", cursor.param)));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paging(config: Value) -> Result<Paging, ConnectorError> {
        Paging::new(&serde_json::from_value(config).unwrap())
    }

    fn asked(paging: &Paging) -> Option<String> {
        let params = paging.params().unwrap()?;
        Some(params.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&"))
    }

    /// Pages as (rows, next); the parameters that are asked for.
    fn check(config: Value, pages: &[(u64, Option<&str>)], expected: &[&str]) {
        let mut paging = paging(config).unwrap();
        let mut got = Vec::new();
        for (number, (rows, next)) in pages.iter().enumerate() {
            let Some(params) = asked(&paging) else { break };
            assert_eq!(asked(&paging), Some(params.clone()), "asking changes nothing");
            got.push(params);
            let end = PageEnd { rows: *rows, next: next.map(ToOwned::to_owned) };
            paging.had(&format!("body {number}"), end).unwrap();
        }
        assert_eq!(got, expected);
        assert_eq!(asked(&paging), None);
    }

    #[test]
    fn pages_follow_each_other() {
        check(json!({}), &[(5, None)], &[""]);
        check(
            json!({"pagination": {"page": {"param": "p"}}}),
            &[(5, None), (5, None), (0, None)],
            &["p=1", "p=2", "p=3"],
        );
        check(
            json!({"pagination": {"page": {"param": "p", "start": 0, "size_param": "n", "size": 5, "stop": "short"}}}),
            &[(5, None), (3, None)],
            &["p=0&n=5", "p=1&n=5"],
        );
        check(
            json!({"pagination": {"cursor": {"param": "c", "next": "next"}}}),
            &[(5, Some("a")), (0, Some("b")), (1, None)],
            &["", "c=a", "c=b"],
        );
    }

    #[test]
    fn pages_that_never_end_are_noticed() {
        let mut numbers = paging(json!({"pagination": {"page": {"param": "p"}}})).unwrap();
        numbers.had("same", PageEnd { rows: 1, next: None }).unwrap();
        assert_eq!(
            numbers.had("same", PageEnd { rows: 1, next: None }).unwrap_err().to_string(),
            "page 2 is the same as the page before; does the server know the parameter `p`?"
        );
        let mut cursors =
            paging(json!({"pagination": {"cursor": {"param": "c", "next": "n"}}})).unwrap();
        let end = || PageEnd { rows: 1, next: Some("x".to_owned()) };
        cursors.had("1", end()).unwrap();
        assert_eq!(
            cursors.had("2", end()).unwrap_err().to_string(),
            "a page names itself as the next one; does the server know the parameter `c`?"
        );
        let mut few =
            paging(json!({"max_pages": 1, "pagination": {"page": {"param": "p"}}})).unwrap();
        few.had("1", PageEnd { rows: 1, next: None }).unwrap();
        assert_eq!(
            few.params().unwrap_err().to_string(),
            "there are more than 1 page; raise `max_pages`, or look whether the pages ever end"
        );
    }

    #[test]
    fn settings_that_contradict_each_other() {
        let check = |config: Value, expected: &str| {
            assert_eq!(paging(config).err().unwrap().to_string(), expected);
        };
        check(
            json!({"query": {"p": 1}, "pagination": {"page": {"param": "p"}}}),
            "`query` sets the parameter `p`, which `pagination` sets too; take it out of `query`",
        );
        check(
            json!({"pagination": {"page": {"param": "p", "stop": "short"}}}),
            "`stop: short` and `size_param` need `size`; add `size`: how many rows a full page has",
        );
        check(
            json!({"format": "csv", "pagination": {"cursor": {"param": "p", "next": "n"}}}),
            "`pagination: {cursor: …}` needs `format: json`; the other formats have no place for \
             the text of the next page",
        );
    }
}
