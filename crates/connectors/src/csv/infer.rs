//! The types of the columns whose types nobody wrote: found by reading the whole input.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use tidemill_connector::ConnectorError;
use tidemill_connector::near::{listed, near};

use super::input::{HeaderPlace, Input, Position};
use super::read::{Nulls, check_record, reject_error};
use crate::columns::guess::Guess;
use crate::columns::{ColumnTypes, OnBadRow};

/// The columns of an input: the types as written, the rest inferred.
///
/// Rows that are bad whatever the types stop the inference, or are passed over, as they will be
/// when they are read.
pub(crate) fn fields(
    input: &Input,
    names: &[String],
    types: &ColumnTypes,
    nulls: &Nulls,
    on_bad_row: OnBadRow,
) -> Result<Vec<FieldRef>, ConnectorError> {
    let mut columns: Vec<Column> = names
        .iter()
        .map(|name| match types.0.get(name) {
            Some(known) => Column::Known(known.data_type()),
            None => Column::Guessed(Guess::default()),
        })
        .collect();
    if columns.iter().any(|column| matches!(column, Column::Guessed(_))) {
        let mut position = Position::start();
        while let Some((file, record)) = position.next(input)? {
            if let Err(reject) = check_record(&record, names) {
                match on_bad_row {
                    OnBadRow::Quarantine => continue,
                    OnBadRow::Stop => return Err(reject_error(reject, &record, &file.name, names)),
                }
            }
            for (index, column) in columns.iter_mut().enumerate() {
                if let (Column::Guessed(guess), Some((text, quoted))) = (column, record.cell(index))
                    && !nulls.contain(text, quoted)
                {
                    guess.see(text);
                }
            }
        }
    }
    let field = |(name, column): (&String, Column)| {
        let data_type = match column {
            Column::Known(data_type) => data_type,
            Column::Guessed(guess) => guess.data_type(),
        };
        Arc::new(Field::new(name, data_type, true))
    };
    Ok(names.iter().zip(columns).map(field).collect())
}

enum Column {
    Known(DataType),
    Guessed(Guess),
}

/// Refuses types for columns that the header does not have, which is at `place`.
pub(super) fn written_columns_exist(
    names: &[String],
    types: &ColumnTypes,
    renamed: bool,
    place: &HeaderPlace,
) -> Result<(), ConnectorError> {
    let Some(unknown) = types.0.keys().find(|name| !names.contains(name)) else { return Ok(()) };
    let names = names.iter().map(String::as_str);
    let meant = near(unknown, names.clone())
        .map(|near| format!("did you mean `{near}`? "))
        .unwrap_or_default();
    let after = if renamed { "after `rename` it has" } else { "it has" };
    Err(ConnectorError::misconfigured(format!(
        "`columns` names the column `{unknown}`, which {} not have",
        match place {
            HeaderPlace::File(name) => format!("the header of `{name}` does"),
            HeaderPlace::Names => "`names` does".to_owned(),
        }
    ))
    .at(place)
    .help(format!("{meant}{after}: {}", listed(names))))
}
