//! From a row to an RFC 5322 message.
//!
//! Nothing that a row holds can add a header or a recipient: texts that go into headers are refused
//! when they hold a line break or another control character, and an address is one address.

use std::fmt::Write;
use std::time::SystemTime;

use lettre::message::header::{HeaderName, HeaderValue, MessageId};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use sha2::{Digest, Sha256};
use tidemill_connector::ConnectorError;
use url::{Host, Url};

/// A line of a header must not be longer (RFC 5322 allows 998 characters with its name).
const URL_CHARS_MAX: usize = 900;
/// Characters of a file name that tell a person which message it is.
const READABLE_CHARS_MAX: usize = 60;

/// Headers that a message gets from elsewhere, or that a mail system adds.
const OWN_HEADERS: [&str; 14] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
    "return-path",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// What tells one message from another: the columns of the key and the values in this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<(String, String)>);

impl Key {
    /// Sixteen bytes that stand for the key.
    pub(super) fn digest(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        for (_, value) in &self.0 {
            // With its length, since `ab`, `c` is another key than `a`, `bc`.
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value.as_bytes());
        }
        let hash = hash.finalize();
        std::array::from_fn(|index| hash[index])
    }

    /// The name of the message's file: the key as far as it makes a name, and its digest.
    pub(super) fn file_name(&self) -> String {
        let values: Vec<&str> = self.0.iter().map(|(_, value)| value.as_str()).collect();
        let readable: String = values
            .join("-")
            .chars()
            .take(READABLE_CHARS_MAX)
            .map(
                |c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' },
            )
            .collect();
        let readable = readable.trim_start_matches(['.', '-']);
        let digest = hex::encode(&self.digest()[..8]);
        if readable.is_empty() {
            format!("{digest}.eml")
        } else {
            format!("{readable}-{digest}.eml")
        }
    }

    /// The key as messages name it: `campaign=spring, customer_id=17850`.
    pub(super) fn place(&self) -> String {
        let mut place = String::from("the row with ");
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(place, "{comma}{name}={}", value.escape_debug());
        }
        place
    }
}

/// What is the same for all messages of a load.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) sender: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
}

/// The message of one row, checked.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) key: Key,
    pub(super) to: Mailbox,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: Option<String>,
    pub(super) unsubscribe: Option<Url>,
    pub(super) headers: Vec<(HeaderName, String)>,
}

impl Letter {
    /// The bytes of the message. The same letter and date give the same bytes.
    pub(super) fn format(
        &self,
        envelope: &Envelope,
        date: SystemTime,
    ) -> Result<Vec<u8>, ConnectorError> {
        let id = format!("<{}@{}>", hex::encode(self.key.digest()), envelope.sender.email.domain());
        let mut builder = Message::builder()
            .from(envelope.sender.clone())
            .to(self.to.clone())
            .subject(self.subject.as_str())
            .date(date)
            .header(MessageId::from(id));
        if let Some(reply_to) = &envelope.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if let Some(url) = &self.unsubscribe {
            builder = builder.raw_header(unfolded("List-Unsubscribe", format!("<{url}>")));
            if matches!(url.scheme(), "http" | "https") {
                let one_click = "List-Unsubscribe=One-Click".to_owned();
                builder = builder.raw_header(unfolded("List-Unsubscribe-Post", one_click));
            }
        }
        for (name, value) in &self.headers {
            builder = builder.raw_header(HeaderValue::new(name.clone(), value.clone()));
        }
        let message = match &self.html {
            None => builder.singlepart(SinglePart::plain(self.text.clone())),
            Some(html) => builder.multipart(
                MultiPart::alternative()
                    .boundary(self.boundary(html))
                    .singlepart(SinglePart::plain(self.text.clone()))
                    .singlepart(SinglePart::html(html.clone())),
            ),
        };
        let message = message.map_err(|error| {
            ConnectorError::data(format!("the message cannot be made: {error}"))
                .at(self.key.place())
        })?;
        Ok(message.formatted())
    }

    /// The line between the parts. It depends on what the parts hold, so that nobody can write a
    /// text that holds it.
    fn boundary(&self, html: &str) -> String {
        let mut hash = Sha256::new();
        for piece in [self.text.as_str(), html, self.subject.as_str()] {
            hash.update((piece.len() as u64).to_le_bytes());
            hash.update(piece.as_bytes());
        }
        hash.update(self.key.digest());
        format!("=_{}", hex::encode(&hash.finalize()[..20]))
    }
}

