//! One compiled template, with its limits and its errors.

use std::io::{self, Write};
use std::path::Path;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use tidemill_connector::ConnectorError;
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;

use super::config::{Escape, FullSource, Nulls, TemplateSource};
use super::context::is_null;

/// A template has at most this many bytes.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;
/// A rendered text has at most this many bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Instructions of the template engine for one text; a loop over one item takes about ten.
const FUEL: u64 = 2_000_000;
/// The key of the template in its environment. Files have other keys: theirs are never empty.
const MAIN: &str = "";

/// A template, ready to be rendered.
#[derive(Debug)]
pub(super) struct Template {
    /// The column it fills.
    pub(super) column: String,
    /// The file it comes from, if it does.
    file: Option<String>,
    environment: Environment<'static>,
}

impl Template {
    /// Reads and compiles a template; files are relative to `folder`.
    pub(super) fn compile(
        column: &str,
        source: &TemplateSource,
        nulls: Nulls,
        folder: &Path,
    ) -> Result<Self, ConnectorError> {
        let (text, file, escape) = match source {
            TemplateSource::Text(text) => (text.clone(), None, None),
            TemplateSource::Full(full) => {
                (full_text(column, full, folder)?, full.file.clone(), full.escape)
            }
        };
        let is_html = column.to_ascii_lowercase().ends_with("html");
        let escape = escape.unwrap_or(if is_html { Escape::Html } else { Escape::None });
        let escape = match escape {
            Escape::Html => AutoEscape::Html,
            Escape::None => AutoEscape::None,
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.set_formatter(move |out, state, value| match nulls {
            _ if !is_null(value) => minijinja::escape_formatter(out, state, value),
            Nulls::Empty => Ok(()),
            Nulls::Error => Err(Error::new(ErrorKind::InvalidOperation, NULL)),
        });
        environment.set_loader(minijinja::path_loader(folder));
        let template = |environment| Self { column: column.to_owned(), file, environment };
        match environment.add_template_owned(MAIN, text) {
            Ok(()) => Ok(template(environment)),
            Err(error) => Err(template(environment).explain(&error, &[])),
        }
    }

    /// The names that the template reads and does not set; `None` if it may read any.
    pub(super) fn reads(&self) -> Option<Vec<String>> {
        let template = self.environment.get_template(MAIN).ok()?;
        // Other files, and macros that look names up, are not followed.
        let words = ["include", "import", "extends"];
        if words.iter().any(|word| template.source().contains(word)) {
            return None;
        }
        Some(template.undeclared_variables(false).into_iter().collect())
    }

    /// The text for a row. `names` are the columns, for "did you mean".
    pub(super) fn render(&self, row: Value, names: &[&str]) -> Result<String, ConnectorError> {
        let mut out = Limited(Vec::new());
        let rendered = self
            .environment
            .get_template(MAIN)
            .and_then(|template| template.render_captured_to(row, &mut out).map(|_| ()));
        rendered.map_err(|error| self.explain(&error, names))?;
        String::from_utf8(out.0).map_err(|error| ConnectorError::internal(error.to_string()))
    }

    /// What would fail for any row whose columns have these names: names that are no columns, and
    /// filters, functions and files that are not there. Of a name that the template asks for, as in
    /// `name is defined`, nothing is said; what depends on values is not looked at.
    pub(super) fn errors(&self, names: &[&str]) -> Vec<ConnectorError> {
        let Ok(template) = self.environment.get_template(MAIN) else { return Vec::new() };
        let source = template.source();
        let mut unknown = self.reads().unwrap_or_default();
        let is_function = |name: &str| self.environment.globals().any(|(known, _)| known == name);
        unknown.retain(|name| !names.contains(&name.as_str()) && !is_function(name));
        unknown.sort();
        let what = format!("the template of `{}`", self.column);
        let mut errors = Vec::new();
        for name in unknown {
            let uses = words(source, &name);
            let is_set = |at: usize| {
                let before = source[..at].trim_end();
                before.ends_with("set") || before.ends_with("macro")
            };
            if uses.iter().any(|(at, behind)| may_be_undefined(behind) || is_set(*at)) {
                continue;
            }
            let error = undefined(&what, &name, names).missing(&name);
            let (line, column) = uses.first().map_or((1, 1), |(at, _)| line_column(source, *at));
            errors.push(match &self.file {
                Some(file) => error.at(format!("{file}:{line}")),
                None => error.at_line(line, column),
            });
        }
        let row: Value = names.iter().map(|name| (name.to_string(), Value::from(()))).collect();
        if let Err(error) = template.render(row) {
            let error = innermost(&error);
            if is_of_template(error.kind()) {
                errors.push(self.explain(error, names));
            }
        }
        errors
    }

    fn explain(&self, error: &Error, names: &[&str]) -> ConnectorError {
        let error = innermost(error);
        let what = format!("the template of `{}`", self.column);
        let expression = error
            .template_source()
            .zip(error.range())
            .and_then(|(source, range)| source.get(range))
            .map(|text| clip(text.trim(), 100));
        let written = expression.as_deref().map_or(String::new(), |text| format!(" in `{text}`"));
        let detail = || error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let explained = match error.kind() {
            ErrorKind::SyntaxError => {
                ConnectorError::misconfigured(format!("{what} does not parse: {}", detail()))
            }
            ErrorKind::UndefinedError => {
                let name = expression.clone().unwrap_or_else(|| "a name".to_owned());
                undefined(&what, &name, names)
            }
            kind if is_of_template(kind) => {
                ConnectorError::misconfigured(format!("{what} cannot be used: {}", detail()))
            }
            ErrorKind::OutOfFuel => ConnectorError::data(format!("{what} does not come to an end"))
                .help("a text may take about 200,000 steps of loops"),
            ErrorKind::WriteFailure => ConnectorError::data(format!(
                "{what} gives a text of more than {TEXT_BYTES_MAX} bytes"
            ))
            .help("loop over fewer items"),
            _ if error.detail() == Some(NULL) => {
                let name = expression.as_deref().unwrap_or("a value");
                ConnectorError::data(format!("{what} writes `{name}`, which is null"))
                    .help(format!("say what to write instead: `{{{{ {name} or 'friend' }}}}`"))
            }
            _ => ConnectorError::data(format!("{what} fails{written}: {}", detail())),
        };
        let file = match error.name() {
            Some(name) if name != MAIN => Some(name),
            _ => self.file.as_deref(),
        };
        match (error.line(), file) {
            (Some(line), Some(file)) => explained.at(format!("{file}:{line}")),
            (Some(line), None) => explained.at(format!("line {line} of the template")),
            (None, Some(file)) => explained.at(file),
            (None, None) => explained,
        }
    }
}

/// Whether an error lies in the template itself, whatever is written with it.
fn is_of_template(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::TemplateNotFound
    )
}

