//! Questions to people over the API and on pages.

use serde_json::json;

use crate::support::{get, post, site as usual};

const ANSWER: &str = "/api/v1/runs/release.1/tasks/send/answer";

#[tokio::test]
async fn what_waits_for_a_person_is_listed_and_answered() {
    let (site, fake) = usual();
    let asked = get(&site.router, "/api/v1/questions").await.json();
    assert_eq!(asked["items"].as_array().map(Vec::len), Some(1));
    let question = &asked["items"][0];
    assert_eq!((&question["run"], &question["task"]), (&json!("release.1"), &json!("send")));
    assert_eq!(question["message"], "Send mails in run 1?");
    assert_eq!(question["params"]["limit"]["default"], 100);
    let body = r#"{"approved": true, "values": {"limit": 7}, "note": " "}"#;
    assert_eq!(post(&site.router, ANSWER, body).await.status, 200);
    let body = r#"{"approved": false, "note": "wrong day"}"#;
    assert_eq!(post(&site.router, ANSWER, body).await.json()["approved"], false);
    let orders = fake.orders();
    assert!(orders[0].starts_with("answer release.1 true {\"limit\":7} None"), "{orders:?}");
    assert!(orders[1].contains("false {} Some(\"wrong day\")"), "{orders:?}");
}

#[tokio::test]
async fn what_does_not_ask_is_a_conflict() {
    let (site, _) = usual();
    let path = "/api/v1/runs/orders_daily.21/tasks/report/answer";
    assert_eq!(post(&site.router, path, r#"{"approved": true}"#).await.status, 409);
    let path = "/api/v1/runs/orders_daily.21/tasks/nothing/answer";
    assert_eq!(post(&site.router, path, r#"{"approved": true}"#).await.status, 404);
    assert_eq!(post(&site.router, ANSWER, "{}").await.status, 400);
}

#[tokio::test]
async fn the_page_of_a_task_that_asks_has_a_form() {
    let (site, _) = usual();
    let page = get(&site.router, "/runs/release.1/tasks/send").await.text();
    for text in ["Send mails in run 1?", "name=\"limit\"", "mails at most", "value=\"yes\""] {
        assert!(page.contains(text), "{text}");
    }
    let other = get(&site.router, "/runs/orders_daily.21/tasks/report").await.text();
    assert!(!other.contains("data-answer"));
}

#[tokio::test]
async fn home_shows_what_waits_for_an_answer() {
    let (site, _) = usual();
    let page = get(&site.router, "/").await.text();
    assert!(page.contains("Send mails in run 1?") && page.contains("/runs/release.1/tasks/send"));
    assert!(page.contains("</b> question to answer"));
    assert!(!page.contains("Nothing needs attention"));
}
