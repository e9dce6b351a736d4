//! What is asked: address, headers, secrets.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use tidemill_connector::{Connection, ConnectorError, SourceContext};
use tidemill_model::Secret;
use tidemill_model::time::parse_duration;

use super::{HttpSourceConfig, Method, QueryValue};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 10;
/// A secret shorter than this would, when masked, tear holes into harmless text.
const MASKED_CHARS_MIN: usize = 4;

/// Everything that the requests of a source have in common.
pub(super) struct Request {
    client: Client,
    method: Method,
    url: Url,
    body: Option<serde_json::Value>,
    /// Values that must not appear in a message.
    secrets: Vec<String>,
    /// How long a page may take.
    pub(super) timeout: Duration,
}

impl Request {
    pub(super) fn new(
        config: &HttpSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let timeout = timeout(&config.timeout)?;
        check_body(config)?;
        let mut url = address(config, cx.connection.as_ref())?;
        if !config.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &config.query {
                pairs.append_pair(name, &value.to_text());
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let mut secrets = Vec::new();
        for (name, value) in &config.headers {
            add_header(&mut headers, name, value, "`headers`")?;
            secrets.push(value.clone());
        }
        if let Some(connection) = &cx.connection {
            authenticate(connection, &mut headers, &mut secrets)?;
        }
        // Values in the address may be keys too.
        secrets.extend(config.query.values().filter_map(|value| match value {
            QueryValue::Text(text) => Some(text.clone()),
            _ => None,
        }));
        secrets.retain(|secret| secret.chars().count() >= MASKED_CHARS_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let with_secrets = cx.connection.is_some() || !config.headers.is_empty();
        let client = client(headers, timeout, with_secrets)?;
        Ok(Self { client, method: config.method, url, body: config.body.clone(), secrets, timeout })
    }

    /// The request for one page.
    pub(super) fn page(&self, params: &[(String, String)]) -> RequestBuilder {
        let mut url = self.url.clone();
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        let builder = match self.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
        };
        match &self.body {
            Some(body) => builder.json(body),
            None => builder,
        }
    }

    /// The address for messages: without parameters, which may hold keys.
    pub(super) fn name(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }

    /// `text` with every secret replaced.
    pub(super) fn mask(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl QueryValue {
    fn to_text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// How long a page may take.
pub(super) fn timeout(text: &str) -> Result<Duration, ConnectorError> {
    let timeout = parse_duration(text)
        .map_err(|error| ConnectorError::misconfigured(format!("`timeout`: {error}")))?;
    if timeout.is_zero() {
        return Err(ConnectorError::misconfigured("`timeout` is 0, which no page can keep")
            .help("write how long a page may take, for example `30s`"));
    }
    Ok(timeout)
}

pub(super) fn check_body(config: &HttpSourceConfig) -> Result<(), ConnectorError> {
    if config.body.is_some() && config.method == Method::Get {
        return Err(ConnectorError::misconfigured("`body` needs `method: POST`")
            .help("leave `body` out, or add `method: POST`"));
    }
    Ok(())
}

/// Refuses a header that no request can have.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), ConnectorError> {
    add_header(&mut HeaderMap::new(), name, value, "`headers`")
}

/// Refuses settings that name no address, two, or one that is none. What a connection adds is not
/// known yet.
pub(super) fn check_address(config: &HttpSourceConfig) -> Result<(), ConnectorError> {
    match (&config.url, &config.connection, &config.path) {
        (Some(url), None, None) => parse_address(url).map(|_| ()),
        (Some(_), _, _) => Err(not_alone()),
        (None, Some(_), _) => Ok(()),
        (None, None, _) => Err(no_address()),
    }
}

fn not_alone() -> ConnectorError {
    ConnectorError::misconfigured("`url` stands alone")
        .help("write either `url`, or `connection` and `path`")
}

fn no_address() -> ConnectorError {
    ConnectorError::misconfigured("there is no address")
        .help("write `url`, or `connection` and `path`")
}

fn client(
    headers: HeaderMap,
    timeout: Duration,
    with_secrets: bool,
) -> Result<Client, ConnectorError> {
    // Unpacking is done by us, because then a limit holds for what comes out, and because a body
    // cut short is noticed.
    Client::builder()
        .no_gzip()
        .no_proxy()
        .default_headers(headers)
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .redirect(redirects(with_secrets))
        .build()
        .map_err(|error| {
            ConnectorError::internal(format!("cannot set up HTTP: {}", root_cause(&error)))
        })
}

/// Redirects are followed, but secrets do not travel to another host.
fn redirects(with_secrets: bool) -> Policy {
    Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            return attempt.error("too many redirects");
        }
        let same_host = attempt.previous().first().is_some_and(|first| {
            let (from, to) = (first.origin(), attempt.url().origin());
            let upgrade = first.scheme() == "http"
                && attempt.url().scheme() == "https"
                && first.host() == attempt.url().host()
                && first.port().is_none()
                && attempt.url().port().is_none();
            from == to || upgrade
        });
        if same_host || !with_secrets { attempt.follow() } else { attempt.stop() }
    })
}