/// Where a text has a word: the byte at which it starts, and what stands behind it.
fn words<'t>(text: &'t str, word: &str) -> Vec<(usize, &'t str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: &usize| {
        !text[..*at].ends_with(is_part) && !text[*at + word.len()..].starts_with(is_part)
    };
    let found = text.match_indices(word).map(|(at, _)| at).filter(whole);
    found.map(|at| (at, &text[at + word.len()..])).collect()
}

/// Whether what stands behind a name lets it go without a value.
fn may_be_undefined(behind: &str) -> bool {
    let behind = behind.trim_start();
    let filter = behind.strip_prefix('|').map(str::trim_start);
    let test = behind.strip_prefix("is ").map(str::trim_start);
    filter.is_some_and(|filter| filter.starts_with('d'))
        || test.is_some_and(|test| {
            let test = test.strip_prefix("not ").unwrap_or(test).trim_start();
            test.starts_with("defined") || test.starts_with("undefined")
        })
}

fn line_column(text: &str, at: usize) -> (u64, u64) {
    let before = &text[..at];
    let line = before.matches('\n').count() as u64 + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[start..].chars().count() as u64 + 1)
}

const NULL: &str = "the value is null";

fn full_text(column: &str, full: &FullSource, folder: &Path) -> Result<String, ConnectorError> {
    match (&full.text, &full.file) {
        (Some(text), None) => Ok(text.clone()),
        (None, Some(file)) => {
            let path = folder.join(file);
            let failed = |error| ConnectorError::io("read the template", &path, &error);
            let meta = std::fs::metadata(&path).map_err(failed)?;
            // A device has no size, and may never end.
            if !meta.is_file() {
                let message = format!("the template `{file}` is no file");
                return Err(ConnectorError::misconfigured(message).at(path.display()));
            }
            if meta.len() > TEMPLATE_BYTES_MAX {
                let message =
                    format!("the template `{file}` has more than {TEMPLATE_BYTES_MAX} bytes");
                return Err(ConnectorError::misconfigured(message));
            }
            std::fs::read_to_string(&path).map_err(failed)
        }
        _ => {
            let message = format!("the column `{column}` must have either `text` or `file`");
            Err(ConnectorError::misconfigured(message))
        }
    }
}

