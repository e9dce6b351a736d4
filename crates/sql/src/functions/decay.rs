//! `forward_decay` and `decay_at`: sums of events that lose weight with age.
//!
//! Forward decay (Cormode, Shkapenyuk, Srivastava, Xu: ICDE 2009) weighs an event when it comes,
//! by its distance from a fixed landmark. The sum so far needs no change as time passes; only
//! reading it divides by the weight of the moment.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, TimestampMicrosecondArray};
use datafusion::common::Result;
use datafusion::common::cast::{as_float64_array, as_timestamp_microsecond_array};
use datafusion::error::DataFusionError;
use tidemill_connector::ConnectorError;

use super::{ArrayRef, FunctionDoc, Kind, RowFunction};
use crate::error::pass;

const DAY_MICROS: f64 = 86_400_000_000.0;

pub(super) static FORWARD_DECAY: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "forward_decay",
        signature: "forward_decay(ts timestamp, landmark timestamp, half_life_days number) → \
            float64",
        doc: "2^((ts - landmark) / half life): the weight of an event at `ts`. Sum it over events, \
              in any order, and read the sum at a moment with `decay_at`.",
        example: "forward_decay(timestamp '2026-01-29T00:00:00', timestamp '2026-01-01T00:00:00', \
            14)",
        gives: "4.0",
    },
    takes: &[Kind::Instant, Kind::Instant, Kind::Number],
    gives: Kind::Number,
    call: forward_decay,
};

pub(super) static DECAY_AT: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "decay_at",
        signature: "decay_at(acc number, t timestamp, landmark timestamp, half_life_days number) \
            → float64",
        doc: "acc · 2^(-(t - landmark) / half life): what a sum of `forward_decay` weights is \
            worth \
              at `t`, when each event halves its weight every `half_life_days`.",
        example: "decay_at(4, timestamp '2026-02-12T00:00:00', timestamp '2026-01-01T00:00:00', \
            14)",
        gives: "0.5",
    },
    takes: &[Kind::Number, Kind::Instant, Kind::Instant, Kind::Number],
    gives: Kind::Number,
    call: decay_at,
};

fn forward_decay(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [ts, landmark] = instants(&columns[..2])?;
    let half_life = as_float64_array(&columns[2])?;
    rows(ts.len(), |i| {
        let (true, true, true) = (ts.is_valid(i), landmark.is_valid(i), half_life.is_valid(i))
        else {
            return Ok(None);
        };
        let steps = steps(ts.value(i), landmark.value(i), half_life.value(i))?;
        finite("forward_decay", steps.exp2())
    })
}

fn decay_at(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let (acc, half_life) = (as_float64_array(&columns[0])?, as_float64_array(&columns[3])?);
    let [t, landmark] = instants(&columns[1..3])?;
    rows(acc.len(), |i| {
        let known =
            acc.is_valid(i) && t.is_valid(i) && landmark.is_valid(i) && half_life.is_valid(i);
        if !known {
            return Ok(None);
        }
        let steps = steps(t.value(i), landmark.value(i), half_life.value(i))?;
        finite("decay_at", acc.value(i) * (-steps).exp2())
    })
}

fn instants(columns: &[ArrayRef]) -> Result<[&TimestampMicrosecondArray; 2]> {
    Ok([as_timestamp_microsecond_array(&columns[0])?, as_timestamp_microsecond_array(&columns[1])?])
}

fn rows(n: usize, row: impl Fn(usize) -> Result<Option<f64>>) -> Result<ArrayRef> {
    let values = (0..n).map(row).collect::<Result<Float64Array>>()?;
    Ok(Arc::new(values))
}

/// Half lives from the landmark to an instant.
fn steps(at: i64, landmark: i64, half_life_days: f64) -> Result<f64> {
    if !(half_life_days > 0.0 && half_life_days.is_finite()) {
        return Err(refused(&format!(
            "a half life must be more than 0 days, not {half_life_days}"
        )));
    }
    // Instants of microseconds lie at most 2^64 apart.
    let apart = i128::from(at) - i128::from(landmark);
    Ok(apart as f64 / DAY_MICROS / half_life_days)
}

fn finite(name: &str, value: f64) -> Result<Option<f64>> {
    if value.is_finite() {
        return Ok(Some(value));
    }
    Err(refused(&format!(
        "a result of `{name}` is too large: the landmark is too many half lives away"
    )))
}

fn refused(message: &str) -> DataFusionError {
    pass(ConnectorError::data(message))
}
