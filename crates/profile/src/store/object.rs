//! JSON objects as their keys and the texts of their values.
//!
//! Profiles are merged, compared and stored without reading their values: a number keeps every
//! digit that it was written with, whatever a parser would make of it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A JSON object: keys, and the JSON texts of their values, in order.
///
/// Two objects are equal when they have the same keys with the same texts, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Object(IndexMap<String, String>);

impl Object {
    /// Sets a key to a value given as JSON text, which must be valid.
    pub fn insert(&mut self, key: impl Into<String>, json: impl Into<String>) {
        self.0.insert(key.into(), json.into());
    }

    /// Sets a key to a text.
    pub fn insert_text(&mut self, key: impl Into<String>, text: &str) {
        self.insert(key, quoted(text));
    }

    /// The JSON text of the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.0.shift_remove(key)
    }

    /// Keys and JSON texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, json)| (key.as_str(), json.as_str()))
    }

    /// There are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size of the object as JSON, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(key, json)| key.len() + json.len() + 4).sum::<usize>() + 2
    }

    /// The object as JSON.
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(self.bytes());
        text.push('{');
        for (at, (key, json)) in self.0.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(&quoted(key));
            text.push(':');
            text.push_str(json);
        }
        text.push('}');
        text
    }

    /// Reads an object that [`Object::to_json`] wrote; `None` when it is another text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut keys = IndexMap::new();
        let mut rest = text.strip_prefix('{')?;
        if rest == "}" {
            return Some(Self(keys));
        }
        loop {
            let end = value_end(rest)?;
            let key: String = serde_json::from_str(&rest[..end]).ok()?;
            rest = rest[end..].strip_prefix(':')?;
            let end = value_end(rest)?;
            keys.insert(key, rest[..end].to_owned());
            rest = &rest[end..];
            match rest {
                "}" => return Some(Self(keys)),
                _ => rest = rest.strip_prefix(',')?,
            }
        }
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where the JSON value ends that a valid text begins with.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b':' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
    Some(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn texts_stay_as_they_are() {
        let mut object = Object::default();
        object.insert("n", "0.30000000000000004100");
        object.insert("a", r#"[ {"x": "}\"]"}, -1e-7 ]"#);
        object.insert_text("k\"{", "é\n");
        let text = object.to_json();
        assert_eq!(
            text,
            r#"{"n":0.30000000000000004100,"a":[ {"x": "}\"]"}, -1e-7 ],"k\"{":"é\n"}"#
        );
        assert_eq!(Object::parse(&text), Some(object));
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "[]", "{", r#"{"a"}"#, r#"{"a":1"#, r#"{"a":"b}"#, r#"{"a":1}x"#] {
            assert_eq!(Object::parse(text), None, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((".*", inner), 0..4).prop_map(|fields| json!(
                    fields.into_iter().collect::<serde_json::Map<_, _>>()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(fields in proptest::collection::vec((".*", value()), 0..5)) {
            let mut object = Object::default();
            for (key, value) in &fields {
                object.insert(key, value.to_string());
            }
            prop_assert_eq!(Object::parse(&object.to_json()), Some(object));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[{}\\[\\]\",:\\\\a1 ]{0,20}") {
            if let Some(object) = Object::parse(&text) {
                prop_assert!(object.bytes() > 0);
            }
        }
    }
}
