//! From the columns of a row to the shape of a profile.

use arrow::datatypes::SchemaRef;
use indexmap::IndexMap;
use tidemill_connector::ConnectorError;

use super::config::{Node, ProfilesConfig};
use crate::cells::column;
use crate::store::Object;

/// Keys that the store writes.
const RESERVED: [&str; 2] = ["identities", "meta"];
/// Keys in `meta` that the store writes.
const META_RESERVED: [&str; 2] = ["version", "updated_at"];

/// An object whose values are columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape(Vec<(String, Part)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The column at this position.
    Column(usize),
    Object(Shape),
}

/// Refuses a key of the document that the store or the sink writes itself.
pub(super) fn check_key(key: &str, node: &Node, id: &str) -> Result<(), ConnectorError> {
    if key == id {
        return match node {
            Node::Column(name) if name == id => Ok(()),
            _ => {
                let message = format!("`document` has the key `{id}`, which is the id");
                Err(ConnectorError::misconfigured(message)
                    .help("leave it out; every profile starts with its id"))
            }
        };
    }
    if RESERVED.contains(&key) {
        let message = format!("`document` cannot have the key `{key}`");
        return Err(ConnectorError::misconfigured(message)
            .help(format!("use the setting `{key}` beside `document`")));
    }
    Ok(())
}

/// Refuses a key of `meta` that the store writes itself.
pub(super) fn check_meta_key(key: &str) -> Result<(), ConnectorError> {
    if META_RESERVED.contains(&key) {
        let message = format!("`meta` cannot have the key `{key}`");
        return Err(ConnectorError::misconfigured(message).help("the store writes it itself"));
    }
    Ok(())
}

impl Shape {
    /// The shape of the document. Its first key is the id, which is put there by the sink.
    pub(super) fn document(
        config: &ProfilesConfig,
        schema: &SchemaRef,
    ) -> Result<Self, ConnectorError> {
        let mut nodes = config.document.clone();
        if nodes.is_empty() {
            nodes = by_name(config, schema)?;
        }
        for (key, node) in &nodes {
            check_key(key, node, &config.id)?;
        }
        nodes.shift_remove(&config.id);
        Self::find("document", &nodes, schema)
    }

    /// The shape of what stands in `meta`.
    pub(super) fn meta(
        config: &ProfilesConfig,
        schema: &SchemaRef,
    ) -> Result<Self, ConnectorError> {
        config.meta.keys().try_for_each(|key| check_meta_key(key))?;
        Self::find("meta", &config.meta, schema)
    }

