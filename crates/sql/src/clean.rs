//! `clean`: rows that can be worked with, and every other row with the reason why not.
//!
//! * [`config`]: the settings; [`pass`]: one pass over the table; [`lineage`]: where its columns come
//!   from.

pub(crate) mod config;
mod lineage;
mod pass;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_connector::{Beforehand, ConnectorError, Description, Transform, TransformContext};

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

    async fn describe(
        &self,
        config: CleanConfig,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        let Some(input) = before.tables.get(&config.from).map(|schema| plain(schema)) else {
            return Ok(Description::default());
        };
        let errors = pass::errors(&self.engine, &config, &input, before.binds);
        if !errors.is_empty() {
            return Ok(Description { errors, ..Description::default() });
        }
        let lineage = lineage::of(&self.engine, &config, &input, before.binds)?;
        Ok(Description { lineage, ..Description::default() })
    }

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
