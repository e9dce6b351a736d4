//! The fast reader against the careful one: whatever the text, the size of chunks and the number
//! of threads, rows and bad rows are the same.

use std::path::Path;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tidemill_connector::{ConnectorError, RejectedRow, SourceContext};

use super::CsvSourceConfig;
use super::batches::Batches;
use super::chunks::Chunks;
use super::index::Index;
use super::input::Input;
use super::parse::Parse;
use super::read::{Nulls, check_record, reject_error};
use super::scan::{Dialect, Scanner};
use crate::columns::rows::Rows;
use crate::columns::types::type_name;
use crate::columns::{OnBadRow, clip};
use crate::rejects::{Reason, Reject, Rejects, rejected};

type Read = Result<(RecordBatch, Vec<RejectedRow>), String>;

fn parse(input: &Input, used: &[usize], on_bad_row: OnBadRow) -> Parse {
    let names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let types = [DataType::Utf8, DataType::Int64, DataType::Decimal128(6, 2)];
    let mut fields: Vec<Field> =
        used.iter().map(|i| Field::new(&names[*i], types[*i].clone(), true)).collect();
    fields.push(Field::new("file", DataType::Utf8, true));
    Parse {
        dialect: input.dialect,
        names,
        used: used.to_vec(),
        schema: Arc::new(Schema::new(fields)),
        nulls: Nulls::new(vec![String::new(), "-".to_owned()], false),
        on_bad_row,
        has_file_column: true,
        files: input.files.iter().map(|file| file.name.clone()).collect(),
    }
}

/// Record by record, as the format is meant.
fn carefully(input: &Input, parse: &Parse) -> Read {
    let text = |error: ConnectorError| error.to_string();
    let mut rows = Rows::new(parse.schema.clone(), usize::MAX).expect("works");
    let mut rejects = Vec::new();
    for (file, name) in parse.files.iter().enumerate() {
        let bytes = std::fs::read(&input.files[file].path).expect("works");
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut scanner = Scanner::new(bytes, parse.dialect);
        scanner.advance().expect("works");
        while scanner.advance().expect("works") {
            let record = scanner.record();
            let mut pushed = check_record(&record, &parse.names);
            let mut kept: Vec<usize> = parse.used.clone();
            kept.sort_unstable();
            for index in kept {
                let at = parse.used.iter().position(|used| *used == index).expect("works");
                if pushed.is_err() {
                    break;
                }
                let (text, quoted) = record.cell(index).expect("works");
                let column = &mut rows.columns()[at];
                if parse.nulls.contain(text.as_bytes(), quoted) {
                    column.push_null();
                } else if !column.push_text(text) {
                    let expected = type_name(parse.schema.field(at).data_type());
                    pushed = Err(Reject {
                        reason: Reason::BadValue,
                        message: format!("`{}` is no {expected}", clip(text, 200)),
                        column: Some(parse.names[index].clone()),
                        value: Some(clip(text, 200)),
                    });
                }
            }
            match pushed {
                Ok(()) => {
                    rows.columns()[parse.used.len()].push_text(name);
                    rows.keep();
                }
                Err(reject) => {
                    rows.undo();
                    if parse.on_bad_row == OnBadRow::Stop {
                        let (cells, line) = (record.len(), record.line);
                        return Err(text(reject_error(reject, cells, name, line, &parse.names)));
                    }
                    rejects.push(rejected(reject, name, record.line, record.raw));
                }
            }
        }
    }
    let rows = rows.take().expect("works");
    Ok((rows.unwrap_or_else(|| RecordBatch::new_empty(parse.schema.clone())), rejects))
}

/// In chunks, on threads.
fn fast(input: &Arc<Input>, parse: Parse, chunk: usize, threads: usize, batch_rows: usize) -> Read {
    let parse = Arc::new(parse);
    let mut chunks = Chunks::with(input.clone(), parse.clone(), chunk, threads);
    let mut batches = Batches::new(parse.schema.clone(), batch_rows);
    let mut rejects = Rejects::default();
    let mut all = Vec::new();
    let text = |error: ConnectorError| error.to_string();
    loop {
        let next = chunks.next().map_err(text)?;
        let more = next.is_some();
        if let Some((at, parsed)) = next {
            let mut parsed = parsed.map_err(text)?;
            if let Some(bad) = parsed.bad {
                return Err(text(bad.into_error(&parse.files[at.file], at.line, &parse.names)));
            }
            parsed.rejects.iter_mut().for_each(|(_, reject)| reject.line += at.line + 1);
            batches.add(parsed);
        }
        while let Some(batch) = batches.cut(&mut rejects).map_err(text)? {
            assert!(batch.num_rows() > 0 && batch.num_rows() <= batch_rows);
            all.push(batch);
        }
        if !more {
            all.extend(batches.take().expect("works"));
            break;
        }
    }
    Ok((concat_batches(&parse.schema, &all).expect("works"), rejects.take()))
}

fn input(folder: &Path, files: &[Vec<u8>], dialect: (&str, &str, bool)) -> Arc<Input> {
    for (index, content) in files.iter().enumerate() {
        std::fs::write(folder.join(format!("{index}.csv")), content).expect("works");
    }
    let (delimiter, quote, trim) = dialect;
    let config: CsvSourceConfig = serde_json::from_value(serde_json::json!({
        "path": "*.csv", "delimiter": delimiter, "quote": quote, "trim": trim,
    }))
    .expect("works");
    let cx = SourceContext { batch_rows: 1, folder: folder.to_owned(), connection: None };
    Arc::new(Input::find(&config, &cx).expect("works"))
}

