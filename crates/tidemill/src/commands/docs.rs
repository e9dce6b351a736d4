//! `tidemill docs`: the pages that are made from the types.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;
use tidemill_connector::Registry;
use tidemill_model::words::counted;
use tidemill_server::reference::{self, Gives};
use tidemill_spec::RESERVED_NAMES;
use tidemill_spec::keys::{Key, PLACES};

use crate::cli::{Cli, Docs};
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::Toolbox;

/// What stands at the top of every page.
const MADE: &str = "<!-- Made by `tidemill docs docs`: change the code, not this page. -->\n\n";

pub(crate) fn run(globals: &Globals, command: &Docs) -> Result<(), Failure> {
    let toolbox = Toolbox::open(globals)?;
    let mut pages = BTreeMap::new();
    connectors(&toolbox.registry, &mut pages);
    transforms(&toolbox.registry, &mut pages);
    pages.insert("functions.md".to_owned(), functions());
    pages.insert("cli.md".to_owned(), command_line());
    pages.insert("api.md".to_owned(), api());
    errors(&mut pages);
    if let Some(page) = language(&command.folder)? {
        pages.insert(LANGUAGE.to_owned(), page);
    }
    let mut stale = Vec::new();
    for (name, text) in &pages {
        let path = command.folder.join(name);
        if std::fs::read_to_string(&path).ok().as_deref() == Some(text) {
            continue;
        }
        stale.push(name.clone());
        if !command.check {
            write(&path, text)?;
        }
    }
    match (command.check, stale.as_slice()) {
        (true, [_, ..]) => Err(Failure::conflict(format!(
            "these pages are stale: {}; run `just docs`",
            stale.join(", ")
        ))),
        _ => {
            println!("{}, {} changed", counted(pages.len(), "page"), stale.len());
            Ok(())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::files(format!("cannot write `{}`: {error}", path.display())))
}

fn connectors(registry: &Registry, pages: &mut BTreeMap<String, String>) {
    let mut list = format!(
        "# Connectors\n\n{MADE}| connector | what it is | source | sink | a repeated or cut load |\n|---|---|---|---|---|\n"
    );
    for connector in &registry.connectors {
        let name = connector.name();
        let (source, sink) = (connector.source_schema(), connector.sink_schema());
        let guarantee = connector.guarantee().map_or("–", |guarantee| guarantee.label());
        let yes = |end: &Option<Value>| if end.is_some() { "yes" } else { "–" };
        let _ = writeln!(
            list,
            "| [`{name}`]({name}.md) | {} | {} | {} | {guarantee} |",
            connector.summary(),
            yes(&source),
            yes(&sink)
        );
        let mut page = format!("# `{name}`\n\n{MADE}{}\n", connector.summary());
        let (source_example, sink_example) = connector.examples();
        if let Some(schema) = source {
            let _ = write!(page, "\n## Source\n\n{}\n", example("ingest", name, source_example));
            page.push_str(&settings(&schema));
        }
        if let Some(schema) = sink {
            let _ = write!(
                page,
                "\n## Sink\n\nA repeated or cut load: **{guarantee}**.\n\n{}\n",
                example("load", name, sink_example)
            );
            page.push_str(&settings(&schema));
        }
        if let Some(schema) = connector.connection_schema() {
            let _ = write!(
                page,
                "\n## Connection\n\nIn `connections.yaml`, with `type: {name}`. A secret is named, \
                 `{{secret: NAME}}`, and its value is in the environment or in `secrets.yaml`.\n\n"
            );
            page.push_str(&settings(&schema));
        }
        pages.insert(format!("connectors/{name}.md"), page);
    }
    list.push_str(
        "\n*Transactional*: rows and the mark of the load are written in one transaction. *Atomic \
         publish*: readers see all of a load or none of it. *Idempotent*: the same load writes the \
         same values again. *At least once*: a repeated load may write rows twice.\n",
    );
    pages.insert("connectors/README.md".to_owned(), list);
}

fn transforms(registry: &Registry, pages: &mut BTreeMap<String, String>) {
    let mut list = format!("# Transforms\n\n{MADE}| transform | what it does |\n|---|---|\n");
    for transform in &registry.transforms {
        let name = transform.name();
        let _ = writeln!(list, "| [`{name}`]({name}.md) | {} |", transform.summary());
        let mut page = format!("# `{name}`\n\n{MADE}{}\n\n", transform.summary());
        let _ = writeln!(page, "{}", example("transform", name, transform.example()));
        page.push_str(&settings(&transform.schema()));
        pages.insert(format!("transforms/{name}.md"), page);
    }
    pages.insert("transforms/README.md".to_owned(), list);
}

/// An action with example settings: beside its name where they are one line, else below it.
fn example(action: &str, name: &str, settings: &str) -> String {
    let settings = settings.trim();
    let settings = if settings.contains('\n') {
        settings.lines().fold(String::new(), |text, line| {
            format!("{text}\n    {line}").trim_end_matches(' ').to_owned()
        })
    } else {
        format!(" {settings}")
    };
    format!("```yaml\n{action}:\n  {name}:{settings}\n```\n")
}

/// A schema's settings as a table, and the shapes it uses below it.
fn settings(schema: &Value) -> String {
    let mut text = String::new();
    if let Some(about) = schema["description"].as_str() {
        let _ = write!(text, "{}\n\n", one_line(about));
    }
    text.push_str(&properties(schema));
    for (name, shape) in schema["$defs"].as_object().into_iter().flatten() {
        let about = one_line(shape["description"].as_str().unwrap_or_default());
        let _ = write!(text, "\n### {name}\n\n{about}\n\n");
        text.push_str(&properties(shape));
        text.push_str(&choices(shape));
    }
    if let Some(reasons) = schema["x-reasons"].as_object() {
        text.push_str("\n### Reasons of bad rows\n\n| `reason` | means |\n|---|---|\n");
        for (word, about) in reasons {
            let _ = writeln!(text, "| `{word}` | {} |", about.as_str().unwrap_or_default());
        }
    }
    if let Some(limits) = schema["x-limits"].as_array() {
        text.push_str("\n### Limits\n\n");
        for limit in limits {
            let _ = writeln!(text, "* {}", limit.as_str().unwrap_or_default());
        }
    }
    text
}

fn properties(shape: &Value) -> String {
    let Some(fields) = shape["properties"].as_object() else { return String::new() };
    let required: Vec<&str> =
        shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = String::from("| setting | type | default | meaning |\n|---|---|---|---|\n");
    for (name, field) in fields {
        let default = match field.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Value::Null) | None => "–".to_owned(),
            Some(value) => format!("`{value}`").replace('|', "\\|"),
        };
        let about = one_line(field["description"].as_str().unwrap_or_default()).replace('|', "\\|");
        let _ = writeln!(text, "| `{name}` | {} | {default} | {about} |", kind(field));
    }
    text
}

