//! `tidemill docs`: the pages that are made from the types.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;

use crate::cli::{Cli, Docs};
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::Toolbox;

/// What stands at the top of every page.
const MADE: &str = "<!-- Made by `tidemill docs docs`: change the code, not this page. -->\n\n";

pub(crate) fn run(globals: &Globals, command: &Docs) -> Result<(), Failure> {
    let toolbox = Toolbox::open(globals)?;
    let mut pages = BTreeMap::new();
    connectors(&toolbox, &mut pages);
    transforms(&toolbox, &mut pages);
    pages.insert("functions.md".to_owned(), functions());
    pages.insert("cli.md".to_owned(), command_line());
    errors(&mut pages);
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
        (true, [_, ..]) => Err(Failure::Said(format!(
            "these pages are stale: {}; run `just docs`",
            stale.join(", ")
        ))),
        _ => {
            println!("{} pages, {} changed", pages.len(), stale.len());
            Ok(())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::Said(format!("cannot write `{}`: {error}", path.display())))
}

fn connectors(toolbox: &Toolbox, pages: &mut BTreeMap<String, String>) {
    let mut list = format!(
        "# Connectors\n\n{MADE}| connector | what it is | source | sink | a repeated or cut load |\n|---|---|---|---|---|\n"
    );
    for connector in &toolbox.registry.connectors {
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
            let _ = write!(
                page,
                "\n## Source\n\n```yaml\ningest:\n  {name}: {source_example}\n```\n\n"
            );
            page.push_str(&settings(&schema));
        }
        if let Some(schema) = sink {
            let _ = write!(
                page,
                "\n## Sink\n\nA repeated or cut load: **{guarantee}**.\n\n```yaml\nload:\n  {name}: {sink_example}\n```\n\n"
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

fn transforms(toolbox: &Toolbox, pages: &mut BTreeMap<String, String>) {
    let mut list = format!("# Transforms\n\n{MADE}| transform | what it does |\n|---|---|\n");
    for transform in &toolbox.registry.transforms {
        let name = transform.name();
        let _ = writeln!(list, "| [`{name}`]({name}.md) | {} |", transform.summary());
        let example = indent(transform.example().trim(), "    ");
        let mut page = format!("# `{name}`\n\n{MADE}{}\n\n", transform.summary());
        let _ = write!(page, "```yaml\ntransform:\n  {name}:\n{example}\n```\n\n");
        page.push_str(&settings(&transform.schema()));
        pages.insert(format!("transforms/{name}.md"), page);
    }
    pages.insert("transforms/README.md".to_owned(), list);
}

fn indent(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}")).collect::<Vec<_>>().join("\n")
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
        "# Functions\n\n{MADE}## In expressions (CEL)\n\n| function | gives | example |\n|---|---|---|\n"
    );
    for function in tidemill_model::expr::FUNCTIONS {
        let _ =
            writeln!(text, "| `{}` | {} | `{}` |", function.name, function.doc, function.example);
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
