//! The small files beside the DAGs: `connections.yaml`, `pools.yaml`, and [`calendars`].

mod calendars;

use std::path::Path;

use serde_json::{Map, Value, json};
use tidemill_model::{DagId, PoolName};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::keys::{self, Key, SLOTS_MAX};
use crate::read::value;
use crate::report::{Place, Report, SourceText, listed, quoted};
use crate::settings::{self, Kind, Owner};
use crate::yaml;
use crate::yaml::node::{Data, Entry};
pub use calendars::parse_calendars;
pub(crate) use calendars::weekday_bits;

/// A connection as written.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionSpec {
    /// Its name.
    pub name: String,
    /// Its `type`: the kind of system.
    pub kind: String,
    /// The other fields that are no secrets.
    pub fields: Map<String, Value>,
    /// Fields that are secrets: (field, name of the secret).
    pub secrets: Vec<(String, String)>,
}

/// The keys of a pool.
pub(crate) static POOL: &[Key] = &[Key {
    name: "slots",
    doc: "How many tasks of the pool run at once.",
    later: false,
    schema: || serde_json::json!({"type": "integer", "minimum": 1, "maximum": SLOTS_MAX}),
}];

/// A kind of connection that an installation knows.
#[derive(Debug, Clone)]
pub struct ConnectionType {
    /// Its `type`.
    pub name: String,
    /// What connections of this type hold besides, as a JSON Schema.
    pub schema: Value,
}

/// Reads `connections.yaml`: `NAME: {type: http, base_url: …, token: {secret: shop_token}}`.
///
/// Connections that can be read come back even when others cannot.
pub fn parse_connections(
    source: SourceText,
    types: &[ConnectionType],
) -> (Vec<ConnectionSpec>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let mut connections = Vec::new();
    for entry in &named_entries(&mut report) {
        connections.extend(connection(entry, types, &mut report));
    }
    (connections, report.finish())
}

/// Reads `pools.yaml`: `NAME: {slots: 4}` or `NAME: 4`.
///
/// Pools that can be read come back even when others cannot.
pub fn parse_pools(source: SourceText) -> (Vec<(PoolName, u32)>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let mut pools = Vec::new();
    for entry in &named_entries(&mut report) {
        let name: Option<PoolName> = value::name(&entry.key, entry.place, &mut report);
        let slots = slots(entry, &mut report);
        pools.extend(name.zip(slots));
    }
    (pools, report.finish())
}

/// The entries of the file. An empty file has none, which is no error here.
fn named_entries(report: &mut Report) -> Vec<Entry> {
    if is_empty(report.source.text) {
        return Vec::new();
    }
    let Some(root) = yaml::parse(report) else { return Vec::new() };
    match root.data {
        Data::Map(entries) => {
            entries.into_iter().filter(|entry| !entry.key.starts_with("x-")).collect()
        }
        Data::Null => Vec::new(),
        _ => {
            let message = format!("the file is {}, not a mapping", root.kind());
            report
                .error(&codes::WRONG_TYPE, root.place, message)
                .help("write each one as a key with its name");
            Vec::new()
        }
    }
}

/// Names that are nearly those of files beside DAGs: nothing reads a file that has one.
pub const UNREAD_NAMES: [&str; 4] =
    ["_defaults.yml", "connections.yml", "pools.yml", "calendars.yml"];

/// What is said of a file that has one of [`UNREAD_NAMES`], by its name alone: a warning.
pub fn unread(path: &Path) -> Option<Diagnostic> {
    let name = UNREAD_NAMES.into_iter().find(|name| path.file_name() == Some(name.as_ref()))?;
    let mut report = Report::new(SourceText { path, text: "" });
    report
        .warning(&codes::UNUSABLE, Place::default(), format!("`{name}` is not read"))
        .help(format!("rename it to `{}`", name.replace(".yml", ".yaml")));
    report.finish().pop()
}