/// A header whose value is printable ASCII and must stay in one piece.
fn unfolded(name: &'static str, value: String) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value)
}

/// Refuses what must not get into a header.
pub(super) fn header_text(text: &str) -> Result<&str, String> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        None => Ok(text),
        Some('\r' | '\n') => Err("has a line break, which would start another header".to_owned()),
        Some(c) => Err(format!("has the control character U+{:04X}", u32::from(c))),
    }
}

/// The name of a further header.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let own = OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own));
    if own || name.to_ascii_lowercase().starts_with("content-") {
        return Err(format!("`{name}` is set by the outbox itself"));
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !name.bytes().all(token) {
        return Err(format!("`{name}` is no name of a header"));
    }
    HeaderName::new_from_ascii(name.to_owned())
        .map_err(|_| format!("`{name}` is no name of a header"))
}

/// One address, with or without a name: `a@b.example`, `Ann <a@b.example>`.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, String> {
    let text = header_text(text)?.trim();
    let wrong = || format!("`{}` is no e-mail address", crate::columns::clip(text, 200));
    let (name, address) = match text.strip_suffix('>') {
        None => (None, text),
        Some(rest) => {
            let (name, address) = rest.rsplit_once('<').ok_or_else(wrong)?;
            let name = display_name(name.trim()).ok_or_else(wrong)?;
            ((!name.is_empty()).then_some(name), address)
        }
    };
    let (user, domain) = address.rsplit_once('@').ok_or_else(wrong)?;
    if !user.is_ascii() {
        return Err(wrong());
    }
    let domain = if domain.is_ascii() {
        domain.to_owned()
    } else {
        match Host::parse(domain) {
            Ok(Host::Domain(ascii)) => ascii,
            _ => return Err(wrong()),
        }
    };
    let address = Address::new(user, domain).map_err(|_| wrong())?;
    Ok(Mailbox::new(name, address))
}

/// The name before an address, without its quotes, empty if there is none; `None` if it could be a
/// second address.
fn display_name(text: &str) -> Option<String> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(inner) => Some(inner.replace("\\\"", "\"").replace("\\\\", "\\")),
        None if text.contains(['@', '<', '>', ';', '"']) => None,
        None => Some(text.to_owned()),
    }
}

