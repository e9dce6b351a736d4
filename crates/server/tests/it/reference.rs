//! The documentation of the API says what the routes take and give, and nothing else.

use axum::http::Method;
use serde_json::Value;
use tidemill_server::reference::{Gives, ROUTES, RouteDoc, SHAPES, Shape};
use tidemill_server::{ErrorCode, Permission, api_table};

use crate::support::{Answer, TOKEN, get, live_example, post_with, site};

/// The route's method and a path that exists.
fn parts(route: &RouteDoc) -> (Method, String) {
    let (method, path) = route.route.split_once(' ').expect("a method and a path");
    (method.parse().expect("a method"), live_example(path))
}

async fn ask(route: &RouteDoc, query: &str, body: &str) -> Answer {
    let (site, _) = site();
    let (method, path) = parts(route);
    if method == Method::GET {
        get(&site.router, &format!("{path}{query}")).await
    } else {
        let token = format!("Bearer {TOKEN}");
        post_with(&site.router, &path, body, &[("authorization", &token)]).await
    }
}

/// The names between backticks after `expected`.
fn expected(detail: &str) -> Vec<&str> {
    let names = detail.split_once("expected").map_or("", |(_, names)| names);
    let names = names.split_once(" at line").map_or(names, |(names, _)| names);
    names.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_route_is_documented_once() {
    let table: Vec<String> =
        (api_table().iter()).map(|route| format!("{} {}", route.method, route.path)).collect();
    let documented: Vec<&str> = ROUTES.iter().map(|route| route.route).collect();
    assert_eq!(documented, table);
    let labels: Vec<&str> = Permission::ALL.iter().map(|permission| permission.label()).collect();
    assert!(labels.iter().all(|label| labels.iter().filter(|l| *l == label).count() == 1));
    assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].status() < pair[1].status()));
}

#[tokio::test]
async fn routes_take_what_is_documented() {
    for route in ROUTES {
        let answer = ask(route, "?nonsense=1", "{\"nonsense\": 1}").await;
        let documented: Vec<&str> = route.takes.iter().map(|(name, _)| *name).collect();
        if answer.status == 200 {
            assert!(documented.is_empty(), "{}: its query is not read", route.route);
            continue;
        }
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("unknown field `nonsense`"), "{}: {detail}", route.route);
        assert_eq!(expected(&detail), documented, "{}", route.route);
    }
}

fn check(route: &RouteDoc, names: &[&str], object: &Value) {
    let mut given: Vec<&str> =
        object.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut names = names.to_vec();
    given.sort_unstable();
    names.sort_unstable();
    assert_eq!(given, names, "{}", route.route);
}

fn shape(name: &str) -> Vec<&'static str> {
    Shape::find(name).unwrap_or_else(|| panic!("no shape `{name}`")).names()
}

#[tokio::test]
async fn routes_give_what_is_documented() {
    for route in ROUTES {
        let body = match route.takes.first() {
            Some(("path", _)) => "{\"path\": \"/dags/a.yaml\"}",
            Some(("sql", _)) => "{\"sql\": \"select 1\"}",
            Some(("approved", _)) => "{\"approved\": true}",
            _ => "{}",
        };
        let answer = ask(route, "", body).await;
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", route.route);
        match route.gives {
            Gives::Fields(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                check(route, &names, &answer.json());
            }
            Gives::Shape(name) => {
                check(route, &shape(name), &answer.json());
                for task in answer.json()["tasks"].as_array().into_iter().flatten() {
                    check(route, &shape("Task"), task);
                }
            }
            Gives::Page(name) => {
                check(route, &["items", "next"], &answer.json());
                for item in answer.json()["items"].as_array().expect("a list") {
                    check(route, &shape(name), item);
                }
            }
            Gives::Words(_) => {}
        }
    }
    assert!(SHAPES.iter().all(|shape| shape.of.is_none_or(|of| Shape::find(of).is_some())));
}
