//! Commands and receipts over HTTP. The gateway is a process of its own that can reach neither database.

mod batches;
mod dry_runs;
mod processes;
mod queries;
mod traced;

use std::collections::BTreeSet;

use millrace_testkit::free_port;
use millrace_tests::load::customer;
use millrace_tests::stack::http;
use millrace_tests::{Instance, Process, eventually};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{beside_others, instance_with};

const SHOP: &str = "token-of-the-shop-0123456789abcdef";
const WEB: &str = "token-of-the-web-0123456789abcdefg";
const CLIENTS: &str = r#"[
    {name = "shop", token = "token-of-the-shop-0123456789abcdef", contexts = ["customers"]},
    {name = "web", token = "token-of-the-web-0123456789abcdefg", contexts = ["orders"]}]"#;
/// A place where nothing listens.
const NOWHERE: &str = "127.0.0.1:1";

/// A running gateway and its address.
struct Gateway {
    process: Process,
    url: String,
}

impl Gateway {
    /// Alone, without either database.
    async fn start(instance: &Instance, variables: &[(&str, &str)]) -> Self {
        let databases = format!("postgres://millrace@{NOWHERE}/none");
        let own = [("WRITE_DATABASE_URL", databases.as_str()), ("READ_DATABASE_URL", &databases)];
        Self::start_as(instance, &["gateway"], &[&own[..], variables].concat()).await
    }

