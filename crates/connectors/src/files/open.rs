//! From a file to a stream of plain bytes, or of UTF-8 text.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;
use tidemill_connector::ConnectorError;

use super::find::InputFile;

/// A stream of a file's content.
pub(crate) type Stream = Box<dyn Read + Send>;

const BUFFER_BYTES: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Opens a file for reading; gzip and zstd are unpacked on the way, told by the name's ending or
/// by the first bytes.
pub(crate) fn open(file: &InputFile) -> Result<Stream, ConnectorError> {
    let mut raw = File::open(&file.path).map_err(|e| ConnectorError::io("read", &file.path, &e))?;
    let head = peek(&mut raw, 4).map_err(|e| ConnectorError::io("read", &file.path, &e))?;
    let (gzip, zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
    let ending = |end: &str| file.path.extension().is_some_and(|e| e.eq_ignore_ascii_case(end));
    for (end, name, magic) in [("gz", "gzip", &GZIP[..]), ("zst", "zstd", &ZSTD[..])] {
        // A file that ends within these bytes is cut short, which is told when it is read.
        if ending(end) && !gzip && !zstd && !magic.starts_with(&head) {
            return Err(not_packed(&file.name, end, name));
        }
    }
    let stream = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(raw));
    Ok(if gzip || (ending("gz") && !zstd) {
        Box::new(MultiGzDecoder::new(stream))
    } else if zstd || ending("zst") {
        Box::new(zstd::Decoder::with_buffer(stream).map_err(|e| unreadable(&file.name, &e))?)
    } else {
        Box::new(stream.into_inner())
    })
}

/// Opens a text file. A byte-order mark tells the encoding and is not part of the text; without
/// one the file is in `encoding`. Text marked or taken as UTF-8 is passed on as it is, valid or
/// not, so that the reader can name the row.
pub(crate) fn open_text(
    file: &InputFile,
    encoding: &'static Encoding,
) -> Result<Stream, ConnectorError> {
    let mut stream = open(file)?;
    let head = peek(&mut stream, 3).map_err(|e| unreadable(&file.name, &e))?;
    let (encoding, mark) = Encoding::for_bom(&head).unwrap_or((encoding, 0));
    let text = Cursor::new(head[mark..].to_vec()).chain(stream);
    Ok(if encoding == UTF_8 { Box::new(text) } else { Box::new(Transcoder::new(text, encoding)) })
}

/// The encoding of this name, as browsers know it.
pub(crate) fn encoding(label: Option<&str>) -> Result<&'static Encoding, ConnectorError> {
    let Some(label) = label else { return Ok(UTF_8) };
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        ConnectorError::misconfigured(format!("`{label}` is no encoding"))
            .help("write for example `utf-8`, `windows-1252`, `utf-16le` or `shift_jis`")
    })
}

/// The error for a stream that broke off. A fault of the machine is told from one of the file;
/// neither can be read on from, so neither is retryable.
pub(crate) fn unreadable(name: &str, error: &io::Error) -> ConnectorError {
    if error.raw_os_error().is_some() {
        return ConnectorError::internal(format!("cannot read `{name}`: {error}"));
    }
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "is cut short",
        _ => "is damaged",
    };
    ConnectorError::data(format!("`{name}` {what}: {error}")).help("fetch the file again")
}

/// The error for a file whose name alone says that it is packed.
fn not_packed(name: &str, end: &str, format: &str) -> ConnectorError {
    ConnectorError::data(format!("`{name}` is not {format}, although its name ends in `.{end}`"))
        .help(format!("take `.{end}` off its name if it is not packed, or fetch the file again"))
}

/// Up to `length` bytes from the start of a stream.
fn peek(stream: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream.take(length).read_to_end(&mut head)?;
    Ok(head)
}

/// Any encoding to UTF-8. What is no text in the encoding is an error: replacing it by signs for
/// "unknown" would change data in silence.
struct Transcoder<R> {
    input: R,
    decoder: Decoder,
    raw: Vec<u8>,
    raw_at: usize,
    text: Vec<u8>,
    text_at: usize,
    ended: bool,
}

impl<R: Read> Transcoder<R> {
    fn new(input: R, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_without_bom_handling();
        Self {
            input,
            decoder,
            raw: Vec::new(),
            raw_at: 0,
            text: Vec::new(),
            text_at: 0,
            ended: false,
        }
    }