fn address(
    config: &HttpSourceConfig,
    connection: Option<&Connection>,
) -> Result<Url, ConnectorError> {
    let text = match (&config.url, connection) {
        (Some(url), None) if config.path.is_none() => url.clone(),
        (None, Some(connection)) => {
            let base = connection.require("base_url")?.trim_end_matches('/');
            let path = config.path.as_deref().unwrap_or_default().trim_start_matches('/');
            if path.is_empty() { base.to_owned() } else { format!("{base}/{path}") }
        }
        (Some(_), _) => return Err(not_alone()),
        (None, None) => return Err(no_address()),
    };
    parse_address(&text)
}

/// The text is not quoted in messages: it may hold a password or a key.
fn parse_address(text: &str) -> Result<Url, ConnectorError> {
    let example = "write it whole, for example `https://shop.example/v1/orders`";
    let url = Url::parse(text).map_err(|error| {
        ConnectorError::misconfigured(format!("the address is wrong: {error}")).help(example)
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConnectorError::misconfigured(
            "the address must start with http:// or https://",
        )
        .help(example));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConnectorError::misconfigured("the address holds a user or a password")
            .help("write them into a connection: `user` and `password`"));
    }
    Ok(url)
}

fn authenticate(
    connection: &Connection,
    headers: &mut HeaderMap,
    secrets: &mut Vec<String>,
) -> Result<(), ConnectorError> {
    let name = &connection.name;
    let place = format!("connection `{name}`");
    let secret_or_text = |field: &str| {
        let secret = connection.secret(field).map(Secret::expose);
        secret.or_else(|| connection.text(field))
    };
    if let Some(token) = secret_or_text("token") {
        secrets.push(token.to_owned());
        let (header, value) = match connection.text("header") {
            Some(header) => (header, token.to_owned()),
            None => (AUTHORIZATION.as_str(), format!("Bearer {token}")),
        };
        return add_header(headers, header, &value, &place);
    }
    match (secret_or_text("user"), secret_or_text("password")) {
        (Some(user), password) => {
            let password = password.unwrap_or_default();
            let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
            secrets.push(password.to_owned());
            secrets.push(encoded.clone());
            add_header(headers, AUTHORIZATION.as_str(), &format!("Basic {encoded}"), &place)
        }
        (None, Some(_)) => {
            Err(ConnectorError::misconfigured(format!("{place} has a `password` and no `user`")))
        }
        (None, None) if connection.text("header").is_some() => Err(ConnectorError::misconfigured(
            format!("{place} has a `header` and no `token` for it"),
        )),
        (None, None) => Ok(()),
    }
}

fn add_header(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
    place: &str,
) -> Result<(), ConnectorError> {
    let header = HeaderName::try_from(name).map_err(|_| {
        ConnectorError::misconfigured(format!("{place}: `{name}` is no name of a header"))
            .help("a name is made of letters, digits and `-`")
    })?;
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        ConnectorError::misconfigured(format!(
            "{place}: the value of `{name}` has characters that no header may have"
        ))
    })?;
    value.set_sensitive(true);
    headers.insert(header, value);
    Ok(())
}

