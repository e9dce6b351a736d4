//! `dataset`: tables of earlier runs.

use std::sync::Arc;

use serde_json::json;
use tidemill_connector::connector::AnyConnector;
use tidemill_connector::{ConnectorError, MemoryTable, SourceContext};
use tidemill_connectors::dataset::{Dataset, Datasets, Latest};
use tidemill_model::{DagId, RunId, TableRef};

use crate::support::source_context;

/// DAG `crm` made `customers` in its last run, `shop` never succeeded, and there is no other.
struct Past;

impl Datasets for Past {
    fn latest(&self, dag: &DagId, table: &str) -> Result<Latest, ConnectorError> {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Ok(match (dag.as_str(), table) {
            ("crm", "customers" | "customers.rejects") => Latest::Made {
                run: RunId { dag: dag.clone(), number: 7 },
                reference: TableRef {
                    name: table.to_owned(),
                    hash: "ab12".to_owned(),
                    rows: 0,
                    bytes: 3,
                    schema: String::new(),
                },
                table: Arc::new(MemoryTable::new(
                    arrow::datatypes::Schema::empty().into(),
                    Vec::new(),
                )),
            },
            ("crm", _) => Latest::NoTable(names(&["customers", "consent"])),
            ("shop", _) => Latest::NoRun,
            _ => Latest::NoDag(names(&["crm", "shop"])),
        })
    }
}

async fn check(name: &str, expected: &str) {
    let dataset = Dataset::new(Arc::new(Past));
    let cx: SourceContext = source_context(std::path::Path::new("."), None);
    let told = match dataset.open_source(json!({"name": name}), cx).await {
        Ok(source) => format!("{:?}", source.stored().map(|table| (table.name, table.hash))),
        Err(error) => error.to_string(),
    };
    assert!(told.contains(expected), "{name}: {told}");
}

#[tokio::test]
async fn a_dataset_is_a_table_of_a_dag() {
    check("crm.customers", r#"("customers", "ab12")"#).await;
    check("crm.customers.rejects", r#"("customers.rejects", "ab12")"#).await;
    check("crm.customer", "made no table `customer`; did you mean `customers`?").await;
    check("crm.orders", "made no table `orders`; the last one made: customers, consent").await;
    check("shop.orders", "no run of DAG `shop` has succeeded yet").await;
    check("shop.orders", "`tidemill trigger shop`").await;
    check("crn.orders", "there is no DAG `crn`; did you mean `crm`?").await;
    check("crm", "`crm` names no table of a DAG; write the DAG and its table").await;
    check("crm.", "names no table of a DAG").await;
    check("CRM.orders", "names no DAG").await;
}

/// What is made from a dataset stays as long as the dataset does.
#[test]
fn the_state_of_a_dataset_is_its_content() {
    let dataset = Dataset::new(Arc::new(Past));
    let cx = source_context(std::path::Path::new("."), None);
    let state = dataset.state_of_source(json!({"name": "crm.customers"}), &cx);
    assert_eq!(state.expect("a table").as_deref(), Some("ab12"));
}