/// Whether there is nothing but comments.
pub(crate) fn is_empty(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn connection(
    entry: &Entry,
    types: &[ConnectionType],
    report: &mut Report,
) -> Option<ConnectionSpec> {
    let what = Some("connection name");
    let name: Option<DagId> = value::name_of(what, &entry.key, entry.place, report);
    let owner = format!("connection {}", quoted(&entry.key));
    let Some(entries) = entry.node.entries() else {
        value::wrong_type(&owner, &["a mapping"], &entry.node, entry.place, report)
            .help(format!("write for example `{}: {{type: http, base_url: …}}`", entry.key));
        return None;
    };
    let (mut kind, mut is_good) = (None, true);
    let mut connection = ConnectionSpec {
        name: entry.key.clone(),
        kind: String::new(),
        fields: Map::new(),
        secrets: Vec::new(),
    };
    for field in entries {
        if field.key == "type" {
            kind = Some(value::text("`type`", field, report).map(str::to_owned));
        } else if let Some(secret) = secret(field, report) {
            // Without its secret, a connection would speak to the other side as somebody else.
            is_good &= secret.is_some();
            connection.secrets.extend(secret.map(|secret| (field.key.clone(), secret)));
        } else {
            looks_secret(field, report);
            connection.fields.insert(field.key.clone(), field.node.to_json());
        }
    }
    let Some(kind) = kind else {
        let message = format!("{owner} has no `type`");
        report
            .error(&codes::MISSING_KEY, entry.place, message)
            .help("name the kind of system, for example `type: http`");
        return None;
    };
    connection.kind = kind?;
    let place = entry.node.entry("type").map_or(entry.place, |entry| entry.node.place);
    is_good &= fits_its_type((&connection.kind, place), (entry, &owner), types, report);
    name.filter(|_| is_good).map(|_| connection)
}

/// Holds a connection to what one of its type has.
fn fits_its_type(
    (kind, place): (&str, Place),
    (entry, owner): (&Entry, &str),
    types: &[ConnectionType],
    report: &mut Report,
) -> bool {
    let Some(known) = types.iter().find(|known| known.name == kind) else {
        let names = || types.iter().map(|known| known.name.as_str());
        let near = report.did_you_mean(kind, names());
        let message = format!("there are no connections of type {}", quoted(kind));
        report
            .error(&codes::NOT_ALLOWED, place, message)
            .maybe_help(near)
            .or_help(|| format!("there are {}", listed(names())));
        return false;
    };
    let mut schema = known.schema.clone();
    schema["properties"]["type"] = json!({"type": "string"});
    let example = "{type: http, base_url: https://api.shop.example, token: {secret: shop_token}}";
    let owner = Owner { name: owner, kind: Kind::Entry, entry, example };
    settings::shape((&schema, &schema), owner, report).1.is_empty()
}

/// `{secret: NAME}`: the inner value is `None` when the name is none.
#[expect(clippy::option_option, reason = "no secret, a bad one, a good one")]
fn secret(field: &Entry, report: &mut Report) -> Option<Option<String>> {
    let entries = field.node.entries()?;
    let secret = entries.iter().find(|entry| entry.key == "secret")?;
    let what = format!("secret of `{}`", field.key);
    let name = value::text(&what, secret, report);
    let good = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    if let Some(name) = name.filter(|name| !good(name)) {
        let message = format!("{} is not the name of a secret", quoted(name));
        report
            .error(&codes::BAD_NAME, secret.node.place, message)
            .help("use letters, digits, `_`, `-` and `.`");
    }
    Some(name.filter(good).map(str::to_owned))
}

/// Warns about a password in the open.
fn looks_secret(field: &Entry, report: &mut Report) {
    const WORDS: &[&str] = &["password", "passwd", "secret", "token", "api_key", "private_key"];
    let name = field.key.to_lowercase();
    if field.node.text().is_some() && WORDS.iter().any(|word| name.ends_with(word)) {
        let message = format!("`{}` is written in the open", field.key);
        report
            .warning(&codes::OPEN_SECRET, field.node.place, message)
            .help(format!("keep it as a secret: `{}: {{secret: NAME}}`", field.key));
    }
}

fn slots(entry: &Entry, report: &mut Report) -> Option<u32> {
    let slots = match entry.node.entries() {
        None if matches!(entry.node.data, Data::Number(_)) => entry,
        None => {
            let what = format!("pool {}", quoted(&entry.key));
            let wanted = ["an integer", "a mapping"];
            value::wrong_type(&what, &wanted, &entry.node, entry.place, report)
                .help(format!("write `{}: {{slots: 4}}`", entry.key));
            return None;
        }
        Some(entries) => {
            let owner = format!("pool {}", quoted(&entry.key));
            keys::check(entries, &[POOL], &owner, report);
            let Some(slots) = entries.iter().find(|entry| entry.key == "slots") else {
                let message = format!("{owner} has no `slots`");
                report
                    .error(&codes::MISSING_KEY, entry.place, message)
                    .help("say how many tasks of it run at once: `slots: 4`");
                return None;
            };
            slots
        }
    };
    let count = value::integer("`slots`", slots, SLOTS_MAX, report)?;
    if count == 0 {
        report
            .error(&codes::NOT_ALLOWED, slots.node.place, "a pool has at least one slot")
            .help("with none, its tasks would never run");
        return None;
    }
    Some(count as u32)
}
