//! Decimals in a table's file: of 64 bits where their precision leaves room, instead of 128.
//!
//! Half as many bytes are then packed, written and unpacked. Whoever reads a table gets the type
//! that was written; that columns were made narrower is noted in the metadata of the file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal64Array, Decimal128Array};
use arrow::datatypes::{
    DECIMAL64_MAX_PRECISION, DataType, Decimal64Type, Decimal128Type, Field, Schema, SchemaRef,
};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

/// The entry of the metadata.
const NOTE: &str = "tidemill.decimals";
const NOTE_TEXT: &str = "narrow";

/// The schema in the file for tables of this schema; the same where nothing is made narrower.
pub(super) fn stored(schema: &SchemaRef) -> SchemaRef {
    let narrow = |of: &DataType| match of {
        DataType::Decimal128(precision, scale) if *precision <= DECIMAL64_MAX_PRECISION => {
            Some(DataType::Decimal64(*precision, *scale))
        }
        _ => None,
    };
    changed(schema, narrow).map_or_else(
        || schema.clone(),
        |mut narrowed| {
            narrowed.metadata.insert(NOTE.to_owned(), NOTE_TEXT.to_owned());
            Arc::new(narrowed)
        },
    )
}

/// The schema of tables whose file has this one.
pub(super) fn original(stored: &SchemaRef) -> SchemaRef {
    if stored.metadata.get(NOTE).is_none_or(|note| note != NOTE_TEXT) {
        return stored.clone();
    }
    let widen = |of: &DataType| match of {
        DataType::Decimal64(precision, scale) => Some(DataType::Decimal128(*precision, *scale)),
        _ => None,
    };
    let mut schema = changed(stored, widen).unwrap_or_else(|| stored.as_ref().clone());
    schema.metadata.remove(NOTE);
    Arc::new(schema)
}

/// The schema with other types; `None` if all stay.
fn changed(schema: &Schema, to: impl Fn(&DataType) -> Option<DataType>) -> Option<Schema> {
    let any = schema.fields().iter().any(|field| to(field.data_type()).is_some());
    let fields = schema.fields().iter().map(|field| match to(field.data_type()) {
        Some(other) => Arc::new(Field::clone(field).with_data_type(other)),
        None => field.clone(),
    });
    any.then(|| Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata.clone()))
}

/// The batch with the types of `schema`, which is [`stored`] or [`original`] of its own.
pub(super) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if Arc::ptr_eq(&batch.schema(), schema) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| fit_column(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

fn fit_column(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (column.data_type(), to) {
        (DataType::Decimal128(_, _), DataType::Decimal64(precision, scale)) => {
            let wide = column.as_primitive::<Decimal128Type>();
            let mut lost = false;
            let narrow = wide.values().iter().map(|value| {
                let narrow = *value as i64;
                lost |= i128::from(narrow) != *value;
                narrow
            });
            let values: Vec<i64> = narrow.collect();
            // What lies below a null may be anything.
            let fits = |value: i128| i64::try_from(value).is_ok();
            if lost && !wide.iter().flatten().all(fits) {
                return Err(ArrowError::ComputeError(format!(
                    "a value is too large for its type decimal({precision},{scale})"
                )));
            }
            let narrow = Decimal64Array::try_new(values.into(), wide.nulls().cloned())?;
            Ok(Arc::new(narrow.with_precision_and_scale(*precision, *scale)?))
        }
        (DataType::Decimal64(_, _), DataType::Decimal128(precision, scale)) => {
            let narrow = column.as_primitive::<Decimal64Type>();
            let values: Vec<i128> =
                narrow.values().iter().map(|value| i128::from(*value)).collect();
            let wide = Decimal128Array::try_new(values.into(), narrow.nulls().cloned())?;
            Ok(Arc::new(wide.with_precision_and_scale(*precision, *scale)?))
        }
        _ => Ok(column.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: Vec<Option<i128>>, precision: u8) -> RecordBatch {
        let decimals =
            Decimal128Array::from(values).with_precision_and_scale(precision, 2).unwrap();
        let field = Field::new("d", decimals.data_type().clone(), true)
            .with_metadata([("unit".to_owned(), "CHF".to_owned())].into());
        let metadata = [("made".to_owned(), "here".to_owned())].into();
        let schema = Schema::new_with_metadata(vec![field], metadata);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(decimals)]).unwrap()
    }

    #[test]
    fn what_comes_back_is_what_went_in() {
        let most = 10_i128.pow(18) - 1;
        for precision in [2, 18, 19, 38] {
            let batch = batch(vec![Some(7), None, Some(-most), Some(most)], precision);
            let narrow = fit(&batch, &stored(&batch.schema())).unwrap();
            let narrowed = matches!(narrow.column(0).data_type(), DataType::Decimal64(_, 2));
            assert_eq!(narrowed, precision <= 18);
            assert_eq!(original(&narrow.schema()), batch.schema());
            assert_eq!(fit(&narrow, &original(&narrow.schema())).unwrap(), batch);
        }
    }

    #[test]
    fn nothing_is_lost_in_silence() {
        let large = batch(vec![Some(1), Some(i128::from(i64::MAX) + 1)], 18);
        let error = fit(&large, &stored(&large.schema())).unwrap_err();
        assert!(error.to_string().contains("decimal(18,2)"), "{error}");
        // Below a null there may be anything.
        let nulls = Some(vec![true, false].into());
        let values = large.column(0).as_primitive::<Decimal128Type>().values().clone();
        let hidden = Decimal128Array::new(values, nulls).with_precision_and_scale(18, 2).unwrap();
        let hidden = RecordBatch::try_new(large.schema(), vec![Arc::new(hidden)]).unwrap();
        let narrow = fit(&hidden, &stored(&hidden.schema())).unwrap();
        let back = fit(&narrow, &original(&narrow.schema())).unwrap();
        assert_eq!(
            back.column(0).as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(),
            [Some(1), None]
        );
    }

    #[test]
    fn a_table_of_narrow_decimals_from_elsewhere_stays_as_it_is() {
        let narrow = Schema::new(vec![Field::new("d", DataType::Decimal64(5, 2), true)]);
        let narrow = Arc::new(narrow);
        assert_eq!(original(&narrow), narrow);
    }
}
