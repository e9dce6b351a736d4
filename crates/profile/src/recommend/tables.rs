//! The tables of `recommend`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidemill_connector::{ConnectorError, TransformContext};

use super::config::RecommendConfig;
use super::keys::Ordered;
use super::neighbours::Neighbour;
use super::pairs::Read;
use super::picks::{Pick, Picker};
use crate::cells::{BATCH_ROWS, distinct_names};

/// Users whose picks are held in memory at a time.
const USERS: usize = 4_096;

/// All items with their users, most popular first.
pub(super) fn write_popularity(
    read: &Read,
    config: &RecommendConfig,
    cx: &TransformContext,
) -> Result<(), ConnectorError> {
    let schema = schema(&[
        (&config.item, read.items.values.data_type()),
        ("users", &DataType::Int64),
        ("rank", &DataType::Int64),
    ])?;
    let mut writer = cx.outputs.create("popularity", schema.clone())?;
    let items = read.pairs.popularity();
    for (at, some) in items.chunks(BATCH_ROWS).enumerate() {
        let users = some.iter().map(|item| read.pairs.users.get(*item).len() as i64);
        let ranks = (at * BATCH_ROWS + 1..).map(|rank| rank as i64).take(some.len());
        let columns: Vec<ArrayRef> = vec![
            values(&read.items, some.iter().copied())?,
            Arc::new(users.collect::<Int64Array>()),
            Arc::new(ranks.collect::<Int64Array>()),
        ];
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    writer.finish()
}

/// The neighbours of every item, nearest first.
pub(super) fn write_neighbours(
    read: &Read,
    near: &[Vec<Neighbour>],
    config: &RecommendConfig,
    cx: &TransformContext,
) -> Result<(), ConnectorError> {
    let schema = schema(&[
        (&config.item, read.items.values.data_type()),
        ("neighbour", read.items.values.data_type()),
        ("rank", &DataType::Int64),
        ("similarity", &DataType::Float64),
        ("users_both", &DataType::Int64),
    ])?;
    let mut writer = cx.outputs.create("neighbours", schema.clone())?;
    let rows: Vec<(u32, i64, &Neighbour)> = near
        .iter()
        .enumerate()
        .flat_map(|(item, near)| {
            near.iter().enumerate().map(move |(at, n)| (item as u32, at as i64 + 1, n))
        })
        .collect();
    for some in rows.chunks(BATCH_ROWS) {
        let columns: Vec<ArrayRef> = vec![
            values(&read.items, some.iter().map(|(item, _, _)| *item))?,
            values(&read.items, some.iter().map(|(_, _, near)| near.item))?,
            Arc::new(some.iter().map(|(_, rank, _)| *rank).collect::<Int64Array>()),
            Arc::new(some.iter().map(|(_, _, near)| near.similarity).collect::<Float64Array>()),
            Arc::new(
                some.iter().map(|(_, _, near)| i64::from(near.users_both)).collect::<Int64Array>(),
            ),
        ];
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    writer.finish()
}

/// What every user is offered.
pub(super) fn write_picks(
    read: &Read,
    near: &[Vec<Neighbour>],
    config: &RecommendConfig,
    cx: &TransformContext,
) -> Result<(), ConnectorError> {
    let schema = schema(&[
        (&config.user, read.users.values.data_type()),
        ("rank", &DataType::Int64),
        (&config.item, read.items.values.data_type()),
        ("score", &DataType::Float64),
        ("source", &DataType::Utf8),
    ])?;
    let mut writer = cx.outputs.create("", schema.clone())?;
    let picker = Picker::new(&read.pairs, near, config);
    for users in read.targets.chunks(USERS) {
        let picks = picker.pick(users);
        let rows: Vec<(u32, i64, Pick)> = users
            .iter()
            .zip(&picks)
            .flat_map(|(user, picks)| {
                picks.iter().enumerate().map(move |(at, pick)| (*user, at as i64 + 1, *pick))
            })
            .collect();
        for some in rows.chunks(BATCH_ROWS) {
            let source = |pick: &Pick| if pick.score.is_some() { "item_item" } else { "popular" };
            let columns: Vec<ArrayRef> = vec![
                values(&read.users, some.iter().map(|(user, _, _)| *user))?,
                Arc::new(some.iter().map(|(_, rank, _)| *rank).collect::<Int64Array>()),
                values(&read.items, some.iter().map(|(_, _, pick)| pick.item))?,
                Arc::new(some.iter().map(|(_, _, pick)| pick.score).collect::<Float64Array>()),
                Arc::new(
                    some.iter().map(|(_, _, pick)| Some(source(pick))).collect::<StringArray>(),
                ),
            ];
            writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
        }
    }
    writer.finish()
}

fn schema(columns: &[(&str, &DataType)]) -> Result<SchemaRef, ConnectorError> {
    distinct_names(
        columns.iter().map(|(name, _)| *name),
        "give the column of the input another name first",
    )?;
    let fields =
        columns.iter().map(|(name, data_type)| Field::new(*name, (*data_type).clone(), true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn values(of: &Ordered, at: impl Iterator<Item = u32>) -> Result<ArrayRef, ConnectorError> {
    Ok(take(&of.values, &at.collect::<UInt32Array>(), None)?)
}