/// What lies at the bottom of an error: `connection refused` rather than `error sending request`.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use tidemill_model::Secret;

    use super::*;

    fn connection(fields: &Value, secrets: &[(&str, &str)]) -> Connection {
        let fields: Map<String, Value> = fields.as_object().unwrap().clone();
        let secrets =
            secrets.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect();
        Connection::new("shop", "http", fields, secrets)
    }

    fn connection_of(secrets: &[(&str, &str)], header: &str) -> Connection {
        let fields = match header {
            "authorization" => json!({"base_url": "https://a.example", "user": "u"}),
            header => json!({"base_url": "https://a.example", "header": header}),
        };
        connection(&fields, secrets)
    }

    fn request(config: Value, connection: Option<Connection>) -> Result<Request, ConnectorError> {
        let config = serde_json::from_value(config).unwrap();
        let cx = SourceContext { batch_rows: 10, folder: "/".into(), connection };
        Request::new(&config, &cx)
    }

    #[test]
    fn addresses() {
        let check = |config: Value, base: Option<&str>, expected: &str| {
            let connection = base.map(|base| connection(&json!({"base_url": base}), &[]));
            let params = [("page".to_owned(), "2".to_owned())];
            let got = request(config, connection).map(|request| {
                let built = request.page(&params).build().unwrap();
                built.url().to_string()
            });
            assert_eq!(got.unwrap_or_else(|error| error.to_string()), expected);
        };
        check(json!({"url": "https://a.example/x?y=1"}), None, "https://a.example/x?y=1&page=2");
        check(
            json!({"path": "/orders", "query": {"a": "b c", "n": 5, "f": true}}),
            Some("https://a.example/v1/"),
            "https://a.example/v1/orders?a=b+c&f=true&n=5&page=2",
        );
        check(json!({}), Some("https://a.example/v1"), "https://a.example/v1?page=2");
        check(
            json!({"path": "//evil.example/x"}),
            Some("https://a.example"),
            "https://a.example/evil.example/x?page=2",
        );
        check(json!({}), None, "there is no address; write `url`, or `connection` and `path`");
        check(
            json!({"url": "https://a.example"}),
            Some("https://a.example"),
            "`url` stands alone; write either `url`, or `connection` and `path`",
        );
        check(
            json!({"url": "file:///etc/passwd"}),
            None,
            "the address must start with http:// or https://; write it whole, for example \
             `https://shop.example/v1/orders`",
        );
        check(
            json!({"url": "https://u:p@a.example"}),
            None,
            "the address holds a user or a password; write them into a connection: `user` and `password`",
        );
    }

    #[test]
    fn secrets_go_into_headers_and_stay_out_of_messages() {
        let check = |fields: Value, secrets: &[(&str, &str)], header: &str, value: &str| {
            let request =
                request(json!({"path": "x"}), Some(connection(&fields, secrets))).unwrap();
            assert_eq!(request.name(), "https://a.example/x");
            for (_, secret) in secrets {
                assert_eq!(request.mask(&format!("<{secret}>")), "<***>");
            }
            let mut headers = HeaderMap::new();
            let connection = connection_of(secrets, header);
            authenticate(&connection, &mut headers, &mut Vec::new()).unwrap();
            assert_eq!(headers[header].to_str().unwrap(), value);
            assert!(headers[header].is_sensitive());
        };
        let base = json!({"base_url": "https://a.example", "user": "u"});
        check(base.clone(), &[("token", "t0ken")], "authorization", "Bearer t0ken");
        check(base.clone(), &[("token", "t0ken")], "x-api-key", "t0ken");
        check(base, &[("password", "pa55")], "authorization", "Basic dTpwYTU1");
        let broken = connection(&json!({"base_url": "https://a.example"}), &[("token", "a\nb")]);
        let message = request(json!({}), Some(broken)).err().unwrap().to_string();
        assert_eq!(
            message,
            "connection `shop`: the value of `authorization` has characters that no header may have"
        );
    }
}
