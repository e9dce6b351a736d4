//! The reader of JSON text (RFC 8259), with the place of the first fault.

use std::borrow::Cow;

use super::Json;

/// Objects and lists may be nested this deep.
const DEPTH_MAX: usize = 64;

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadJson {
    /// What was found, lowercase, without a full stop.
    pub(crate) message: String,
    /// Bytes before the fault.
    pub(crate) offset: usize,
    /// Whether the text ends too early, which a cut transfer would explain.
    pub(crate) cut: bool,
}

impl BadJson {
    /// Line and column of the fault, both from 1; columns count characters.
    pub(crate) fn place(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        (line, column)
    }
}

pub(super) fn parse(text: &str) -> Result<Json<'_>, BadJson> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.fault("there is more after the end of the value"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Json<'a>, BadJson> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Json::Number(self.number()?)),
            Some(b't') => self.word("true", Json::Boolean(true)),
            Some(b'f') => self.word("false", Json::Boolean(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.fault("a value should stand here")),
            None => Err(self.cut("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, BadJson> {
        self.enter(depth)?;
        let mut entries = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {}
                Some(_) => return Err(self.fault("a key in double quotes should stand here")),
                None => return Err(self.cut("a key")),
            }
            let key = self.string()?;
            self.skip_space();
            self.expect(b':', "a colon should follow the key")?;
            entries.push((key, self.value(depth + 1)?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(entries));
            }
            self.expect(b',', "`,` or `}` should stand here")?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json<'a>, BadJson> {
        self.enter(depth)?;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            self.expect(b',', "`,` or `]` should stand here")?;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, BadJson> {
        self.at += 1;
        let mut owned: Option<String> = None;
        loop {
            let start = self.at;
            let rest = &self.text.as_bytes()[start..];
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            let Some(plain) = plain else {
                self.at = self.text.len();
                return Err(self.cut("the end of a text"));
            };
            // Quotes, backslashes and control characters are single bytes, so both ends of the
            // piece lie between characters.
            let piece = &self.text[start..start + plain];
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(piece),
                        Some(mut text) => {
                            text.push_str(piece);
                            Cow::Owned(text)
                        }
                    });
                }
                b'\\' => {
                    let text = owned.get_or_insert_default();
                    text.push_str(piece);
                    let escaped = self.escape()?;
                    text.push(escaped);
                }
                _ => return Err(self.fault("a control character in a text must be escaped")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, BadJson> {
        let Some(byte) = self.text.as_bytes().get(self.at + 1).copied() else {
            self.at = self.text.len();
            return Err(self.cut("an escape"));
        };
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.fault("there is no such escape")),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them for a character beyond the first 65,536.
    fn unicode_escape(&mut self) -> Result<char, BadJson> {
        let start = self.at;
        let high = self.code_unit()?;
        let code = match high {
            0xd800..=0xdbff => {
                let low =
                    if self.text[self.at..].starts_with("\\u") { self.code_unit()? } else { 0 };
                if (0xdc00..=0xdfff).contains(&low) {
                    0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| {
            self.at = start;
            self.fault("half of a surrogate pair")
        })
    }

    fn code_unit(&mut self) -> Result<u32, BadJson> {
        let Some(digits) = self.text.as_bytes().get(self.at + 2..self.at + 6) else {
            self.at = self.text.len();
            return Err(self.cut("four digits of an escape"));
        };
        let mut value = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16);
            value = value * 16 + digit.ok_or_else(|| self.fault("`\\u` needs four digits"))?;
        }
        self.at += 6;
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str, BadJson> {
        let start = self.at;
        self.take(b'-');
        if self.take(b'0') {
            if self.peek().is_some_and(|b| b.is_ascii_digit()) {
                return Err(self.fault("a number must not start with a zero"));
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), BadJson> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            Some(_) => Err(self.fault("a digit should stand here")),
            None => Err(self.cut("a digit")),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, BadJson> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else if word.starts_with(rest) {
            self.at = self.text.len();
            Err(self.cut(word))
        } else {
            Err(self.fault("a value should stand here"))
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), BadJson> {
        if depth >= DEPTH_MAX {
            return Err(self.fault("objects and lists are nested too deep"));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, message: &str) -> Result<(), BadJson> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.fault(message)),
            None => Err(self.cut(&format!("`{}`", char::from(byte)))),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault(&self, message: &str) -> BadJson {
        BadJson { message: message.to_owned(), offset: self.at, cut: false }
    }

    fn cut(&self, missing: &str) -> BadJson {
        BadJson { message: format!("the text ends before {missing}"), offset: self.at, cut: true }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn plain(json: &Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Boolean(value) => Value::Bool(*value),
            Json::Number(text) => serde_json::from_str(text).unwrap(),
            Json::Text(text) => Value::String(text.clone().into_owned()),
            Json::List(items) => items.iter().map(plain).collect(),
            Json::Object(entries) => {
                Value::Object(entries.iter().map(|(k, v)| (k.to_string(), plain(v))).collect())
            }
        }
    }

    #[test]
    fn faults_are_placed() {
        let check = |text: &str, message: &str, place, cut| {
            let fault = parse(text).unwrap_err();
            assert_eq!(
                (fault.message.as_str(), fault.place(text), fault.cut),
                (message, place, cut)
            );
        };
        check(r#"{"a": }"#, "a value should stand here", (1, 7), false);
        check("{\"ä\": 1,\n \"b\" 2}", "a colon should follow the key", (2, 6), false);
        check("[1, 2", "the text ends before `,`", (1, 6), true);
        check(r#"{"a": "b"#, "the text ends before the end of a text", (1, 9), true);
        check("tru", "the text ends before true", (1, 4), true);
        check("[01]", "a number must not start with a zero", (1, 3), false);
        check("1 2", "there is more after the end of the value", (1, 3), false);
        check("\"a\nb\"", "a control character in a text must be escaped", (1, 3), false);
        check(r#""\ud800x""#, "half of a surrogate pair", (1, 2), false);
        check("", "the text ends before a value", (1, 1), true);
        check("{'a': 1}", "a key in double quotes should stand here", (1, 2), false);
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(
            parse(&nested(100_000)).unwrap_err().message,
            "objects and lists are nested too deep"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            "\\PC{0,8}|[\"\\\\\n\t\u{1}😀]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"é]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_others_write_is_read(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let json = parse(&text).unwrap();
            prop_assert_eq!(&plain(&json), &serde_json::from_str::<Value>(&text).unwrap());
            let again: Value = serde_json::from_str(&json.to_string()).unwrap();
            prop_assert_eq!(again, plain(&json));
        }

        #[test]
        fn any_text_is_accepted_or_refused_as_others_do(text in "[\\[\\]{}:,\"0-9eE.+ntrufalse\\\\ \n-]{0,12}") {
            let theirs = serde_json::from_str::<Value>(&text);
            let ours = parse(&text);
            // Theirs refuses numbers beyond `f64`, which ours keeps as text.
            let too_large = theirs.as_ref().is_err_and(|e| e.to_string().starts_with("number out of range"));
            if !too_large {
                prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
            }
        }

        #[test]
        fn a_cut_text_is_never_taken_as_whole(value in any_json(), at in 0.0..1.0_f64) {
            let text = Value::from(vec![value]).to_string();
            let mut end = (text.len() as f64 * at) as usize;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            prop_assert!(parse(&text[..end]).unwrap_err().cut);
        }
    }
}