fn undefined(what: &str, name: &str, names: &[&str]) -> ConnectorError {
    let message = if name.contains(|c: char| !c.is_alphanumeric() && c != '_') {
        format!("{what} uses `{name}`, which is not there")
    } else {
        format!("{what} uses `{name}`, which is no column")
    };
    let error = ConnectorError::misconfigured(message);
    error.help(match did_you_mean(name, names.iter().copied()) {
        Some(help) => help,
        None if name.contains('.') => "write `… is defined` to ask for it".to_owned(),
        None => format!("there are: {}", listed(names)),
    })
}

/// The error that caused the others: of an included file, not of its inclusion.
fn innermost(error: &Error) -> &Error {
    let mut inner = error;
    while let Some(cause) =
        std::error::Error::source(inner).and_then(|cause| cause.downcast_ref::<Error>())
    {
        inner = cause;
    }
    inner
}

fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text that may not become too long.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn check(column: &str, source: &str, nulls: Nulls, expected: Result<&str, &str>) {
        let folder = Path::new("/nowhere");
        let source = TemplateSource::Text(source.to_owned());
        let row = context! {
            name => "Ann <3", n => 2, price => 1.5, none => (),
            recs => vec![context! { title => "Tea & more" }, context! { title => "Cup" }],
        };
        let got = Template::compile(column, &source, nulls, folder)
            .and_then(|template| template.render(row, &["name", "n", "Price"]))
            .map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn texts() {
        let check = |column, source, expected| check(column, source, Nulls::Empty, Ok(expected));
        check("text", "Hello {{ name }}", "Hello Ann <3");
        check("html", "Hello {{ name }}", "Hello Ann &lt;3");
        check("body_HTML", "<b>{{ name }}</b>", "<b>Ann &lt;3</b>");
        check("text", "{% for r in recs %}* {{ r.title }}\n{% endfor %}", "* Tea & more\n* Cup\n");
        check("text", "[{{ none }}]", "[]");
        check("text", "{{ none or 'friend' }}", "friend");
        check("text", "{{ 'a b&c' | urlencode }}", "a%20b%26c");
        check("text", "{{ '%.2f' | format(price) }}", "1.50");
    }

    #[test]
    fn errors_name_the_thing_the_place_and_the_remedy() {
        let check = |source, expected| check("text", source, Nulls::Error, Err(expected));
        check(
            "Hello\n{{ nmae }}",
            "the template of `text` uses `nmae`, which is no column \
             (line 2 of the template); did you mean `name`?",
        );
        check(
            "{{ city }}",
            "the template of `text` uses `city`, which is no column \
             (line 1 of the template); there are: name, n, Price",
        );
        check(
            "{{ PRICE }}",
            "the template of `text` uses `PRICE`, which is no column \
             (line 1 of the template); did you mean `Price`?",
        );
        check(
            "{{ recs[0].price }}",
            "the template of `text` uses `recs[0].price`, which is not there \
             (line 1 of the template); write `… is defined` to ask for it",
        );
        check(
            "{% if x %}",
            "the template of `text` does not parse: unexpected end of input, expected end of block \
             (line 1 of the template)",
        );
        check(
            "{{ n | money }}",
            "the template of `text` cannot be used: filter money is unknown \
             (line 1 of the template)",
        );
        check(
            "\n{{ none }}",
            "the template of `text` writes `none`, which is null (line 2 of the template); \
             say what to write instead: `{{ none or 'friend' }}`",
        );
        check(
            "{{ name + 1 }}",
            "the template of `text` fails in `name + 1`: tried to use + operator on unsupported \
             types string and number (line 1 of the template)",
        );
    }

    #[test]
    fn texts_have_limits() {
        let check = |source, expected| check("text", source, Nulls::Empty, Err(expected));
        check(
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "the template of `text` does not come to an end (line 1 of the template); \
             a text may take about 200,000 steps of loops",
        );
        check(
            "{% for a in range(1200) %}{{ '%1000s' | format('x') }}{% endfor %}",
            "the template of `text` gives a text of more than 1048576 bytes; loop over fewer items",
        );
    }
}