    fn find(
        key: &str,
        nodes: &IndexMap<String, Node>,
        schema: &SchemaRef,
    ) -> Result<Self, ConnectorError> {
        let part = |(name, node): (&String, &Node)| {
            let key = format!("{key}.{name}");
            let part = match node {
                Node::Column(of) => Part::Column(column(&key, of, schema)?),
                Node::Object(nodes) => Part::Object(Self::find(&key, nodes, schema)?),
            };
            Ok((name.clone(), part))
        };
        nodes.iter().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// The top-level keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The positions of the columns in it.
    pub(super) fn columns(&self) -> Vec<usize> {
        let of = |(_, part): &(String, Part)| match part {
            Part::Column(at) => vec![*at],
            Part::Object(shape) => shape.columns(),
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The object for a row; `cell` gives the JSON text of a column, if it has a value. Columns
    /// without a value, and objects of which nothing is left, are left out.
    pub(super) fn build<'c>(&self, cell: &impl Fn(usize) -> Option<&'c str>) -> Object {
        let mut object = Object::default();
        for (key, part) in &self.0 {
            match part {
                Part::Column(at) => {
                    if let Some(json) = cell(*at) {
                        object.insert(key, json);
                    }
                }
                Part::Object(shape) => {
                    let inner = shape.build(cell);
                    if !inner.is_empty() {
                        object.insert(key, inner.to_json());
                    }
                }
            }
        }
        object
    }
}

/// Every column under its name; points in names make objects.
fn by_name(
    config: &ProfilesConfig,
    schema: &SchemaRef,
) -> Result<IndexMap<String, Node>, ConnectorError> {
    let mut nodes = IndexMap::new();
    for field in schema.fields() {
        let name = field.name();
        if *name == config.id {
            continue;
        }
        let parts: Vec<&str> = name.split('.').collect();
        if !put(&mut nodes, &parts, name) {
            let message = format!("the column `{name}` has no place in a profile");
            return Err(ConnectorError::misconfigured(message).help(
                "another column has a part of its name; say with `document` what goes where",
            ));
        }
    }
    Ok(nodes)
}

/// Puts a column at its place, if it is free.
fn put(nodes: &mut IndexMap<String, Node>, parts: &[&str], name: &str) -> bool {
    match parts {
        [] => false,
        [last] => {
            let free = !nodes.contains_key(*last);
            if free {
                nodes.insert((*last).to_owned(), Node::Column(name.to_owned()));
            }
            free
        }
        [first, rest @ ..] => {
            let object = Node::Object(IndexMap::new());
            match nodes.entry((*first).to_owned()).or_insert(object) {
                Node::Object(inner) => put(inner, rest, name),
                Node::Column(_) => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use serde_json::{Value, json};
    use tidemill_connector::config::parse;

    use super::*;

    fn shape(settings: Value, columns: &[&str]) -> Result<Shape, String> {
        let config: ProfilesConfig = parse("connector", "profiles", settings).expect("settings");
        let fields: Vec<Field> =
            columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        Shape::meta(&config, &schema).map_err(|error| error.to_string())?;
        Shape::document(&config, &schema).map_err(|error| error.to_string())
    }

    #[test]
    fn shapes() {
        // The value of a column is its position, and of the last nothing.
        let check = |settings: Value, columns: &[&str], expected: Value| {
            let last = columns.len() - 1;
            let texts: Vec<String> = (0..last).map(|at| at.to_string()).collect();
            let cell = |at: usize| texts.get(at).map(String::as_str);
            let object = shape(settings, columns).expect("a shape").build(&cell);
            assert_eq!(object.to_json(), expected.to_string());
        };
        check(
            json!({"id": "c", "document": {"tx": {"n": "n", "x": "x"}, "a": "a", "y": {"x": "x"}}}),
            &["c", "a", "n", "x"],
            json!({"tx": {"n": 2}, "a": 1}),
        );
        check(
            json!({"id": "c"}),
            &["tx.n", "c", "a", "tx.m", "x"],
            json!({"tx": {"n": 0, "m": 3}, "a": 2}),
        );
    }

    #[test]
    fn shapes_that_do_not_work() {
        let check = |settings: Value, columns: &[&str], expected: &str| {
            assert_eq!(shape(settings, columns), Err(expected.to_owned()));
        };
        check(
            json!({"id": "c", "document": {"tx": {"n": "N"}}}),
            &["c", "n"],
            "`document.tx.n` names the column `N`, which the input does not have; \
             did you mean `n`?",
        );
        check(
            json!({"id": "c", "document": {"meta": "n"}}),
            &["c", "n"],
            "`document` cannot have the key `meta`; use the setting `meta` beside `document`",
        );
        check(
            json!({"id": "c", "document": {"c": "n"}}),
            &["c", "n"],
            "`document` has the key `c`, which is the id; \
             leave it out; every profile starts with its id",
        );
        check(
            json!({"id": "c", "meta": {"version": "n"}}),
            &["c", "n"],
            "`meta` cannot have the key `version`; the store writes it itself",
        );
        check(
            json!({"id": "c"}),
            &["c", "a.b", "a"],
            "the column `a` has no place in a profile; another column has a part of its name; \
             say with `document` what goes where",
        );
    }
}