    /// Decodes more, until there is some text or the end.
    fn refill(&mut self) -> io::Result<()> {
        while self.text_at == self.text.len() && !self.ended {
            let mut last = false;
            if self.raw_at == self.raw.len() {
                self.raw.resize(BUFFER_BYTES, 0);
                let read = self.input.read(&mut self.raw)?;
                self.raw.truncate(read);
                self.raw_at = 0;
                last = read == 0;
            }
            self.text.resize(BUFFER_BYTES, 0);
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
                &self.raw[self.raw_at..],
                &mut self.text,
                last,
            );
            self.raw_at += read;
            self.text.truncate(written);
            self.text_at = 0;
            match result {
                DecoderResult::Malformed(..) => {
                    let name = self.decoder.encoding().name();
                    let message = format!("some of its bytes are no {name}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                DecoderResult::InputEmpty => self.ended = last,
                DecoderResult::OutputFull => {}
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.refill()?;
        let ready = &self.text[self.text_at..];
        let length = ready.len().min(out.len());
        out[..length].copy_from_slice(&ready[..length]);
        self.text_at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(name: &str, content: &[u8], label: Option<&str>) -> Result<String, ConnectorError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let file = InputFile { path, name: name.to_owned() };
        let mut text = String::new();
        open_text(&file, encoding(label)?)?
            .read_to_string(&mut text)
            .map_err(|error| unreadable(name, &error))?;
        Ok(text)
    }

    #[test]
    fn packed_files_are_told_by_name_or_by_content() {
        let zstd = zstd::encode_all(&b"hello"[..], 3).unwrap();
        let two: Vec<u8> = [gzip(b"hel"), gzip(b"lo")].concat();
        for (name, content) in [
            ("a.txt", b"hello".to_vec()),
            ("a.gz", gzip(b"hello")),
            ("a.GZ", gzip(b"hello")),
            ("a.csv", gzip(b"hello")),
            ("two.gz", two),
            ("a.zst", zstd.clone()),
            ("a.gz", zstd.clone()),
            ("a", zstd),
        ] {
            assert_eq!(read(name, &content, None).unwrap(), "hello", "{name}");
        }
        assert_eq!(read("empty", b"", None).unwrap(), "");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let whole = gzip("hello ".repeat(100_000).as_bytes());
        let zstd = zstd::encode_all("hello ".repeat(100_000).as_bytes(), 3).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() - 6;
        flipped[middle] ^= 0xff;
        let check = |name: &str, content: &[u8], expected: &str| {
            let message = read(name, content, None).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("a.gz", &whole[..whole.len() / 2], "`a.gz` is cut short: ");
        check("a.gz", &whole[..whole.len() - 3], "`a.gz` is cut short: ");
        check("a.gz", &flipped, "`a.gz` is damaged: ");
        check("a.gz", &whole[..1], "`a.gz` is cut short: ");
        check("a.gz", b"", "`a.gz` is cut short: ");
        for text in [&b"x"[..], b"a,b\n", b"plain text, longer than a header"] {
            check("a.gz", text, "`a.gz` is not gzip, although its name ends in `.gz`; take `.gz`");
            check("a.zst", text, "`a.zst` is not zstd, although its name ends in `.zst`; take");
        }
        check("a.zst", &zstd[..2], "`a.zst` is cut short: ");
        check("a.zst", &zstd[..zstd.len() - 2], "`a.zst` is cut short: ");
    }

    #[test]
    fn encodings() {
        let little: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("né😀".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let big: Vec<u8> = [0xfe, 0xff]
            .into_iter()
            .chain("né😀".encode_utf16().flat_map(u16::to_be_bytes))
            .collect();
        let check = |content: &[u8], label, expected: &str| {
            assert_eq!(read("a", content, label).unwrap(), expected);
        };
        check("né".as_bytes(), None, "né");
        check("\u{feff}né".as_bytes(), None, "né");
        check(&little, None, "né😀");
        check(&big, None, "né😀");
        check(&big, Some("windows-1252"), "né😀");
        check(b"n\xe9\x80", Some("windows-1252"), "né€");
        check("long ä ".repeat(40_000).as_bytes(), Some("utf-8"), &"long ä ".repeat(40_000));
        let long: Vec<u8> = b"long \xe4 ".repeat(40_000);
        check(&long, Some("latin1"), &"long ä ".repeat(40_000));
        assert_eq!(
            read("a", b"\x81\x20", Some("shift_jis")).unwrap_err().to_string(),
            "`a` is damaged: some of its bytes are no Shift_JIS; fetch the file again"
        );
        assert_eq!(
            read("a", b"", Some("latin-7x")).unwrap_err().to_string(),
            "`latin-7x` is no encoding; write for example `utf-8`, `windows-1252`, `utf-16le` or `shift_jis`"
        );
    }

    #[test]
    fn a_missing_file_is_a_wrong_setting() {
        let file = InputFile { path: Path::new("/no/such/file").into(), name: "x".to_owned() };
        let error = open(&file).err().unwrap();
        assert_eq!(error.kind, tidemill_connector::ErrorKind::Misconfigured);
    }
}
