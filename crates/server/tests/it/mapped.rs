//! Mapped tasks over the API and on pages.

use crate::support::{get, site as usual};

#[tokio::test]
async fn items_are_listed_and_filtered() {
    let (site, _) = usual();
    let run = get(&site.router, "/api/v1/runs/regions.1").await.json();
    assert_eq!(run["state"], "succeeded");
    let group = &run["tasks"][0];
    assert_eq!(group["items"]["total"], 4);
    assert_eq!(group["items"]["by_state"]["failed"], 1);
    let warning = group["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("1 of 4 items failed, which is tolerated; `regions[2]`: "),
        "{warning}"
    );
    assert_eq!(run["tasks"][1]["group"], "regions");
    let items = |query: &str| format!("/api/v1/runs/regions.1/tasks/regions/items{query}");
    let numbers = |page: &serde_json::Value| -> Vec<u64> {
        let items = page["items"].as_array().expect("a list").iter();
        items.filter_map(|item| item["item"].as_u64()).collect()
    };
    let first = get(&site.router, &items("?limit=3")).await.json();
    assert_eq!(numbers(&first), [0, 1, 2]);
    let next = first["next"].as_str().expect("a next page");
    let rest = get(&site.router, &items(&format!("?limit=3&after={next}"))).await.json();
    assert_eq!((numbers(&rest), &rest["next"]), (vec![3], &serde_json::Value::Null));
    let failed = get(&site.router, &items("?state=failed")).await.json();
    assert_eq!(numbers(&failed), [2]);
    assert_eq!(failed["items"][0]["members"][0]["name"], "regions[2].fetch");
    assert_eq!(failed["items"][0]["members"][0]["error"]["message"], "no answer from apac");
    assert_eq!(failed["items"][0]["members"][1]["state"], "upstream_failed");
}

#[tokio::test]
async fn what_has_no_items_says_so() {
    let (site, _) = usual();
    for (path, status, text) in [
        ("tasks/total/items", 404, "is not mapped"),
        ("tasks/regions.sum/items", 404, "is not mapped"),
        ("tasks/nothing/items", 404, "has no task"),
        ("tasks/regions/items?state=broken", 400, "is no state of a task"),
        ("tasks/regions[4]/logs", 404, "has no task"),
        ("tasks/regions[1].nothing/logs", 404, "has no task"),
        ("tasks/regions[01]/logs", 404, "has no task"),
        ("tasks/total[0]/logs", 404, "has no task"),
        ("tables/regions[9].sum", 404, "has no table"),
    ] {
        let answer = get(&site.router, &format!("/api/v1/runs/regions.1/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(text), "{path}: {detail}");
    }
}

#[tokio::test]
async fn items_have_pages_logs_and_tables_of_their_own() {
    let (site, _) = usual();
    let page = get(&site.router, "/runs/regions.1/tasks/regions").await.text();
    for text in ["regions[2]", "1 failed", "state=failed#items", "Members"] {
        assert!(page.contains(text), "{text}");
    }
    let failed = get(&site.router, "/runs/regions.1/tasks/regions?state=failed").await.text();
    assert!(failed.contains("regions[2]") && !failed.contains("regions[1]"));
    let item = get(&site.router, "/runs/regions.1/tasks/regions[2]").await.text();
    assert!(item.contains("regions[2].fetch") && item.contains("no answer from apac"));
    let member = get(&site.router, "/runs/regions.1/tasks/regions[1].sum").await.text();
    assert!(member.contains("Part of") && member.contains("/runs/regions.1/tables/regions[1].sum"));
    let table = get(&site.router, "/api/v1/runs/regions.1/tables/regions[1].sum").await.json();
    assert_eq!((&table["task"], &table["total_rows"]), (&"regions[1].sum".into(), &3.into()));
    let log = get(&site.router, "/api/v1/runs/regions.1/tasks/regions[2].fetch/logs").await.json();
    assert_eq!((&log["attempt"], &log["task"]), (&1.into(), &"regions[2].fetch".into()));
}
