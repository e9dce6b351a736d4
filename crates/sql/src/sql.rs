//! `sql`: tables from tables, by queries.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use tidemill_connector::{Beforehand, ConnectorError, Description, Transform, TransformContext};
use tidemill_model::Counts;

use crate::engine::{Described, Engine};

/// Queries of a task.
const QUERIES_MAX: usize = 100;

/// Settings of a `sql` transform: a query, or several by the names of the tables they make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlConfig {
    /// A query; its rows are the table named like the task.
    One(String),
    /// Queries by name; the rows of the query `tx` are the table `TASK.tx`.
    Several(IndexMap<String, String>),
}

impl<'de> Deserialize<'de> for SqlConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = SqlConfig;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a query, or queries by the names of their tables")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SqlConfig, E> {
                Ok(SqlConfig::One(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SqlConfig, A::Error> {
                let mut queries = IndexMap::new();
                while let Some((name, sql)) = map.next_entry::<String, String>()? {
                    queries.insert(name, sql);
                }
                if queries.is_empty() || queries.len() > QUERIES_MAX {
                    return Err(de::Error::invalid_length(queries.len(), &"1 to 100 queries"));
                }
                Ok(SqlConfig::Several(queries))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for SqlConfig {
    fn schema_name() -> Cow<'static, str> {
        "SqlConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A query over tables of the DAG, whose rows are the table named like \
                the task; or several queries by name, whose rows are the tables `TASK.NAME`.",
            "anyOf": [
                {"type": "string", "format": "sql"},
                {
                    "type": "object",
                    "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
                    "additionalProperties": {"type": "string", "format": "sql"},
                    "minProperties": 1,
                    "maxProperties": QUERIES_MAX,
                },
            ],
            "x-outputs": "keys",
        })
    }
}

/// The transform.
#[derive(Debug, Clone)]
pub struct Sql {
    engine: Arc<Engine>,
}

impl Sql {
    /// The transform on an engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Runs a query into one of the task's tables; gives its rows and the tables it read.
    async fn fill(
        &self,
        output: &str,
        sql: &str,
        cx: &TransformContext,
    ) -> Result<(u64, Vec<String>), ConnectorError> {
        let mut rows = self.engine.query(sql, &cx.tables, &cx.binds).await?;
        let mut writer = cx.outputs.create(output, rows.schema())?;
        let mut written = 0;
        while let Some(batch) = rows.next().await? {
            written += batch.num_rows() as u64;
            writer.write(&batch)?;
        }
        writer.finish()?;
        Ok((written, rows.reads().to_vec()))
    }
}

#[async_trait]
impl Transform for Sql {
    type Config = SqlConfig;

    const NAME: &'static str = "sql";
    const SUMMARY: &'static str = "Tables from tables, by SQL queries.";
    const EXAMPLE: &'static str = "\
        select customer_id, count(distinct order_id) as frequency, sum(amount) as monetary \
        from orders where region = $region group by customer_id";

    async fn describe(
        &self,
        config: SqlConfig,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        let queries = match config {
            SqlConfig::One(sql) => IndexMap::from([(String::new(), sql)]),
            SqlConfig::Several(queries) => queries,
        };
        let mut description = Description::default();
        for (name, sql) in queries {
            let within = |error: ConnectorError| match name.as_str() {
                "" => error,
                name => error.within(&format!("query `{name}`")).blame(&[name]),
            };
            match self.engine.describe(&sql, before.tables, before.binds).await {
                Ok(Described { schema, lineage, notes }) => {
                    description.notes.extend(notes.into_iter().map(within));
                    description.lineage.insert(name.clone(), lineage);
                    description.tables.insert(name, schema);
                }
                Err(error) => description.errors.push(within(error)),
            }
        }
        Ok(description)
    }

    async fn run(&self, config: SqlConfig, cx: TransformContext) -> Result<(), ConnectorError> {
        let mut counts = Counts::default();
        let mut read = BTreeSet::new();
        match config {
            SqlConfig::One(sql) => {
                let (rows, tables) = self.fill("", &sql, &cx).await?;
                counts.rows_out = rows;
                read.extend(tables);
            }
            SqlConfig::Several(queries) => {
                for (name, sql) in queries {
                    let (rows, tables) = self
                        .fill(&name, &sql, &cx)
                        .await
                        .map_err(|e| e.within(&format!("query `{name}`")).blame(&[&name]))?;
                    counts.rows_out += rows;
                    read.extend(tables);
                }
            }
        }
        counts.rows_in = read.iter().filter_map(|name| cx.tables.get(name)).map(|t| t.rows()).sum();
        cx.outputs.report(counts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidemill_connector::config::{parse, schema_of};

    use super::*;

    fn check(config: serde_json::Value, expected: Result<SqlConfig, &str>) {
        let read = parse::<SqlConfig>("transform", "sql", config).map_err(|e| e.to_string());
        assert_eq!(read, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_query_or_several_by_name() {
        const WRONG: &str = "the settings of transform `sql` are wrong: ";
        check(json!("select 1"), Ok(SqlConfig::One("select 1".to_owned())));
        let several = [("b", "select 1"), ("a", "select 2")];
        let several = several.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect();
        check(json!({"b": "select 1", "a": "select 2"}), Ok(SqlConfig::Several(several)));
        check(
            json!(7),
            Err(&format!(
                "{WRONG}invalid type: integer `7`, expected a query, or queries by the names of \
                 their tables"
            )),
        );
        check(json!({}), Err(&format!("{WRONG}invalid length 0, expected 1 to 100 queries")));
        check(
            json!({"a": 1}),
            Err("setting `a` of transform `sql` is wrong: invalid type: integer `1`, expected a \
                 string"),
        );
    }

    #[test]
    fn the_schema_names_sql_and_outputs() {
        let schema = schema_of::<SqlConfig>();
        assert_eq!(schema["x-outputs"], "keys");
        assert_eq!(schema["anyOf"][0]["format"], "sql");
        assert_eq!(schema["anyOf"][1]["additionalProperties"]["format"], "sql");
        let example = json!(<Sql as Transform>::EXAMPLE);
        check(example.clone(), Ok(SqlConfig::One(example.as_str().unwrap_or_default().to_owned())));
    }
}
