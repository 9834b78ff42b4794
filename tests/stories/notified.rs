//! Operators without Prometheus are told of errors, once, and of their end; a receiver that is away or slow holds nothing up.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::stack::connect;
use millrace_tests::{Instance, becomes, eventually};
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{WORKSHOP, beside_others, instance_with};

/// A message is sent first, and recorded as told after that: a process that dies between the two sends it again.
const TOLD: &str = "SELECT count(*) FROM notified";
const TOKEN: &str = "a-token-of-the-story";

/// A receiver of notifications. It refuses those without the token.
#[derive(Clone, Default)]
struct Receiver {
    taken: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<usize>>,
}

impl Receiver {
    /// Listens at this address, or a free one.
    async fn listen(&self, at: Option<SocketAddr>) -> SocketAddr {
        let at = at.unwrap_or_else(|| "127.0.0.1:0".parse().expect("an address"));
        let listener = TcpListener::bind(at).await.expect("an address");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().route("/errors", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Problem and status of everything that was told, in order.
    fn told(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = taken.iter().flat_map(|body| body["problems"].as_array().cloned().unwrap_or_default());
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        problems.map(|one| format!("{} {}", text(&one, "status"), text(&one, "problem"))).collect()
    }

    /// Waits until exactly this was told.
    async fn has_told(&self, wanted: &[String]) {
        eventually(&format!("{wanted:?} was told"), async || {
            let told = self.told();
            if told == wanted { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, Json(body): Json<Value>) -> StatusCode {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if given != Some(&format!("Bearer {TOKEN}")) {
        *receiver.refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        return StatusCode::UNAUTHORIZED;
    }
    receiver.taken.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    StatusCode::NO_CONTENT
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_of_each_error_once_and_of_its_end() {
    let _turn = beside_others().await;
    let receiver = Receiver::default();
    // It does not listen yet.
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("its address")
    };
    let file = format!("{}/notify-{}.token", WORKSHOP.folder, uuid::Uuid::now_v7());
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let url = format!("http://{address}/errors");
    let settings = [
        ("metrics.interval", "200ms"),
        ("notify.url", url.as_str()),
        ("notify.token_file", file.as_str()),
        ("notify.interval", "200ms"),
        ("notify.outage_after", "1s"),
    ];
    let instance = instance_with("notified", &settings).await;
    let mut first = instance.start();
    instance.send(&[add_product(1), place(1, &customer(1), &product(1))]).await;
    becomes(&instance.write, "SELECT count(*) FROM dead_letter WHERE status = 'dead'", 1).await;
    first.reports("millrace_notifications_total", &[("outcome", "failed")], 2.0).await;
    instance.send(&[register(2)]).await;
    instance.settle().await;

    receiver.listen(Some(address)).await;
    let letters = format!("dead letters: {} reference-not-found", instance.group("commands"));
    receiver.has_told(&[format!("new {letters}")]).await;
    says_what_to_type(&instance, &receiver).await;

    // A restart, and another process beside it, tell nothing again of what was recorded as told.
    becomes(&instance.write, TOLD, 1).await;
    first.kill();
    let mut second = instance.start();
    let third = instance.start();
    for process in [&second, &third] {
        eventually("it serves", async || process.metrics().await.map(drop)).await;
    }
    let connector = format!("connectors/{}_outbox", instance.name);
    connect(Method::PUT, &format!("{connector}/pause")).await;
    receiver.has_told(&[format!("new {letters}"), "new connector".to_owned()]).await;
    becomes(&instance.write, TOLD, 2).await;
    second.kill();
    third.reports("millrace_connector_state", &[("state", "paused")], 1.0).await;
    connect(Method::PUT, &format!("{connector}/resume")).await;
    let so_far = [format!("new {letters}"), "new connector".to_owned(), "over connector".to_owned()];
    receiver.has_told(&so_far).await;

    instance
        .millrace(&["dlq", "discard", "--code", "reference-not-found", "--why", "story"])
        .await
        .expect_success();
    receiver.has_told(&[so_far.to_vec(), vec![format!("over {letters}")]].concat()).await;
    becomes(&instance.write, TOLD, 0).await;
    assert_eq!(*receiver.refused.lock().expect("a count"), 0, "each request has the token");
    drop((first, second, third, instance));
    // Its teardown reads it, too.
    fs::remove_file(file).expect("the file with the token");
}

/// The command of a notification finds the letter.
async fn says_what_to_type(instance: &Instance, receiver: &Receiver) {
    let body = receiver.taken.lock().expect("what was told").first().cloned().expect("a notification");
    assert_eq!(body["namespace"], instance.name.as_str());
    let command = body["problems"][0]["command"].as_str().expect("a command");
    assert!(body["text"].as_str().is_some_and(|text| text.contains(command)), "{body}");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let listed = instance.millrace(&arguments).await;
    assert!(listed.expect_success().stdout.contains("reference-not-found"), "{}", listed.stdout);
}

/// A receiver that takes a connection and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_holds_up_neither_records_nor_metrics() {
    let _turn = beside_others().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/errors", silent.local_addr().expect("its address"));
    let settings =
        [("metrics.interval", "200ms"), ("notify.url", url.as_str()), ("notify.interval", "200ms")];
    let instance = instance_with("notified_silent", &settings).await;
    let process = instance.start();
    instance.send(&[add_product(1), place(1, &customer(1), &product(1))]).await;
    let (connection, _) = silent.accept().await.expect("a notification");
    let rounds = async || {
        process
            .metrics()
            .await
            .expect("figures")
            .sum("millrace_observed_timestamp_seconds", &[("part", "write")])
    };
    let before = rounds().await;
    instance.send(&[register(1), register(2)]).await;
    instance.settle().await;
    eventually("the metrics are queried meanwhile", async || {
        let now = rounds().await;
        if now > before + 1.0 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let failed = process.metrics().await.expect("figures").sum("millrace_notifications_total", &[]);
    assert_eq!(failed, 0.0, "the request is still waiting");
    drop(connection);
}