/// The address for unsubscribing.
pub(super) fn unsubscribe(text: &str) -> Result<Url, String> {
    let text = header_text(text)?.trim();
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !matches!(url.scheme(), "https" | "http" | "mailto") {
        return Err("must start with https:// or mailto:".to_owned());
    }
    let printable = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>');
    if url.as_str().len() > URL_CHARS_MAX || !url.as_str().bytes().all(printable) {
        return Err(format!(
            "is longer than {URL_CHARS_MAX} characters or has signs that no address has"
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn letter() -> Letter {
        Letter {
            key: Key(vec![("id".to_owned(), "17850".to_owned())]),
            to: mailbox("Zoë <zoe@example.test>").unwrap(),
            subject: "Grüße für dich".to_owned(),
            text: "Hallo\nZoë".to_owned(),
            html: Some("<p>Hallo Zoë</p>".to_owned()),
            unsubscribe: Some(unsubscribe("https://shop.example/u?c=17850").unwrap()),
            headers: vec![(header_name("X-Campaign").unwrap(), "spring".to_owned())],
        }
    }

    fn envelope() -> Envelope {
        Envelope { sender: mailbox("Shop <news@shop.example>").unwrap(), reply_to: None }
    }

    fn text(letter: &Letter) -> String {
        let date = SystemTime::UNIX_EPOCH + Duration::from_mins(21_519_866);
        String::from_utf8(letter.format(&envelope(), date).unwrap()).unwrap()
    }

    #[test]
    fn a_message_with_both_parts() {
        let text = text(&letter());
        let boundary = letter().boundary("<p>Hallo Zoë</p>");
        assert_eq!(
            text.replace("\r\n", "\n").replace(&boundary, "BOUNDARY"),
            "\
From: Shop <news@shop.example>
To: =?utf-8?b?Wm/Dqw==?= <zoe@example.test>
Subject: =?utf-8?b?R3LDvMOfZSBmw7xy?= dich
Date: Wed, 01 Dec 2010 08:26:00 +0000
Message-ID: <7bf55228ddb7a8d1537741f7a6d1a91a@shop.example>
List-Unsubscribe: <https://shop.example/u?c=17850>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
X-Campaign: spring
MIME-Version: 1.0
Content-Type: multipart/alternative;
 boundary=\"BOUNDARY\"

--BOUNDARY
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Hallo
Zo=C3=AB
--BOUNDARY
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Hallo Zo=C3=AB</p>
--BOUNDARY--
"
        );
    }

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Result<(Option<&str>, &str), &str>| {
            let got = mailbox(text);
            let got = got.as_ref().map(|m| (m.name.as_deref(), m.email.as_ref()));
            assert_eq!(got.map_err(String::as_str), expected, "{text:?}");
        };
        check("a@b.example", Ok((None, "a@b.example")));
        check(" a@b.example ", Ok((None, "a@b.example")));
        check("Ann Bee <a@b.example>", Ok((Some("Ann Bee"), "a@b.example")));
        check("\"Bee, Ann\" <a@b.example>", Ok((Some("Bee, Ann"), "a@b.example")));
        check("<a@b.example>", Ok((None, "a@b.example")));
        check("a@bücher.example", Ok((None, "a@xn--bcher-kva.example")));
        check("a@b.example, c@d.example", Err("`a@b.example, c@d.example` is no e-mail address"));
        check(
            "x@y.example, Ann <a@b.example>",
            Err("`x@y.example, Ann <a@b.example>` is no e-mail address"),
        );
        check("a b@c.example", Err("`a b@c.example` is no e-mail address"));
        check("ä@b.example", Err("`ä@b.example` is no e-mail address"));
        check("nobody", Err("`nobody` is no e-mail address"));
        check("", Err("`` is no e-mail address"));
        check(
            "a@b.example\r\nBcc: c@d.example",
            Err("has a line break, which would start another header"),
        );
    }

    #[test]
    fn addresses_for_unsubscribing() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = unsubscribe(text);
            let got = got.as_ref().map(Url::as_str).map_err(String::as_str);
            assert_eq!(got, expected, "{text:?}");
        };
        check("https://a.example/u?x=1", Ok("https://a.example/u?x=1"));
        check("mailto:stop@a.example", Ok("mailto:stop@a.example"));
        check("https://a.example/a b>c", Ok("https://a.example/a%20b%3Ec"));
        check("javascript:alert(1)", Err("must start with https:// or mailto:"));
        check("/u", Err("is no address: relative URL without a base"));
        check(
            "https://a.example/\nX: y",
            Err("has a line break, which would start another header"),
        );
    }

    #[test]
    fn names_of_headers() {
        let check = |name: &str, expected: Result<(), &str>| {
            assert_eq!(header_name(name).map(drop), expected.map_err(ToOwned::to_owned));
        };
        check("X-Campaign", Ok(()));
        check("bcc", Err("`bcc` is set by the outbox itself"));
        check("Content-Type", Err("`Content-Type` is set by the outbox itself"));
        check("X: y", Err("`X: y` is no name of a header"));
        check("", Err("`` is no name of a header"));
    }

    #[test]
    fn files_are_named_by_the_key() {
        let name = |values: &[&str]| {
            Key(values.iter().map(|v| ("k".to_owned(), (*v).to_owned())).collect()).file_name()
        };
        assert!(name(&["spring", "17850"]).starts_with("spring-17850-"));
        assert!(name(&["../../etc/passwd"]).starts_with("_.._etc_passwd-"));
        assert_ne!(name(&["a-b", "c"]), name(&["a", "b-c"]));
        assert_ne!(name(&["A"]).to_lowercase(), name(&["a"]));
        assert_eq!(name(&[""]).len(), 20);
        assert!(name(&[&"x".repeat(1_000)]).len() < 100);
    }

    proptest! {
        #[test]
        fn no_row_can_add_a_header_or_end_the_headers(
            subject in "\\PC{0,200}|[ -~\\r\\n\\t]{0,60}",
            name in "\\PC{0,40}|[ -~\\r\\n]{0,30}",
            value in "\\PC{0,200}|[ -~\\r\\n]{0,60}",
        ) {
            let mut letter = letter();
            prop_assume!(header_text(&subject).is_ok() && header_text(&value).is_ok());
            letter.subject = subject;
            letter.headers[0].1 = value;
            if let Ok(to) = mailbox(&format!("{name} <a@b.example>")) {
                letter.to = to;
            }
            let text = text(&letter);
            let (head, _) = text.split_once("\r\n\r\n").expect("headers end");
            prop_assert!(head.is_ascii());
            prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n']));
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split(':').next().unwrap_or_default())
                .collect();
            prop_assert_eq!(names, [
                "From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe",
                "List-Unsubscribe-Post", "X-Campaign", "MIME-Version", "Content-Type",
            ]);
        }
    }
}
