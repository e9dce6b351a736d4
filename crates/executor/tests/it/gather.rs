//! The tables of a mapped task's items, put together.

use serde_json::{Value, json};
use tidemill_model::effect::Gather;
use tidemill_model::{Action, Counts, FailureKind, TableRef};

use crate::house::{House, failure};
use crate::orders::{Job, template};

/// The table that an ingest of this CSV makes.
async fn item(house: &House, csv: &str, columns: &Value) -> TableRef {
    house.put("item.csv", csv);
    let config = template(&json!({"path": "item.csv", "columns": columns}));
    let job = Job::of(Action::Ingest { connector: "csv".to_owned(), config });
    house.done(job).await.1.tables.remove(0)
}

fn gather(tables: Vec<(u32, Vec<TableRef>)>) -> Job {
    let counts = Counts { rows_in: 9, rows_out: 7, ..Counts::default() };
    let warnings = vec!["one of them was slow".to_owned()];
    let gather = Gather { items: tables, counts, warnings };
    Job { gather: Some(gather), ..Job::of(Action::Noop) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_joined_in_the_order_of_the_items() {
    let house = House::new();
    let narrow =
        item(&house, "id,amount\n1,10\n2,20\n", &json!({"id": "int64", "amount": "int64"})).await;
    let wide = item(
        &house,
        "id,amount,note\n3,1.5,x\n",
        &json!({"id": "int64", "amount": "float64", "note": "string"}),
    )
    .await;
    let rejects = TableRef { name: "work.rejects".to_owned(), ..narrow.clone() };
    let job = gather(vec![(0, vec![narrow.clone()]), (4, vec![wide, rejects]), (7, vec![narrow])]);
    let (id, result) = house.done(job).await;
    let rows = house.rows(&result.tables[0]);
    let expected = [
        "1 | 10.0 |  | 0",
        "2 | 20.0 |  | 0",
        "3 | 1.5 | x | 4",
        "1 | 10.0 |  | 7",
        "2 | 20.0 |  | 7",
    ];
    assert_eq!(rows, expected);
    assert_eq!(house.rows(&result.tables[1]), ["1 | 10 | 4", "2 | 20 | 4"]);
    let names: Vec<&str> = result.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["work", "work.rejects"]);
    assert_eq!((result.counts.rows_out, result.warnings.len()), (7, 1));
    assert!(house.log(&id).contains("puts together 3 items"), "{}", house.log(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_do_not_go_together_say_which_column_and_which_items() {
    let house = House::new();
    let number = item(&house, "id\n1\n", &json!({"id": "int64"})).await;
    let text = item(&house, "id\nx\n", &json!({"id": "string"})).await;
    let job = gather(vec![(2, vec![number.clone()]), (5, vec![text])]);
    let (kind, message) = failure(house.run(job).await.1);
    assert_eq!(kind, FailureKind::Misconfigured);
    assert!(message.starts_with("column `id` is"), "{message}");
    assert!(message.contains("for item 2 and") && message.contains("for item 5"), "{message}");
    let taken = item(&house, "_item\n1\n", &json!({"_item": "int64"})).await;
    let (_, message) = failure(house.run(gather(vec![(3, vec![taken])])).await.1);
    assert!(message.contains("the table of item 3 has a column `_item`"), "{message}");
    let gone = TableRef { hash: "00".repeat(16), ..number };
    let (kind, message) = failure(house.run(gather(vec![(0, vec![gone])])).await.1);
    assert_eq!(kind, FailureKind::Internal);
    assert!(message.contains("is not there any more"), "{message}");
}