    /// With the roles of the arguments.
    async fn start_as(instance: &Instance, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_port().expect("a free port"));
        let own = [("MILLRACE_GATEWAY__LISTEN", address.as_str())];
        let process = instance.start_with(arguments, &[&own[..], variables].concat());
        let gateway = Self { process, url: format!("http://{address}/v1") };
        eventually("the gateway serves", async || {
            let answer = http().get(&gateway.url).send().await.map_err(|error| error.to_string())?;
            if answer.status() == 404 { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        gateway
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        http().request(method, format!("{}/{path}", self.url)).bearer_auth(token)
    }

    fn command(&self, token: &str, key: &str, name: &str, data: &Value) -> RequestBuilder {
        let request = self.request(Method::POST, &format!("commands/{name}"), token);
        request.header("Idempotency-Key", key).json(data)
    }

    /// Sends a command of the shop and waits for its outcome.
    async fn awaited(&self, key: &str, name: &str, data: &Value) -> (u16, Value) {
        answer(self.command(SHOP, key, name, data).header("Prefer", "wait=20")).await
    }

    async fn receipt(&self, token: &str, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, &format!("receipts/{path}"), token)).await
    }
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Status and body.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = sent(request).await;
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

fn registration(i: usize) -> Value {
    json!({"customer_id": customer(i), "name": format!("Customer {i}"), "email": "a@example.org"})
}

fn settings(receipts: &str) -> [(&str, &str); 5] {
    [
        ("contexts", r#"["customers"]"#),
        ("gateway.clients", CLIENTS),
        ("gateway.body_max", "2KiB"),
        ("gateway.receipts_listen", receipts),
        ("gateway.receipts_token", "token-between-commands-and-gateway"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_http_is_decided_once_and_its_sender_learns_what_became_of_it() {
    let _turn = beside_others().await;
    let receipts = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let instance = instance_with("gateway", &settings(&receipts)).await;
    let _commands = instance.start_with(&["commands"], &[]);
    let mut gateway = Gateway::start(&instance, &[]).await;
    a_command_is_taken_and_its_receipt_is_completed(&gateway).await;
    who_prefers_to_wait_gets_the_outcome(&gateway).await;
    a_receipt_is_waited_for_until_it_has_an_outcome(&gateway).await;
    a_key_that_comes_often_has_one_effect(&gateway, &instance).await;
    a_key_of_another_command_is_refused(&gateway).await;
    every_wrong_field_is_named(&gateway).await;
    each_client_has_its_own(&gateway).await;
    what_is_too_large_is_refused(&gateway).await;
    dry_runs::what_would_become_of_a_command_is_told_without_effect(&gateway, &instance).await;
    batches::many_commands_come_in_one_request(&gateway, &instance).await;
    batches::a_dry_run_of_a_batch_is_refused(&gateway).await;
    no_token_is_told(&gateway).await;
    requests_are_counted(&gateway).await;
    gateway.process.stops().await;
}

async fn a_command_is_taken_and_its_receipt_is_completed(gateway: &Gateway) {
    let taken = sent(gateway.command(SHOP, "signup/1", "RegisterCustomer", &registration(1))).await;
    assert_eq!(taken.status(), 202);
    let location = taken.headers()["location"].to_str().expect("text").to_owned();
    assert_eq!(location, "/v1/receipts/signup%2F1");
    let receipt = eventually("the command is completed", async || {
        let (status, receipt) = gateway.receipt(SHOP, location.trim_start_matches("/v1/receipts/")).await;
        if receipt["status"] == "completed" { Ok(receipt) } else { Err(format!("{status} {receipt}")) }
    })
    .await;
    assert_eq!((&receipt["id"], &receipt["source"]), (&json!("signup/1"), &json!("shop")));
    assert_eq!(receipt["stream"], format!("customers/{}", customer(1)));
    assert_eq!(receipt["versions"], json!({customer(1): 1}), "{receipt}");
    assert_eq!(gateway.receipt(SHOP, "shop/signup%2F1").await, (200, receipt));
    assert_eq!(gateway.receipt(SHOP, "never-sent").await.0, 404);
}

async fn who_prefers_to_wait_gets_the_outcome(gateway: &Gateway) {
    let (status, receipt) = gateway.awaited("signup-2", "RegisterCustomer", &registration(2)).await;
    assert_eq!((status, &receipt["status"]), (200, &json!("completed")), "{receipt}");
    assert!(receipt["versions"].is_object(), "{receipt}");
    let (status, problem) = gateway.awaited("signup-2-again", "RegisterCustomer", &registration(2)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("customer-exists")), "{problem}");
    assert_eq!(
        (&problem["type"], &problem["receipt"]["status"]),
        (&json!("/problems/rejected"), &json!("rejected"))
    );
}

async fn a_receipt_is_waited_for_until_it_has_an_outcome(gateway: &Gateway) {
    let taken = sent(gateway.command(SHOP, "signup-8", "RegisterCustomer", &registration(8))).await;
    assert_eq!(taken.status(), 202);
    let (status, receipt) = gateway.receipt(SHOP, "signup-8?wait=20").await;
    assert_eq!((status, &receipt["status"]), (200, &json!("completed")), "{receipt}");
    assert_eq!(gateway.receipt(SHOP, "signup-8?wait=20").await, (200, receipt), "at once");
    for (path, wrong) in [("signup-8?wait=soon", "wait"), ("shop/signup-8?weight=1", "weight")] {
        let (status, problem) = gateway.receipt(SHOP, path).await;
        assert_eq!((status, &problem["errors"][0]["path"]), (400, &json!(wrong)), "{problem}");
    }
}

async fn a_key_that_comes_often_has_one_effect(gateway: &Gateway, instance: &Instance) {
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let request = gateway.command(SHOP, "signup-3", "RegisterCustomer", &registration(3));
        requests.spawn(answer(request.header("Prefer", "wait=20")));
    }
    let answers = requests.join_all().await;
    for (status, receipt) in &answers {
        assert_eq!((*status, &receipt["status"]), (200, &json!("completed")), "{receipt}");
    }
    let events = "SELECT count(*) FROM outbox WHERE aggregateid = $1 AND version IS NOT NULL";
    let events: i64 =
        sqlx::query_scalar(events).bind(customer(3)).fetch_one(&instance.write).await.expect("a count");
    assert_eq!(events, 1, "one event of {} requests", answers.len());
}

async fn a_key_of_another_command_is_refused(gateway: &Gateway) {
    let (status, problem) = gateway.awaited("signup-3", "RegisterCustomer", &registration(4)).await;
    let reused = json!("/problems/idempotency-key-reused");
    assert_eq!((status, &problem["type"]), (422, &reused), "{problem}");
}

async fn every_wrong_field_is_named(gateway: &Gateway) {
    let wrong = json!({"customer_id": customer(5), "name": 7, "colour": "red", "email": ["a"]});
    let (status, problem) = answer(gateway.command(SHOP, "wrong", "RegisterCustomer", &wrong)).await;
    assert_eq!(status, 422, "{problem}");
    let errors = problem["errors"].as_array().expect("a list");
    let paths: BTreeSet<&str> = errors.iter().filter_map(|error| error["path"].as_str()).collect();
    assert_eq!(paths, ["colour", "email", "name"].into(), "{problem}");
    assert_eq!(gateway.receipt(SHOP, "wrong").await.0, 404, "it was not sent");
}

async fn each_client_has_its_own(gateway: &Gateway) {
    let of = async |token: &str| {
        answer(gateway.command(token, "theirs", "RegisterCustomer", &registration(6))).await.0
    };
    assert_eq!((of("guessed-token-0123456789abcdefghijk").await, of(WEB).await), (401, 403));
    for path in ["shop/signup-2", "signup-2"] {
        assert_eq!(gateway.receipt(WEB, path).await.0, 404, "{path}");
    }
}

async fn what_is_too_large_is_refused(gateway: &Gateway) {
    let large = json!({"customer_id": customer(7), "name": "x".repeat(4_000)});
    let (status, problem) = answer(gateway.command(SHOP, "large", "RegisterCustomer", &large)).await;
    assert_eq!((status, &problem["type"]), (413, &json!("/problems/body-too-large")));
}

async fn no_token_is_told(gateway: &Gateway) {
    let log = gateway.process.log();
    assert!(log.contains("answered") && log.contains("signup"), "requests are in the log: {log}");
    assert!([SHOP, WEB, "token-between"].iter().all(|token| !log.contains(token)), "no token is: {log}");
}

async fn requests_are_counted(gateway: &Gateway) {
    let labels = [("route", "/v1/commands/{type}"), ("method", "POST"), ("status", "202")];
    gateway.process.reports("millrace_gateway_requests_total", &labels, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_or_receipts_the_gateway_says_when_to_come_again() {
    let _turn = beside_others().await;
    let receipts = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let instance = instance_with("gateway_alone", &settings(&receipts)).await;
    let mut gateway = Gateway::start(&instance, &[("KAFKA_BROKERS", NOWHERE)]).await;
    let refused = sent(gateway.command(SHOP, "1", "RegisterCustomer", &registration(1))).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    batches::a_batch_of_which_nothing_is_taken_may_come_again(&gateway).await;
    let unknown = sent(gateway.request(Method::GET, "receipts/1", SHOP)).await;
    assert_eq!((unknown.status().as_u16(), &unknown.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    gateway.process.stops().await;
}
