//! What tasks read from and write to outside of Tidemill, by the names that lineage tools use
//! (<https://openlineage.io/docs/spec/naming>).

use serde_json::Value;
use tidemill_connector::Connector;
use tidemill_connectors::dataset::Dataset;

use super::FILES;

/// A dataset of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    /// `None`: it is a table of another DAG here.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

/// What the settings of a connector name.
pub(super) fn of(connector: &str, config: &Value) -> Outside {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let named = |namespace: &str, name: &str| Outside {
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    if let Some(name) = text("name").filter(|_| connector == Dataset::NAME) {
        return Outside { namespace: None, name: name.to_owned() };
    }
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
        let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
        assert_eq!(of(connector, config), Outside { namespace, name: name.to_owned() });
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
        check("dataset", &json!({"name": "crm.customers"}), "", "crm.customers");
    }
}
