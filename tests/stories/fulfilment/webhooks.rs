//! Webhooks: the provider reports what it did, repeatedly, at an address that other callers can reach, too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_testkit::free_port;
use millrace_tests::collector::Collector;
use millrace_tests::eventually;
use millrace_tests::stack::http;
use reqwest::StatusCode;
use serde_json::{Value, json};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::history::{History, assert_nothing_is_left};
use super::{PRICE, Shop, place, shop};
use crate::{WORKSHOP, beside_others};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The one that the provider signs with after its next change of secrets.
const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_6nLk0yZx1Pq8VfRtBwJmHsDgUcEaXoI3";
const ORDERS: usize = 6;
/// Longer than the timeout for a request's headers.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_tells_by_itself_counts_once_and_its_answer_is_not_waited_for() {
    let _turn = beside_others().await;
    let (door, collector) = (Door::new(), Collector::start().await);
    let shop = door.shop(&collector.endpoint).await;
    shop.stocked(1, &[100]).await;
    let process = shop.open();
    process.runs("webhooks").await;
    shop.instance.send(&(0..ORDERS).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    shop.rest().await;
    let told = |outcome| [("effect", "payment"), ("kind", "webhook"), ("outcome", outcome)];
    let done = shop.outside.entries();
    let done = done.iter().filter(|entry| entry["kind"] == "authorisation" || entry["kind"] == "charge");
    let done = done.count() as f64;
    process.reports("millrace_effect_calls_total", &told("known"), done).await;
    let figures = process.metrics().await.expect("figures");
    let calls = |labels: &[(&str, &str)]| figures.sum("millrace_effect_calls_total", labels);
    assert_eq!(calls(&told("taken")), done);
    assert_eq!(calls(&[("effect", "payment"), ("kind", "call")]), 0.0, "no call has come back");
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    assert_nothing_is_left(&shop.instance.write).await;
    each_has_a_span(&shop, &collector, done as usize).await;

    only_the_provider_is_believed(&shop, &door).await;
    slow_callers_keep_no_other_out(&shop, &door).await;
    a_call_that_was_given_up_has_its_outcome(&shop, &door).await;
    shop.rest().await;
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
}

