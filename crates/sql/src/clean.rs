//! `clean`: rows that can be worked with, and every other row with the reason why not.
//!
//! * [`config`]: the settings; [`pass`]: one pass over the table.

pub(crate) mod config;
mod pass;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::Value;
use tidemill_connector::{ConnectorError, Transform, TransformContext};

pub use config::{CleanConfig, Dedupe, RejectRule};

use crate::engine::Engine;
use crate::types::plain;

/// The transform.
#[derive(Debug, Clone)]
pub struct Clean {
    engine: Arc<Engine>,
}

impl Clean {
    /// The transform on an engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

/// The columns of the rows that pass, without running anything.
pub fn output_schema(
    engine: &Engine,
    config: &CleanConfig,
    input: &SchemaRef,
    binds: &BTreeMap<String, Value>,
) -> Result<SchemaRef, ConnectorError> {
    let input = plain(input);
    let columns = pass::projection(engine, config, &input, binds)?;
    Ok(columns.map_or(input, |(schema, _)| schema))
}

#[async_trait]
impl Transform for Clean {
    type Config = CleanConfig;

    const NAME: &'static str = "clean";
    const SUMMARY: &'static str = "Drops repeated rows, sets bad ones aside with the reason, and \
        computes the columns of the others.";
    const EXAMPLE: &'static str = "{from: raw_orders, dedupe: all, \
        reject: [{reason: no_customer, where: customer_id is null}, \
        {reason: bad_price, where: price <= 0}], \
        columns: {customer_id: customer_id, item: upper(trim(sku)), amount: quantity * price}}";

    async fn run(&self, config: CleanConfig, cx: TransformContext) -> Result<(), ConnectorError> {
        let table = cx.table(&config.from)?;
        let mut pass = pass::Pass::new(&self.engine, &config, &table.schema(), &cx)?;
        for batch in table.scan()? {
            pass.take(&batch?)?;
        }
        let counts = pass.finish()?;
        cx.outputs.report(counts);
        Ok(())
    }
}
