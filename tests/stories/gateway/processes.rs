//! A gateway that stops, dies or is full.

use std::sync::Arc;
use std::time::Duration;

use millrace_testkit::free_port;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Gateway, SHOP, answer, registration, sent, settings};
use crate::{beside_others, instance_with};

/// Commands at once.
const COMMANDS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_answers_the_requests_under_way_and_takes_no_others() {
    let _turn = beside_others().await;
    // Nobody decides, so that requests wait for as long as they may.
    let instance = instance_with("gateway_stops", &settings("127.0.0.1:1")).await;
    let silent = Silent::start().await;
    let mut gateway = Gateway::start(&instance, &[("MILLRACE_GATEWAY__RECEIPTS_URL", &silent.url)]).await;
    let waits = gateway.command(SHOP, "1", "RegisterCustomer", &registration(1)).header("Prefer", "wait=20");
    let waits = tokio::spawn(answer(waits));
    silent.asked().await;
    gateway.process.runs("gateway").await;
    gateway.process.terminate();
    let (status, receipt) = waits.await.expect("a request");
    assert_eq!((status, &receipt["status"]), (202, &"pending".into()), "{receipt}");
    gateway.process.stops().await;
    let refused = gateway.command(SHOP, "2", "RegisterCustomer", &registration(2)).send().await;
    assert!(refused.is_err_and(|error| error.is_connect()), "nothing listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_full_says_when_to_come_again() {
    let _turn = beside_others().await;
    let instance = instance_with("gateway_full", &settings("127.0.0.1:1")).await;
    let silent = Silent::start().await;
    let variables =
        [("MILLRACE_GATEWAY__RECEIPTS_URL", silent.url.as_str()), ("MILLRACE_GATEWAY__REQUESTS_MAX", "1")];
    let mut gateway = Gateway::start(&instance, &variables).await;
    let waits = gateway.command(SHOP, "1", "RegisterCustomer", &registration(1)).header("Prefer", "wait=20");
    let waits = tokio::spawn(answer(waits));
    silent.asked().await;
    let refused = sent(gateway.command(SHOP, "2", "RegisterCustomer", &registration(2))).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let problem: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(problem["type"], "/problems/too-many-requests-in-flight");
    gateway.process.stops().await;
    assert_eq!(waits.await.expect("a request").0, 202, "the one that had the place");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_sent_again_after_a_gateway_was_killed_have_one_effect_each() {
    let _turn = beside_others().await;
    let receipts = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let instance = instance_with("gateway_killed", &settings(&receipts)).await;
    let commands = instance.start_with(&["commands"], &[]);
    commands.runs("receipts").await;
    let mut gateway = Gateway::start(&instance, &[]).await;
    let mut requests = JoinSet::new();
    for i in 0..COMMANDS {
        let key = format!("signup-{i}");
        requests.spawn(gateway.command(SHOP, &key, "RegisterCustomer", &registration(i)).send());
    }
    // Some are answered, some are not.
    requests.join_next().await.expect("an answer").expect("a request").expect("a status");
    gateway.process.kill();
    while requests.join_next().await.is_some() {}
    let gateway = Gateway::start(&instance, &[]).await;
    for i in 0..COMMANDS {
        let (status, receipt) =
            gateway.awaited(&format!("signup-{i}"), "RegisterCustomer", &registration(i)).await;
        assert_eq!((status, &receipt["status"]), (200, &"completed".into()), "{receipt}");
    }
    let events = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE topic NOT LIKE '%.out.%'");
    let events: i64 = events.fetch_one(&instance.write).await.expect("a count");
    assert_eq!(events, COMMANDS as i64, "one event of each, and no rejection");
}

/// A role `commands` that takes questions and never answers.
struct Silent {
    url: String,
    asked: Arc<Notify>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let asked = Arc::new(Notify::new());
        let silent = Self { url, asked: asked.clone() };
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
                asked.notify_one();
            }
        });
        silent
    }

    /// Waits until it is asked for an outcome: then Kafka has the command.
    async fn asked(&self) {
        tokio::time::timeout(PATIENCE, self.asked.notified()).await.expect("a question for an outcome");
    }
}
