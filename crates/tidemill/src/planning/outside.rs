//! What tasks read from and write to outside of Tidemill, by the names that lineage tools use
//! (<https://openlineage.io/docs/spec/naming>).

use serde_json::Value;

use super::FILES;

/// A dataset of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What the settings of a connector name.
pub(super) fn of(connector: &str, config: &Value) -> Outside {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let named = |namespace: &str, name: &str| Outside {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    if let Some(path) = text("path").filter(|_| FILES.contains(&connector)) {
        return named("file", path);
    }
    if let Some(url) = text("url").and_then(|url| url.parse::<reqwest::Url>().ok()) {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        // What is asked for may hold keys, so it is left out.
        return named(&format!("{}://{host}{port}", url.scheme()), url.path());
    }
    let own = text("name").or(text("table")).or(text("path"));
    match (text("connection"), own) {
        (Some(connection), Some(name)) => named(&format!("{connector}://{connection}"), name),
        (Some(connection), None) => named(connector, connection),
        (None, name) => named(connector, name.unwrap_or(connector)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(connector: &str, config: &Value, namespace: &str, name: &str) {
        let expected = Outside { namespace: namespace.to_owned(), name: name.to_owned() };
        assert_eq!(of(connector, config), expected);
    }

    #[test]
    fn datasets_have_the_names_of_their_systems() {
        check("csv", &json!({"path": "in/a.csv"}), "file", "in/a.csv");
        let url = "https://u:p@api.example.com:8443/v1/items?key=s3cret";
        check("http", &json!({"url": url}), "https://api.example.com:8443", "/v1/items");
        check("http", &json!({"connection": "shop", "path": "/v1"}), "http://shop", "/v1");
        check("sql", &json!({"connection": "wh", "table": "mart.rfm"}), "sql://wh", "mart.rfm");
        check("profiles", &json!({"name": "p"}), "profiles", "p");
        check("outbox", &json!({}), "outbox", "outbox");
    }
}
