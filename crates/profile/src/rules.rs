//! `rules`: a versioned scorecard over one table, with bands and segments.
//!
//! * [`config`]: the settings; `card`: points, bands and their explanation, as a pure function;
//! * `pass`: one pass over a table; `lineage`: where its columns come from.

mod card;
mod config;
mod lineage;
mod pass;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_connector::config::Findings;
use tidemill_connector::{Beforehand, ConnectorError, Description, Transform, TransformContext};
use tidemill_sql::Engine;

pub use config::{Band, ResultNames, RulesConfig, Segment, Term};

/// The transform.
#[derive(Debug, Clone)]
pub struct Rules {
    engine: Arc<Engine>,
}

impl Rules {
    /// The transform on an engine, which evaluates the expressions.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Transform for Rules {
    type Config = RulesConfig;

    const NAME: &'static str = "rules";
    const SUMMARY: &'static str = "Scores every row of a table with a versioned scorecard that \
        explains itself, and puts it into a band and a segment.";
    const EXAMPLE: &'static str = "\
from: features
id: customer_id
version: 2026-11
scale: 100
score:
  - {name: value, value: (r + f + m - 3) / 12.0, points: 0.5, explain: Bought lately and often}
  - {name: subscribed, where: newsletter, points: 0.5, explain: Reads the newsletter}
bands: [{name: hot, min: 70}, {name: warm, min: 40}, {name: cold}]
segments:
  - {name: champion, where: r >= 4 and f >= 4 and m >= 4}
  - {name: regular}
keep: [customer_id]
";

    fn check(config: &RulesConfig, found: &mut Findings) {
        config.check(found);
    }

    async fn describe(
        &self,
        config: RulesConfig,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        let Some(input) = before.tables.get(&config.from) else {
            return Ok(Description::default());
        };
        let lineage = lineage::of(&self.engine, &config, input, before.binds)?;
        Ok(Description { lineage: [(String::new(), lineage)].into(), ..Description::default() })
    }

    async fn run(&self, config: RulesConfig, cx: TransformContext) -> Result<(), ConnectorError> {
        let table = cx.table(&config.from)?;
        let mut pass = pass::Pass::new(&self.engine, &config, &table.schema(), &cx)?;
        for batch in table.scan()? {
            pass.take(&batch?)?;
        }
        pass.finish()
    }
}
