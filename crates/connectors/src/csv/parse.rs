//! From a chunk to columns: in stripes of records, and there one column after the other, so that
//! each type is looked up once while the text is still at hand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_connector::{ConnectorError, RejectedRow};

use super::chunks::Work;
use super::index::Index;
use super::judge::{BadRow, Judge};
use super::read::Nulls;
use super::scan::Dialect;
use crate::columns::OnBadRow;
use crate::columns::builder::{ColumnBuilder, Texts};
use crate::columns::types::type_name;

/// Records of a stripe: few enough that their text stays in the nearest cache.
const STRIPE: usize = 256;

/// How chunks become columns.
pub(crate) struct Parse {
    pub(crate) dialect: Dialect,
    /// All columns of the files.
    pub(crate) names: Vec<String>,
    /// Those that are kept, in the order of the schema.
    pub(crate) used: Vec<usize>,
    /// The columns given on.
    pub(crate) schema: SchemaRef,
    pub(crate) nulls: Nulls,
    pub(crate) on_bad_row: OnBadRow,
    /// Whether the last column is the name of the file.
    pub(crate) has_file_column: bool,
    /// The names of the files.
    pub(crate) files: Vec<String>,
}

/// What a chunk holds.
pub(crate) struct Parsed {
    /// The good rows.
    pub(crate) rows: RecordBatch,
    /// The bad rows, in order, if they are set aside: each with the number of good rows before it.
    pub(crate) rejects: Vec<(usize, RejectedRow)>,
    /// The first bad row, if it ends the reading.
    pub(crate) bad: Option<BadRow>,
    /// Bytes of text.
    pub(crate) bytes: usize,
}

impl Work for Parse {
    type Done = Result<Parsed, ConnectorError>;

    fn chunk(&self, file: usize, bytes: &[u8]) -> (Self::Done, u64) {
        let index = Index::of(bytes, self.dialect, self.names.len());
        (self.parse(file, &index, bytes.len()), index.lines())
    }
}

impl Parse {
    fn parse(&self, file: usize, index: &Index, bytes: usize) -> Result<Parsed, ConnectorError> {
        // The first column, in the order of the file, that cannot hold its value.
        let mut wrong: BTreeMap<usize, usize> = BTreeMap::new();
        let builder = |(field, _): (&FieldRef, _)| {
            let mut builder = ColumnBuilder::new(field.data_type())?;
            builder.reserve(index.len());
            Ok(builder)
        };
        let columns = self.schema.fields().iter().zip(&self.used);
        let mut builders: Vec<_> = columns.map(builder).collect::<Result<_, ConnectorError>>()?;
        for from in (0..index.len()).step_by(STRIPE) {
            let records = from..(from + STRIPE).min(index.len());
            for (builder, column) in builders.iter_mut().zip(&self.used) {
                let records = records.clone();
                let cells = Cells { index, column: *column, records, nulls: &self.nulls };
                builder.push_texts(&cells, |record| {
                    let first = wrong.entry(from + record).or_insert(*column);
                    *first = (*first).min(*column);
                });
            }
        }
        let arrays = builders.iter_mut().map(ColumnBuilder::finish);
        let mut arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        if self.has_file_column {
            let name = std::iter::repeat_n(&self.files[file], index.len());
            arrays.push(Arc::new(StringArray::from_iter_values(name)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(index.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        let mut parsed = Parsed { rows, rejects: Vec::new(), bad: None, bytes };
        if !wrong.is_empty() {
            let good: Vec<bool> = (0..index.len()).map(|row| !wrong.contains_key(&row)).collect();
            parsed.rows = filter_record_batch(&parsed.rows, &BooleanArray::from(good))?;
        }
        self.bad_rows(file, index, &wrong, &mut parsed);
        Ok(parsed)
    }

    /// Collects the bad rows: those of a bad shape and those with a wrong value.
    fn bad_rows(
        &self,
        file: usize,
        index: &Index,
        wrong: &BTreeMap<usize, usize>,
        parsed: &mut Parsed,
    ) {
        let mut judge = Judge::new(self.dialect, &self.names);
        let mut odd = index.odd().iter().peekable();
        let mut wrong = wrong.iter().peekable();
        let mut wrong_so_far = 0;
        loop {
            let odd_first = match (odd.peek(), wrong.peek()) {
                (Some(odd), Some((record, _))) => odd.after <= **record,
                (odd, _) => odd.is_some(),
            };
            let (before, bad) = if odd_first && let Some(odd) = odd.next() {
                let (from, line) = index.odd_record(odd);
                (odd.after - wrong_so_far, judge.shape(from, line))
            } else if let Some((record, column)) = wrong.next() {
                let (from, line) = index.record(*record);
                wrong_so_far += 1;
                (
                    record + 1 - wrong_so_far,
                    judge.value(from, line, *column, &self.expected(*column)),
                )
            } else {
                return;
            };
            if self.on_bad_row == OnBadRow::Stop {
                parsed.bad = Some(bad);
                return;
            }
            parsed.rejects.push((before, bad.into_rejected(&self.files[file])));
        }
    }

    /// The name of the type of a column.
    fn expected(&self, column: usize) -> String {
        let used = self.used.iter().position(|used| *used == column);
        let field = used.and_then(|at| self.schema.fields().get(at));
        field.map_or_else(String::new, |field| type_name(field.data_type()).into_owned())
    }
}

/// The cells of one column in a stripe.
struct Cells<'a> {
    index: &'a Index<'a>,
    column: usize,
    records: Range<usize>,
    nulls: &'a Nulls,
}

impl Texts for Cells<'_> {
    #[inline]
    fn each(&self, mut see: impl FnMut(Option<&[u8]>)) {
        self.index.column(self.column, self.records.clone(), |text, quoted| {
            see((!self.nulls.contain(text, quoted)).then_some(text));
        });
    }
}
