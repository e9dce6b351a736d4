//! The types of the columns whose types nobody wrote: found by reading the whole input.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use tidemill_connector::ConnectorError;

use super::chunks::{Chunks, Work};
use super::index::Index;
use super::input::Input;
use super::judge::{BadRow, Judge};
use super::read::Nulls;
use crate::columns::guess::Guess;
use crate::columns::{ColumnTypes, OnBadRow};

/// The columns of an input: the types as written, the rest inferred.
///
/// Rows that are bad whatever the types stop the inference, or are passed over, as they will be
/// when they are read.
pub(crate) fn fields(
    input: &Arc<Input>,
    names: &[String],
    types: &ColumnTypes,
    nulls: &Nulls,
    on_bad_row: OnBadRow,
    used: &[usize],
) -> Result<Vec<FieldRef>, ConnectorError> {
    let asked: Vec<usize> =
        used.iter().copied().filter(|index| !types.0.contains_key(&names[*index])).collect();
    let mut guesses = vec![Guess::default(); names.len()];
    if !asked.is_empty() {
        let look = Look {
            input: input.clone(),
            names: names.to_vec(),
            asked: asked.clone(),
            nulls: nulls.clone(),
            on_bad_row,
        };
        let mut chunks = Chunks::start(input.clone(), look);
        while let Some((at, seen)) = chunks.next()? {
            if let Some(bad) = seen.bad {
                let file = &input.files[at.file].name;
                return Err(bad.into_error(file, at.line, names));
            }
            for (index, guess) in asked.iter().zip(seen.guesses) {
                guesses[*index] = guesses[*index].join(guess);
            }
        }
    }
    let field = |index: &usize| {
        let name = &names[*index];
        let data_type =
            types.0.get(name).map_or_else(|| guesses[*index].data_type(), |t| t.data_type());
        Arc::new(Field::new(name, data_type, true))
    };
    Ok(used.iter().map(field).collect())
}

/// Looks at the values of a chunk.
struct Look {
    input: Arc<Input>,
    names: Vec<String>,
    /// The columns whose types nobody wrote.
    asked: Vec<usize>,
    nulls: Nulls,
    on_bad_row: OnBadRow,
}

struct Seen {
    /// For each column that was asked for.
    guesses: Vec<Guess>,
    /// The first bad row, if it ends the reading.
    bad: Option<BadRow>,
}

impl Work for Look {
    type Done = Seen;

    fn chunk(&self, _: usize, bytes: &[u8]) -> (Seen, u64) {
        let index = Index::of(bytes, self.input.dialect, self.names.len());
        if let (OnBadRow::Stop, Some(odd)) = (self.on_bad_row, index.odd().first()) {
            let (from, line) = index.odd_record(odd);
            let bad = Judge::new(self.input.dialect, &self.names).shape(from, line);
            return (Seen { guesses: Vec::new(), bad: Some(bad) }, index.lines());
        }
        let guess = |column: &usize| {
            let mut guess = Guess::default();
            index.column(*column, 0..index.len(), |text, quoted| {
                if !self.nulls.contain(text, quoted) {
                    guess.see(std::str::from_utf8(text).unwrap_or_default());
                }
            });
            guess
        };
        (Seen { guesses: self.asked.iter().map(guess).collect(), bad: None }, index.lines())
    }
}
