//! Refusals that need neither Kafka nor the role `commands`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use millrace_ops::config::{Client, Config, Gateway as Settings};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::router;
use crate::gateway::Gateway;

const TOKEN: &str = "a-token-of-a-shop-that-is-long-enough";

fn gateway(requests_per_second: u32) -> Router {
    let shop = Client {
        name: "shop".to_owned(),
        token: Some(TOKEN.into()),
        token_file: None,
        contexts: vec!["customers".to_owned()],
    };
    let gateway = Settings {
        clients: vec![shop],
        body_max: bytesize::ByteSize::b(1_000),
        requests_per_second,
        receipts_listen: Some(([127, 0, 0, 1], 1).into()),
        receipts_token: Some(TOKEN.into()),
        ..Settings::default()
    };
    let config = Config { gateway, ..Config::default() };
    let gateway: Arc<Gateway> = Gateway::new(&config, CancellationToken::new()).unwrap();
    router(&gateway)
}

/// A command of the shop, with one header left out or replaced.
fn command(path: &str, other: Option<(&str, &str)>, body: &str) -> Request<Body> {
    let authorization = format!("Bearer {TOKEN}");
    let usual = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "1"),
    ];
    let mut request = Request::post(format!("/v1/commands/{path}"));
    for (name, value) in usual {
        let value = other.filter(|(other, _)| *other == name).map_or(value, |(_, value)| value);
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn answer(request: Request<Body>) -> Response<Body> {
    gateway(100).oneshot(request).await.unwrap()
}

/// Status and type of a problem.
async fn problem(request: Request<Body>) -> (u16, String) {
    let answer = answer(request).await;
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!(body["status"], status);
    (status, body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_request_is_refused_with_its_own_problem() {
    let cases = [
        (command("RegisterCustomer", Some(("authorization", "")), "{}"), 401, "unauthenticated"),
        (command("RegisterCustomer", Some(("authorization", "Bearer guess")), "{}"), 401, "unauthenticated"),
        (command("PlaceOrder", None, "{}"), 403, "forbidden"),
        (command("RegisterCustmer", None, "{}"), 404, "command-unknown"),
        (command("CustomerRegistered", None, "{}"), 404, "command-unknown"),
        (command("RegisterCustomer", Some(("idempotency-key", "")), "{}"), 400, "idempotency-key-invalid"),
        (command("RegisterCustomer", Some(("content-type", "text/plain")), "{}"), 415, "media-type"),
        (command("RegisterCustomer", None, "{"), 400, "body-unreadable"),
        (command("RegisterCustomer", None, &" ".repeat(1_001)), 413, "body-too-large"),
    ];
    for (request, status, name) in cases {
        let path = request.uri().to_string();
        assert_eq!(problem(request).await, (status, name.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_path_or_a_method_that_there_is_not_is_a_problem_like_any_other() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let ours =
        Request::get("/v1/commands/RegisterCustomer").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(problem(get("/v2")).await, (404, "path-unknown".to_owned()));
    let ours = ours.body(Body::empty()).unwrap();
    assert_eq!(problem(ours).await, (405, "method-not-allowed".to_owned()));
    assert_eq!(problem(get("/v1/receipts/1")).await, (401, "unauthenticated".to_owned()));
}

#[tokio::test]
async fn another_clients_receipt_is_unknown_without_a_look() {
    let request = Request::get("/v1/receipts/web/1").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(problem(request.body(Body::empty()).unwrap()).await, (404, "receipt-unknown".to_owned()));
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_kept_by_no_cache() {
    let mut request = command("PlaceOrder", None, "{}");
    request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = answer(request).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("x-request-id"), header("cache-control")), ("mine".to_owned(), "no-store".to_owned()));
    assert_eq!(header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_come_again() {
    let gateway = gateway(2);
    let mut last = None;
    for _ in 0..4 {
        last = Some(gateway.clone().oneshot(command("PlaceOrder", None, "{}")).await.unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(last.headers()["retry-after"], "1");
}