/// A row that is most often good, or a mess.
fn row() -> impl Strategy<Value = Vec<u8>> {
    let good = "(\"[a-zé,\n\r ]{0,9}(\"\")?\"|[a-zé\" ]{0,9}|-),(-?[0-9]{1,6}|\"[0-9]\"|\"\"|-),(-?[0-9]{1,4}(\\.[0-9]{0,2})?|)(\n|\r\n|\r|\n\n)";
    let mess = prop::collection::vec(
        prop::sample::select(b"a1,,\"\"\n\r \t-.\xff\xc3\xa9".as_slice()),
        0..12,
    );
    prop_oneof![
        4 => good.prop_map(String::into_bytes),
        1 => mess,
        1 => "[a-z]{0,90}(,[0-9]{1,3}){1,3}\n".prop_map(String::into_bytes),
    ]
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let starts = ["a,b,c\n", "\u{feff}a,b,c\r\n", "\n\n\"a\",b,c\r", "\"a\",\"b\",c\n\n"];
    (prop::sample::select(starts.to_vec()), prop::collection::vec(row(), 0..12))
        .prop_map(|(start, rows)| [start.as_bytes(), &rows.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn chunks_and_threads_change_nothing(
        files in prop::collection::vec(file(), 1..4),
        (trim, quote) in prop::sample::select([(false, "\""), (true, "\""), (false, ""), (true, " ")].to_vec()),
        used in prop::sample::select([&[0_usize, 1, 2][..], &[2, 0], &[1]].to_vec()),
        stop in any::<bool>(),
        chunk in prop_oneof![1..80_usize, 80..400_usize],
        threads in 0..4_usize,
        batch_rows in 1..6_usize,
    ) {
        let quoted_header = |file: &Vec<u8>| file.contains(&b'"');
        prop_assume!(quote == "\"" || !files.iter().any(quoted_header));
        let folder = tempfile::tempdir().expect("works");
        let input = input(folder.path(), &files, (",", quote, trim));
        let on_bad_row = if stop { OnBadRow::Stop } else { OnBadRow::Quarantine };
        let expected = carefully(&input, &parse(&input, used, on_bad_row));
        let got = fast(&input, parse(&input, used, on_bad_row), chunk, threads, batch_rows);
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn the_index_of_any_bytes_is_what_the_scanner_sees(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", ",", "\"", "\n", "\r", "\r\n", " ", "\t", "é", "\",\"", "\"\"", "\"\n\"", "x,\"y\"\n",
                "long enough to fill a good part of a block, and more", "\u{b}",
            ]),
            0..120,
        ),
        bad in prop::option::of(0..400_usize),
        trim in any::<bool>(),
        delimiter in prop::sample::select(b",\t".to_vec()),
        quote in prop::sample::select(vec![Some(b'"'), Some(b' '), None]),
        width in 1..4_usize,
    ) {
        let mut bytes = parts.concat().replace(',', &char::from(delimiter).to_string()).into_bytes();
        if let Some(byte) = bad.and_then(|at| bytes.get_mut(at)) {
            *byte = 0xff;
        }
        let dialect = Dialect { delimiter, quote: super::index::quote_of(Dialect { delimiter, quote, trim }), trim };
        let index = Index::of(&bytes, dialect, width);
        let mut scanner = Scanner::new(&bytes[..], dialect);
        let (mut good, mut odd) = (Vec::new(), Vec::new());
        let mut columns = vec![Vec::new(); width];
        while scanner.advance().expect("works") {
            let record = scanner.record();
            if record.fault.is_some() || record.len() != width || !record.is_text() {
                odd.push((good.len(), record.line - 1));
                continue;
            }
            good.push(record.line - 1);
            for (at, column) in columns.iter_mut().enumerate() {
                let (text, quoted) = record.cell(at).expect("works");
                column.push((text.as_bytes().to_vec(), quoted));
            }
        }
        let lines: Vec<u64> = (0..index.len()).map(|record| index.record(record).1).collect();
        prop_assert_eq!(lines, good);
        let strange: Vec<_> =
            index.odd().iter().map(|odd| (odd.after, index.odd_record(odd).1)).collect();
        prop_assert_eq!(strange, odd);
        for (at, column) in columns.into_iter().enumerate() {
            let mut seen = Vec::new();
            index.column(at, 0..index.len(), |text, quoted| seen.push((text.to_vec(), quoted)));
            prop_assert_eq!(seen, column);
        }
    }
}

#[test]
fn a_row_without_end_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("works");
    let long = [b"a,b,c\n\"x\ny\",1,1\nx,\"".to_vec(), vec![b'y'; 20 << 20]].concat();
    let input = input(folder.path(), &[long], (",", "\"", false));
    let got = fast(&input, parse(&input, &[0, 1, 2], OnBadRow::Stop), 64, 2, 10);
    assert_eq!(
        got.expect_err("too long"),
        "a row is longer than 16 MiB (0.csv:4); look for a quote that is never closed, or set \
         `quote: \"\"`"
    );
}