/// Of each call twice: the command that follows from the first belongs to its span, which is below that of the effect.
async fn each_has_a_span(shop: &Shop, collector: &Collector, calls: usize) {
    let told = |outcome: &str| {
        let spans = collector.spans().into_iter().filter(|span| span.name == "webhook payment");
        spans.filter(|span| span.attribute("millrace.outcome") == outcome).collect::<Vec<_>>()
    };
    eventually("each webhook has a span", async || match (told("taken").len(), told("known").len()) {
        (taken, known) if taken == calls && known >= calls => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let all = collector.spans();
    for webhook in told("taken") {
        let above = all.iter().find(|span| span.id == webhook.parent && span.trace == webhook.trace);
        assert!(above.is_some_and(|span| span.name.starts_with("payment ")), "{webhook:#?}: {above:#?}");
        let written = "SELECT count(*) FROM outbox WHERE split_part(traceparent, '-', 3) = $1";
        let written = sqlx::query_scalar(written).bind(&webhook.id).fetch_one(&shop.instance.write).await;
        assert_eq!(written.ok(), Some(1_i64), "the command that it led to: {webhook:#?}");
    }
}

async fn only_the_provider_is_believed(shop: &Shop, door: &Door) {
    let charge = shop.charge();
    let unknown_call = json!({"key": uuid::Uuid::nil(), "status": "captured", "reference": "ch-1"});
    for (secret, body, expected) in [
        (SECRET, &charge, StatusCode::OK),
        (NEXT_SECRET, &charge, StatusCode::OK),
        (OTHER_SECRET, &charge, StatusCode::UNAUTHORIZED),
        (SECRET, &unknown_call, StatusCode::NOT_FOUND),
        (SECRET, &json!({"key": charge["key"], "status": "pending"}), StatusCode::BAD_REQUEST),
        (SECRET, &json!("x".repeat(70_000)), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(door.tell(secret, body).await, expected, "{body:.80}");
    }
}

/// More connections than are served at a time, none of which sends a request.
async fn slow_callers_keep_no_other_out(shop: &Shop, door: &Door) {
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut connection = TcpStream::connect(&door.address).await.expect("a connection");
        connection.write_all(b"POST /webhooks/payments HTTP/1.1\r\nhost: shop\r\n").await.expect("a line");
        slow.push(connection);
    }
    assert_eq!(door.tell(SECRET, &shop.charge()).await, StatusCode::OK);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, slow[0].read_to_end(&mut rest)).await;
    ended.expect("a slow caller is let go").expect("the end");
}

/// A webhook about a call that waits for its answer: another deed, amount or currency is not what was asked for.
async fn an_answer_to_something_else_is_none(shop: &Shop, door: &Door, charge: &Value) {
    let with = |field: &str, value: Value| {
        let mut told = charge.clone();
        told[field] = value;
        told
    };
    for told in [
        with("status", json!("authorised")),
        with("status", json!("refunded")),
        with("amount", json!(PRICE + 1)),
    ] {
        assert_eq!(door.tell(SECRET, &told).await, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
    }
    let open = sqlx::query_scalar("SELECT status = 'gave_up' FROM effect WHERE key = $1::uuid");
    let open = open.bind(charge["key"].as_str()).fetch_one(&shop.instance.write).await;
    assert_eq!(open.ok(), Some(true), "the call waits for its own answer");
}

async fn a_call_that_was_given_up_has_its_outcome(shop: &Shop, door: &Door) {
    let charge = shop.charge();
    let key = charge["key"].as_str().expect("a key");
    let gave_up = "UPDATE effect SET status = 'gave_up', unknown = true, answer = NULL WHERE key = $1::uuid";
    sqlx::query(gave_up).bind(key).execute(&shop.instance.write).await.expect("a call");
    an_answer_to_something_else_is_none(shop, door, &charge).await;
    that_of_a_later_release_is_to_be_sent_again(shop, door, &charge).await;
    assert_eq!(door.tell(SECRET, &charge).await, StatusCode::OK);
    let done = sqlx::query_scalar("SELECT status = 'done' AND NOT unknown FROM effect WHERE key = $1::uuid");
    assert_eq!(done.bind(key).fetch_one(&shop.instance.write).await.ok(), Some(true));
}

/// Until a process that can read the call's request receives it.
async fn that_of_a_later_release_is_to_be_sent_again(shop: &Shop, door: &Door, charge: &Value) {
    let key = charge["key"].as_str().expect("a key");
    let write = async |sql| sqlx::query(sql).bind(key).execute(&shop.instance.write).await.expect(sql);
    write("UPDATE effect SET request_version = 99 WHERE key = $1::uuid").await;
    write("INSERT INTO deployed (release) SELECT 1002 WHERE $1 <> ''").await;
    assert_eq!(door.tell(SECRET, charge).await, StatusCode::SERVICE_UNAVAILABLE);
    write("DELETE FROM deployed WHERE release = 1002 AND $1 <> ''").await;
    write("UPDATE effect SET request_version = 1 WHERE key = $1::uuid").await;
}

impl Shop {
    /// A charge that the provider has made.
    fn charge(&self) -> Value {
        let charge = self.outside.entries().into_iter().find(|entry| entry["kind"] == "charge");
        charge.expect("a charge")
    }
}

/// Where webhooks are received.
pub(super) struct Door {
    address: String,
    /// The provider's secret.
    pub(super) secret_file: PathBuf,
    /// The accepted secrets during a rotation: the current and the next one.
    secrets_file: PathBuf,
}

impl Door {
    pub(super) fn new() -> Self {
        let port = free_port().expect("a free port");
        let file = |name: &str, secrets: &str| {
            let file = Path::new(WORKSHOP.folder).join(format!("webhook-{port}.{name}"));
            std::fs::write(&file, secrets).expect("a file with secrets");
            file
        };
        let secret_file = file("secret", SECRET);
        let secrets_file = file("secrets", &format!("{NEXT_SECRET}\n{SECRET}\n"));
        Self { address: format!("127.0.0.1:{port}"), secret_file, secrets_file }
    }

    /// The variable that lets a process receive them there.
    pub(super) fn listens(&self) -> (&str, &str) {
        ("MILLRACE_HTTP__WEBHOOK_LISTEN", &self.address)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/webhooks/payments", self.address)
    }

    /// A shop whose provider answers no call in time, and sends every webhook twice.
    async fn shop(&self, collector: &str) -> Shop {
        let [file, secrets] =
            [&self.secret_file, &self.secrets_file].map(|file| file.to_str().expect("a path"));
        let settings = [
            ("http.webhook_listen", self.address.as_str()),
            ("otlp.endpoint", collector),
            ("payment.webhook_secret_file", secrets),
            ("effects.call_timeout", "1m"),
            // A call that is not answered keeps its place among them: two for each order.
            ("effects.calls_max", "16"),
        ];
        let (silent, told) = (["--timeout-after-charge", "100"], ["--duplicate-webhooks", "100"]);
        let url = self.url();
        let to = ["--decline", "30", "--webhooks", url.as_str(), "--webhook-secret-file", file];
        shop("webhooks", &settings, &[&silent[..], &told, &to].concat()).await
    }

    async fn tell(&self, secret: &str, body: &Value) -> StatusCode {
        let (body, now) = (body.to_string(), chrono::Utc::now().timestamp());
        let signature =
            Webhook::new(secret).and_then(|webhook| webhook.sign("by-hand", now, body.as_bytes()));
        let request = http()
            .post(self.url())
            .header(HEADER_WEBHOOK_ID, "by-hand")
            .header(HEADER_WEBHOOK_TIMESTAMP, now)
            .header(HEADER_WEBHOOK_SIGNATURE, signature.expect("a signature"))
            .body(body);
        request.send().await.expect("an answer").status()
    }
}
