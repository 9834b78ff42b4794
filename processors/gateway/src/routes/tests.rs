//! Refusals that need neither Kafka nor the role `commands`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use millrace_ops::config::{Client, Config, Gateway as Settings, Subject};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::router;
use crate::gateway::Gateway;
use crate::queries::table::ROUTES;

const TOKEN: &str = "a-token-of-a-shop-that-is-long-enough";

fn gateway(requests_per_second: u32) -> Router {
    serving(Vec::new(), Settings { requests_per_second, ..Settings::default() })
}

/// A gateway whose client may query these, at a database that is not there.
fn querying(queries: Vec<Subject>) -> Router {
    let reader_url = Some("postgres://reader@127.0.0.1:1/read".parse().unwrap());
    serving(queries, Settings { reader_url, requests_per_second: 1_000, ..Settings::default() })
}

fn serving(queries: Vec<Subject>, settings: Settings) -> Router {
    let shop = Client {
        name: "shop".to_owned(),
        token: Some(TOKEN.into()),
        token_file: None,
        contexts: vec!["customers".to_owned()],
        queries,
    };
    let gateway = Settings {
        clients: vec![shop],
        body_max: bytesize::ByteSize::b(1_000),
        receipts_listen: Some(([127, 0, 0, 1], 1).into()),
        receipts_token: Some(TOKEN.into()),
        ..settings
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
    problem_of(answer(request).await).await
}

async fn problem_of(answer: Response<Body>) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!(body["status"], status);
    (status, body["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
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
async fn a_batch_has_no_parameters_and_a_key_that_is_not_empty() {
    let batch = |query: &str, key: &str| {
        let mut request = command("", Some(("content-type", "application/x-ndjson")), "{}");
        *request.uri_mut() = format!("/v1/commands{query}").parse().unwrap();
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request
    };
    assert_eq!(problem(batch("?dry_run=true", "1")).await, (400, "parameters-invalid".to_owned()));
    assert_eq!(problem(batch("", "")).await, (400, "idempotency-key-invalid".to_owned()));
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

/// `GET` of the shop, with `some` for what a path names.
fn query(path: &str, parameters: &str) -> Request<Body> {
    let steps: Vec<&str> =
        path.split('/').map(|step| if step.starts_with('{') { "some" } else { step }).collect();
    let request = Request::get(format!("{}{parameters}", steps.join("/")));
    request.header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_query_needs_a_right_of_its_own() {
    for route in ROUTES {
        let others = Subject::ALL.into_iter().filter(|subject| *subject != route.subject).collect();
        let gateway = querying(others);
        let answer = gateway.oneshot(query(route.path, "")).await.unwrap();
        assert_eq!(problem_of(answer).await, (403, "forbidden".to_owned()), "{}", route.path);
    }
}

#[tokio::test]
async fn no_query_takes_a_parameter_that_it_does_not_know() {
    let gateway = querying(Subject::ALL.to_vec());
    for route in ROUTES {
        let answer = gateway.clone().oneshot(query(route.path, "?colour=red")).await.unwrap();
        assert_eq!(problem_of(answer).await, (400, "parameters-invalid".to_owned()), "{}", route.path);
    }
}

#[tokio::test]
async fn a_gateway_that_is_no_reader_answers_no_query() {
    let gateway =
        serving(Subject::ALL.to_vec(), Settings { requests_per_second: 1_000, ..Settings::default() });
    for route in ROUTES {
        let answer = gateway.clone().oneshot(query(route.path, "")).await.unwrap();
        assert_eq!(problem_of(answer).await, (404, "path-unknown".to_owned()), "{}", route.path);
    }
}

#[tokio::test]
async fn the_document_needs_a_token_and_is_compressed_for_who_can_read_that() {
    let ask = |token: &str| {
        let request = Request::get("/v1/openapi.json").header("authorization", format!("Bearer {token}"));
        answer(request.header("accept-encoding", "gzip").body(Body::empty()).unwrap())
    };
    assert_eq!(ask("guess").await.status(), 401);
    let document = ask(TOKEN).await;
    assert_eq!(
        (document.status().as_u16(), &document.headers()["content-encoding"]),
        (200, &"gzip".parse().unwrap())
    );
}

#[tokio::test]
async fn a_read_side_that_does_not_answer_holds_no_more_queries_than_there_are_places() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = format!("postgres://reader@{}/read", silent.local_addr().unwrap());
    let query_timeout = Duration::from_millis(500);
    let reader_url = Some(reader.parse().unwrap());
    let settings = Settings { reader_url, query_timeout, queries_max: 1, ..Settings::default() };
    let gateway = serving(Subject::ALL.to_vec(), settings);
    let product = || gateway.clone().oneshot(query("/v1/products/{product_id}", ""));
    let first = tokio::spawn(product());
    let _held = silent.accept().await.unwrap();
    let full = problem_of(product().await.unwrap()).await;
    assert_eq!(full, (503, "too-many-requests-in-flight".to_owned()));
    let given_up = problem_of(first.await.unwrap().unwrap()).await;
    assert_eq!(given_up, (503, "queries-unavailable".to_owned()));
    assert_ne!(problem_of(product().await.unwrap()).await, full, "the place is free again");
}

#[tokio::test]
async fn pages_need_no_token_ask_no_other_host_and_run_their_own_scripts_alone() {
    let page = async |path: &str| {
        let page = answer(Request::get(path).body(Body::empty()).unwrap()).await;
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let status = page.status().as_u16();
        let body = to_bytes(page.into_body(), 10_000_000).await.unwrap();
        (status, policy, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, policy, body) = page("/docs?of=%3Cscript%3E").await;
    assert!(status == 200 && policy.contains("script-src 'self';"), "{policy}");
    assert!(!body.contains("http") && !body.contains("of="), "{body}");
    for file in body.split('"').filter(|text| text.starts_with("docs/")) {
        assert_eq!(page(&format!("/{file}")).await.0, 200, "{file}");
    }
    let (status, policy, body) = page("/problems/fields-invalid").await;
    assert!(status == 200 && policy.contains("default-src 'none'"), "{policy}");
    assert!(body.contains("What to do"), "{body}");
    for other in ["/problems/unknown", "/docs/swagger-ui-bundle.js.map", "/docs/oauth2-redirect.html"] {
        assert_eq!(page(other).await.0, 404, "{other}");
    }
}

#[tokio::test]
async fn files_of_pages_are_not_compressed_and_those_that_wait_to_be_read_are_few() {
    let gateway = gateway(100);
    let file = || {
        let request = Request::get("/docs/swagger-ui-bundle.js").header("accept-encoding", "gzip");
        gateway.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(file().await.unwrap());
    }
    assert!(held.iter().all(|file| file.status() == 200 && !file.headers().contains_key("content-encoding")));
    let refused = file().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem_of(refused).await, (503, "too-many-requests-in-flight".to_owned()));
    drop(held);
    assert_eq!(file().await.unwrap().status(), 200);
}