fn choices(shape: &Value) -> String {
    let options = shape["oneOf"].as_array().or(shape["anyOf"].as_array());
    let mut text = String::new();
    for option in options.into_iter().flatten() {
        let about = one_line(option["description"].as_str().unwrap_or_default());
        let named = option.get("const").map(|value| format!("`{value}`"));
        let keys = option["properties"].as_object().map(|fields| {
            fields.keys().map(|key| format!("`{key}: …`")).collect::<Vec<_>>().join(", ")
        });
        let _ = writeln!(text, "* {}: {about}", named.or(keys).unwrap_or_else(|| kind(option)));
    }
    for (value, about) in shape["x-values"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "* `{value}`: {}", about.as_str().unwrap_or_default());
    }
    text
}

/// The type of a field in words.
fn kind(field: &Value) -> String {
    if let Some(target) = field["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let any = field["anyOf"].as_array().or(field["oneOf"].as_array()).or(field["allOf"].as_array());
    if let Some(options) = any {
        let kinds: Vec<String> = options.iter().filter(|o| o["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let base = match &field["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    match (field["format"].as_str(), base.as_str()) {
        (
            Some(
                format @ ("table" | "sql" | "sql-expr" | "template" | "path" | "duration"
                | "connection"),
            ),
            _,
        ) => format.replace("sql-expr", "SQL expression").replace("sql", "SQL"),
        (_, "array") => format!("list of {}", kind(&field["items"])),
        _ => base,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn functions() -> String {
    let mut text = format!(
        "# Functions\n\n{MADE}## In expressions (CEL)\n\nA `time` is an instant or a day, as text \
         (`2026-01-31T02:00:00Z`, `2026-01-31`) or as `timestamp` gives it. Lists also have the \
         forms `list.all(x, test)`, `list.exists(x, test)`, `list.filter(x, test)` and \
         `list.map(x, value)`; `has(name.field)` tells whether a field is there.\n\n\
         | function | gives | example |\n|---|---|---|\n"
    );
    for function in tidemill_model::expr::FUNCTIONS {
        let forms: Vec<String> = function.signatures().map(|form| format!("`{form}`")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | `{}` |",
            forms.join("<br>"),
            function.doc,
            function.example
        );
    }
    text.push_str(
        "\n## In SQL\n\nAll of DataFusion's functions of strings, numbers, dates, lists, aggregates \
         and windows, and these:\n\n| function | gives | example |\n|---|---|---|\n",
    );
    for function in tidemill_sql::FUNCTIONS {
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` |",
            function.signature,
            one_line(function.doc),
            function.example.replace('|', "\\|")
        );
    }
    text
}

fn command_line() -> String {
    let mut text = format!("# Command line\n\n{MADE}");
    let mut command = Cli::command();
    command.build();
    let _ = write!(text, "```text\n{}```\n", command.clone().term_width(90).render_long_help());
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let help = sub.clone().term_width(90).render_long_help();
        let _ = write!(text, "\n## {}\n\n```text\n{help}```\n", sub.get_name());
    }
    // A page must not end lines in blanks.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

fn api() -> String {
    let mut text = format!(
        "# REST API\n\n{MADE}Version 1. Names of fields are added to, never changed. Instants are \
         RFC 3339 in UTC, spans are milliseconds. A `POST` carries a JSON object, `{{}}` at least, and \
         the header `Content-Type: application/json`; unknown fields are refused. A list is a page \
         `{{items, next}}`: ask with `next` as `after` for the one after it; null is the end.\n\n\
         The server answers at `127.0.0.1:7420`, or where `tidemill serve --bind` says. Its token is \
         in the file `server.json` of the home, which only its user can read; send it as \
         `Authorization: Bearer TOKEN` where a permission takes it.\n\n\
         ## Routes\n\n| route | does | permission |\n|---|---|---|\n"
    );
    let table = tidemill_server::api_table();
    let permissions = table.iter().map(|route| route.permission.label());
    for (route, permission) in reference::ROUTES.iter().zip(permissions) {
        let _ = writeln!(
            text,
            "| [`{0}`](#{1}) | {2} | `{permission}` |",
            route.route,
            anchor(route.route),
            route.about
        );
    }
    for (route, permission) in reference::ROUTES.iter().zip(&table) {
        let _ = write!(
            text,
            "\n### {}\n\n{} Permission: `{}`.\n\n",
            route.route,
            route.about,
            permission.permission.label()
        );
        if !route.takes.is_empty() {
            let place = if route.route.starts_with("GET") { "query" } else { "body" };
            text.push_str(&fields(place, route.takes));
            text.push('\n');
        }
        text.push_str(&match route.gives {
            Gives::Fields(given) => fields("answer", given),
            Gives::Shape(name) => format!("Gives a [{name}](#{}).\n", name.to_lowercase()),
            Gives::Page(name) => format!("Gives a page of [{name}](#{}).\n", name.to_lowercase()),
            Gives::Words(words) => format!("Gives {words}.\n"),
        });
        if !route.errors.is_empty() {
            let _ = write!(text, "\nErrors of its own: {}.\n", codes(route.errors));
        }
    }
    text.push_str("\n## Shapes\n");
    for shape in reference::SHAPES {
        let _ = write!(text, "\n### {}\n\n", shape.name);
        if let Some(of) = shape.of {
            let _ = write!(text, "The fields of [{of}](#{}), and:\n\n", of.to_lowercase());
        }
        text.push_str(&fields("field", shape.fields));
    }
    text.push_str("\n## Permissions\n\n| permission | allows to |\n|---|---|\n");
    for permission in tidemill_server::Permission::ALL {
        let _ = writeln!(text, "| `{}` | {} |", permission.label(), permission.about());
    }
    let _ = write!(
        text,
        "\n## Errors\n\nAn error is `application/problem+json`: `{{type, title, status, detail, code}}`, \
         `help` with the remedy where there is one, and `diagnostics` where a DAG file is wrong. Any \
         route may give {}, one with a body also {}.\n\n| status | code | means |\n|---|---|---|\n",
        codes(reference::ANY_ERRORS),
        codes(reference::BODY_ERRORS)
    );
    for code in tidemill_server::ErrorCode::ALL {
        let status = code.status().as_u16();
        let _ = writeln!(text, "| {status} | `{}` | {} |", code.label(), code.title());
    }
    text
}

/// A heading's place in a page.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || [' ', '-', '_'].contains(c);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn fields(head: &str, fields: &[reference::Field]) -> String {
    let mut text = format!("| {head} | means |\n|---|---|\n");
    for (name, about) in fields {
        let _ = writeln!(text, "| `{name}` | {about} |");
    }
    text
}

fn codes(codes: &[tidemill_server::ErrorCode]) -> String {
    codes.iter().map(|code| format!("`{}`", code.label())).collect::<Vec<_>>().join(", ")
}

/// The page of the language, which people write but for its tables of keys.
const LANGUAGE: &str = "language.md";

/// That page with the tables made anew; `None` where there is none.
fn language(folder: &Path) -> Result<Option<String>, Failure> {
    let Ok(mut page) = std::fs::read_to_string(folder.join(LANGUAGE)) else { return Ok(None) };
    let tables = PLACES.iter().map(|(place, keys)| ((*place).to_owned(), keys_now(keys)));
    for (name, table) in tables.chain([("reserved".to_owned(), keys_later())]) {
        let head = format!("<!-- keys: {name}. Made by `tidemill docs docs` up to the end. -->\n");
        let made = page.find(&head).map(|at| at + head.len());
        let end = made.and_then(|made| page[made..].find("<!-- end -->").map(|at| made + at));
        let (Some(made), Some(end)) = (made, end) else {
            return Err(Failure::missing(format!(
                "`{LANGUAGE}` has no place for the keys `{name}`; add the lines `{}` and `<!-- end -->`",
                head.trim_end()
            )));
        };
        page.replace_range(made..end, &format!("\n{table}\n"));
    }
    Ok(Some(page))
}

fn keys_now(keys: &[Key]) -> String {
    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in keys.iter().filter(|key| !key.later) {
        let default = key.default().map_or("–".to_owned(), |value| match value {
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        });
        let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.doc);
    }
    text
}

fn keys_later() -> String {
    let mut text = String::from("| reserved key | of | meaning |\n|---|---|---|\n");
    for (place, keys) in PLACES {
        let of = match *place {
            "dag" => "a DAG",
            "action" => "a task, as its action",
            "modifier" => "a task",
            "retry" => "`retry` of a task",
            "trigger" => "a trigger",
            place => place,
        };
        for key in keys.iter().filter(|key| key.later) {
            let _ = writeln!(text, "| `{}` | {of} | {} |", key.name, key.doc);
        }
    }
    let [expressions, sql] = RESERVED_NAMES
        .map(|names| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" "));
    let _ = write!(
        text,
        "\nReserved names of expressions: {expressions}. Reserved `$names` of SQL: {sql}.\n"
    );
    text
}

fn errors(pages: &mut BTreeMap<String, String>) {
    let mut list = format!("# Errors\n\n{MADE}| code | what is wrong |\n|---|---|\n");
    for code in tidemill_spec::codes::CODES {
        let _ = writeln!(list, "| [{0}]({0}.md) | {1} |", code.id, code.title);
        let page = format!(
            "# {}: {}\n\n{MADE}{}\n\n**What to do.** {}\n",
            code.id,
            code.title,
            one_line(code.cause),
            one_line(code.remedy)
        );
        pages.insert(format!("errors/{}.md", code.id), page);
    }
    pages.insert("errors/README.md".to_owned(), list);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use tidemill_connectors::dataset::NoDatasets;
    use tidemill_profile::ProfileStore;
    use tidemill_spec::{SourceText, load_dag};
    use tidemill_sql::{Engine, EngineConfig};
    use tidemill_store::kv::MemoryKv;

    use super::*;
    use crate::catalog::{catalog, registry};

    fn everything() -> Registry {
        let spill = std::env::temp_dir().join(format!("tidemill-docs-{}", std::process::id()));
        let config = EngineConfig { memory_bytes: 64 << 20, threads: 1, spill, batch_rows: 1_024 };
        let engine = Engine::new(config).expect("an engine");
        let options = tidemill_profile::StoreOptions::default();
        let profiles = ProfileStore::open(Arc::new(MemoryKv::default()), options).expect("a store");
        registry(&engine, &Arc::new(profiles), Arc::new(NoDatasets))
    }

    /// A DAG with the example as a task, with a table for every word that may name one, and with the
    /// params that it uses.
    fn dag(example: &str) -> String {
        let words = example.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        let words: BTreeSet<&str> = words.filter(is_name).collect();
        let mut text = "params:\n  none: {type: string, default: x}\n".to_owned();
        for word in words.iter().filter(|word| example.contains(&format!("${word}"))) {
            let _ = writeln!(text, "  {word}: {{type: string}}");
        }
        text.push_str("tasks:\n");
        for word in words {
            let _ = writeln!(text, "  {word}: {{transform: {{sql: select 1 as a}}}}");
        }
        text.push_str("  it_is:\n");
        for line in example.lines() {
            let _ = writeln!(text, "    {line}");
        }
        if example.starts_with("load:") {
            text.push_str("    from: load\n");
        }
        text
    }

    #[test]
    fn every_example_on_a_page_is_valid() {
        let registry = everything();
        let mut pages = BTreeMap::new();
        connectors(&registry, &mut pages);
        transforms(&registry, &mut pages);
        let catalog = catalog(&registry);
        let mut checked = 0;
        for (name, page) in &pages {
            for example in page.split("```yaml\n").skip(1) {
                let example = example.split("```").next().unwrap_or_default();
                assert!(!example.contains("\n\n"), "{name} has a blank line in\n{example}");
                let text = dag(example);
                let source = SourceText { path: Path::new(name), text: &text };
                let found: Vec<String> = load_dag(source, &catalog)
                    .diagnostics
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                assert_eq!(found, Vec::<String>::new(), "{name}:\n{text}");
                checked += 1;
            }
        }
        assert_eq!(
            checked,
            10 + registry.transforms.len(),
            "an example for each end and transform"
        );
    }
}
