//! The simulator as its callers meet it: over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends"
)]

use std::path::PathBuf;
use std::time::Duration;

use millrace_simulator::{Behaviour, Entry, Settings, Simulator, Totals};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A running simulator with a ledger of its own.
struct Running {
    simulator: Simulator,
    stop: CancellationToken,
    ledger: PathBuf,
    client: Client,
}

impl Running {
    async fn start(name: &str, behaviour: Behaviour) -> Self {
        let ledger = std::env::temp_dir().join(format!("millrace-simulator-{}-{name}", std::process::id()));
        let settings = Settings::on_loopback(ledger.clone(), behaviour);
        let stop = CancellationToken::new();
        let simulator = Simulator::start(settings, stop.clone()).await.unwrap();
        Self { simulator, stop, ledger, client: Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.payments.unwrap())
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> reqwest::Result<(StatusCode, Value)> {
        let request = self.client.post(self.url(path)).header("Idempotency-Key", key).json(body);
        let response = request.timeout(Duration::from_secs(2)).send().await?;
        Ok((response.status(), response.json().await?))
    }

    async fn charge(&self, key: &str, amount: i64) -> (StatusCode, Value) {
        self.post("/charges", key, &charge(amount)).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn totals(&self) -> Totals {
        self.client.get(self.url("/ledger/totals")).send().await.unwrap().json().await.unwrap()
    }

    async fn entries(&self) -> Vec<Entry> {
        let text = self.client.get(self.url("/ledger")).send().await.unwrap().text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn end(self) -> PathBuf {
        drop(self.client);
        self.stop.cancel();
        self.simulator.ended().await;
        self.ledger
    }
}

fn charge(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR", "customer": "c1", "order": "o1" })
}

/// A client of the mail server that returns the codes it gets.
struct Client25(BufReader<TcpStream>);

impl Client25 {
    async fn connect(running: &Running) -> Self {
        let stream = TcpStream::connect(running.simulator.mail.unwrap()).await.unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.answer().await, Some(220));
        client
    }

    async fn say(&mut self, text: &str) -> Option<u16> {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        self.answer().await
    }

    /// The code of the last line of an answer; `None` when the connection ends.
    async fn answer(&mut self) -> Option<u16> {
        let mut line = String::new();
        while self.0.read_line(&mut line).await.unwrap() > 0 {
            if line.as_bytes()[3] == b' ' {
                return Some(line[..3].parse().unwrap());
            }
            line.clear();
        }
        None
    }

    async fn send(&mut self, to: &str, message: &str) -> Option<u16> {
        for line in ["EHLO test".to_owned(), "MAIL FROM:<m@shop>".to_owned(), format!("RCPT TO:<{to}>")] {
            let code = self.say(&line).await;
            if code != Some(250) {
                return code;
            }
        }
        assert_eq!(self.say("DATA").await, Some(354));
        self.say(&format!("{message}\r\n.")).await
    }
}

fn batch(ids: &[&str], attempt: u32) -> Value {
    let message =
        |id: &&str| json!({ "id": id, "attempt": attempt, "to": "a@b.c", "subject": "s", "text": "t" });
    json!({ "messages": ids.iter().map(message).collect::<Vec<_>>() })
}

impl Running {
    async fn deliver(&self, key: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("http://{}/deliveries", self.simulator.vendor.unwrap());
        let request = self.client.post(url).header("Idempotency-Key", key).json(body);
        let response = request.timeout(Duration::from_secs(2)).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_batch_is_delivered_once_and_can_be_asked_for() {
    let running = Running::start("batch", Behaviour::default()).await;
    let (status, answer) = running.deliver("k", &batch(&["a", "b"], 1)).await;
    assert_eq!((status, &answer["messages"][1]["id"]), (StatusCode::CREATED, &json!("b")));
    assert_eq!(running.deliver("k", &batch(&["a", "b"], 1)).await, (StatusCode::OK, answer.clone()));
    let url = format!("http://{}/deliveries/k", running.simulator.vendor.unwrap());
    let asked: Value = running.client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(asked, answer);
    assert_eq!(running.deliver("k", &batch(&["a"], 1)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(running.deliver("l", &batch(&[], 1)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((running.totals().await.messages, running.entries().await.len()), (2, 1));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn messages_fail_for_good_or_for_now() {
    for (behaviour, retryable) in [
        (Behaviour { decline: 100, ..Behaviour::default() }, false),
        (Behaviour { defer: 100, ..Behaviour::default() }, true),
    ] {
        let running = Running::start(&format!("unsent-{retryable}"), behaviour).await;
        let (_, answer) = running.deliver("k", &batch(&["a"], 1)).await;
        assert_eq!(
            (&answer["messages"][0]["status"], &answer["messages"][0]["retryable"]),
            (&json!("failed"), &json!(retryable))
        );
        assert_eq!(running.totals().await.messages_failed, 1);
        std::fs::remove_file(running.end().await).unwrap();
    }
}

#[tokio::test]
async fn a_key_is_charged_once_however_often_it_comes() {
    let running = Running::start("once", Behaviour::default()).await;
    let (status, first) = running.charge("k", 70).await;
    assert_eq!((status, &first["status"]), (StatusCode::CREATED, &json!("captured")));
    assert_eq!(running.charge("k", 70).await, (StatusCode::OK, first.clone()));
    assert_eq!(running.charge("k", 71).await.1["code"], "key-reused");
    let (status, found) = running.get("/charges/k").await;
    assert_eq!((status, &found["reference"]), (StatusCode::OK, &first["reference"]));
    assert_eq!(running.get("/charges/other").await.0, StatusCode::NOT_FOUND);
    let totals = running.totals().await;
    assert_eq!((totals.captured["EUR"], totals.charges), (70, 1));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn many_at_once_with_one_key_are_one_charge() {
    let running = Running::start("at-once", Behaviour { latency_ms: 5..=20, ..Behaviour::default() }).await;
    let body = charge(70);
    let answers = futures::future::join_all((0..20).map(|_| running.post("/charges", "k", &body))).await;
    let created = answers
        .into_iter()
        .filter(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == StatusCode::CREATED));
    let created = created.count();
    assert_eq!((created, running.totals().await.charges), (1, 1));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_charge_that_is_not_answered_is_made_and_can_be_asked_for() {
    let hold = Duration::from_millis(300);
    let behaviour = Behaviour { timeout_after_charge: 100, hold, ..Behaviour::default() };
    let running = Running::start("silent", behaviour).await;
    assert!(running.post("/charges", "k", &charge(70)).await.is_err(), "the connection is dropped");
    let (status, found) = running.get("/charges/k").await;
    assert_eq!((status, &found["status"]), (StatusCode::OK, &json!("captured")));
    assert_eq!(running.charge("k", 70).await.0, StatusCode::OK, "a second call is answered");
    assert_eq!(running.totals().await.charges, 1);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_key_in_work_conflicts_and_is_booked_although_its_caller_has_gone() {
    let (work, hold) = (Duration::from_millis(400), Duration::from_millis(10));
    let behaviour = Behaviour { slow: 100, work, hold, ..Behaviour::default() };
    let running = Running::start("slow", behaviour).await;
    let (body, impatient) = (charge(70), Duration::from_millis(100));
    let first = running.client.post(running.url("/charges")).header("Idempotency-Key", "k").json(&body);
    assert!(first.timeout(impatient).send().await.is_err(), "it takes too long for its caller");
    let (status, refused) = running.charge("k", 70).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("key-in-work")));
    assert_eq!(running.get("/charges/k").await.0, StatusCode::NOT_FOUND, "nothing is booked yet");
    while running.totals().await.charges == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, answer) = running.charge("k", 70).await;
    assert_eq!((status, &answer["amount"], &answer["currency"]), (StatusCode::OK, &json!(70), &json!("EUR")));
    assert_eq!(running.totals().await.charges, 1);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_declined_charge_stays_declined_and_moves_no_money() {
    let running = Running::start("declined", Behaviour { decline: 100, ..Behaviour::default() }).await;
    let (status, declined) = running.charge("k", 70).await;
    assert_eq!((status, &declined["status"]), (StatusCode::PAYMENT_REQUIRED, &json!("declined")));
    assert!(declined["code"].is_string() && declined["reason"].is_string());
    assert_eq!(running.charge("k", 70).await, (status, declined));
    let totals = running.totals().await;
    assert_eq!((totals.declined, totals.charges, totals.captured.len()), (1, 0, 0));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn what_is_turned_away_was_not_done() {
    let running = Running::start("busy", Behaviour { error: 100, ..Behaviour::default() }).await;
    assert_eq!(running.charge("k", 70).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(running.get("/charges/k").await.0, StatusCode::NOT_FOUND);
    assert_eq!(running.totals().await, Totals::default());
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn refunds_come_once_for_each_key_and_are_never_more_than_the_charge() {
    let running = Running::start("refunds", Behaviour::default()).await;
    let reference = running.charge("k", 70).await.1["reference"].clone();
    let refund = |charge: &Value, amount: i64| json!({ "charge": charge, "amount": amount });
    let post = async |key: &str, body: Value| running.post("/refunds", key, &body).await.unwrap();
    let (status, first) = post("r1", refund(&reference, 50)).await;
    assert_eq!((status, &first["status"]), (StatusCode::CREATED, &json!("refunded")));
    assert_eq!(post("r1", refund(&reference, 50)).await, (StatusCode::OK, first.clone()));
    assert_eq!(post("r2", refund(&reference, 21)).await.1["code"], "refund-exceeds-charge");
    assert_eq!(post("r2", refund(&json!("nothing"), 1)).await.1["code"], "charge-unknown");
    assert_eq!(post("r2", refund(&reference, 20)).await.0, StatusCode::CREATED);
    assert_eq!(running.get("/refunds/r1").await, (StatusCode::OK, first));
    assert_eq!(running.get("/refunds/r3").await.0, StatusCode::NOT_FOUND);
    assert_eq!(running.totals().await.refunded["EUR"], 70);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn held_money_is_captured_or_released_once_whichever_comes_first() {
    let running = Running::start("holds", Behaviour::default()).await;
    let post = async |path: &str, key: &str, body: Value| running.post(path, key, &body).await.unwrap();
    let hold = async |key: &str| post("/authorisations", key, charge(70)).await.1["reference"].clone();
    let (taken, freed) = (hold("a1").await, hold("a2").await);
    assert_eq!(running.totals().await.captured.len(), 0, "nothing has moved");
    let capture = |hold: &Value, amount: i64| json!({ "authorisation": hold, "amount": amount });
    assert_eq!(post("/captures", "c1", capture(&taken, 69)).await.1["code"], "amount-differs");
    let (status, first) = post("/captures", "c1", capture(&taken, 70)).await;
    assert_eq!((status, &first["status"]), (StatusCode::CREATED, &json!("captured")));
    assert_eq!(post("/captures", "c1", capture(&taken, 70)).await, (StatusCode::OK, first));
    assert_eq!(post("/captures", "c2", capture(&taken, 70)).await.1["code"], "authorisation-captured");
    let release = |hold: &Value| json!({ "authorisation": hold });
    assert_eq!(post("/releases", "r1", release(&taken)).await.1["code"], "authorisation-captured");
    assert_eq!(post("/releases", "r2", release(&freed)).await.1["status"], "released");
    assert_eq!(post("/captures", "c3", capture(&freed, 70)).await.1["code"], "authorisation-released");
    assert_eq!(post("/releases", "r3", release(&json!("none"))).await.1["code"], "authorisation-unknown");
    let totals = running.totals().await;
    assert_eq!((totals.authorisations, totals.charges, totals.releases), (2, 1, 1));
    assert_eq!(totals.captured["EUR"], 70);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_call_without_key_is_refused() {
    let running = Running::start("no-key", Behaviour::default()).await;
    let response = running.client.post(running.url("/charges")).json(&charge(1)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(running.charge("k", 0).await.1["code"], "amount-invalid");
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_restart_remembers_charges_and_mails() {
    let running = Running::start("restart", Behaviour::default()).await;
    let (_, first) = running.charge("k", 70).await;
    assert_eq!(Client25::connect(&running).await.send("a@b", "Subject: x\r\n\r\nhello").await, Some(250));
    running.end().await;
    let running = Running::start("restart", Behaviour::default()).await;
    assert_eq!(running.charge("k", 70).await, (StatusCode::OK, first));
    let totals = running.totals().await;
    assert_eq!((totals.charges, totals.mails), (1, 1));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_mail_is_kept_as_it_was_written() {
    let running = Running::start("mail", Behaviour::default()).await;
    let mut client = Client25::connect(&running).await;
    let message = "Message-ID: <k@shop>\r\nSubject: x\r\n\r\nhello\r\n..\r\n..dots";
    assert_eq!(client.send("a@b", message).await, Some(250));
    assert_eq!(client.send("c@d", "Subject: second\r\n\r\n").await, Some(250), "on the same connection");
    assert_eq!(client.say("QUIT").await, Some(221));
    let entries = running.entries().await;
    let [Entry::Mail(mail), Entry::Mail(second)] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((mail.message_id.as_deref(), mail.from.as_str()), (Some("k@shop"), "m@shop"));
    assert!(mail.message.ends_with("\r\n\r\nhello\r\n.\r\n.dots\r\n"), "{:?}", mail.message);
    assert_eq!((&mail.to, &second.to), (&vec!["a@b".to_owned()], &vec!["c@d".to_owned()]));
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_mail_that_is_too_large_is_refused_and_the_conversation_goes_on() {
    let running = Running::start("large", Behaviour::default()).await;
    let mut client = Client25::connect(&running).await;
    let line = "x".repeat(900);
    assert_eq!(client.send("a@b", &vec![line.as_str(); 400].join("\r\n")).await, Some(552));
    assert_eq!(client.send("a@b", "Subject: small\r\n\r\n").await, Some(250));
    assert_eq!(running.totals().await.mails, 1);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn a_mail_can_be_kept_without_an_answer() {
    let hold = Duration::from_millis(50);
    let behaviour = Behaviour { timeout_after_mail: 100, hold, ..Behaviour::default() };
    let running = Running::start("silent-mail", behaviour).await;
    assert_eq!(Client25::connect(&running).await.send("a@b", "Subject: x\r\n\r\n").await, None);
    assert_eq!(running.totals().await.mails, 1);
    std::fs::remove_file(running.end().await).unwrap();
}

#[tokio::test]
async fn others_cannot_reach_it_unless_asked_for() {
    let ledger = std::env::temp_dir().join(format!("millrace-simulator-{}-loopback", std::process::id()));
    let payments = Some(([0, 0, 0, 0], 0).into());
    let settings = Settings {
        payments,
        mail: None,
        vendor: None,
        webhooks: None,
        ledger,
        beyond_loopback: false,
        behaviour: Behaviour::default(),
    };
    let error = Simulator::start(settings, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("--beyond-loopback"), "{error}");
}

#[tokio::test]
async fn it_stops_while_calls_are_held() {
    let running =
        Running::start("stop", Behaviour { timeout_after_charge: 100, ..Behaviour::default() }).await;
    let _idle = Client25::connect(&running).await;
    let (url, client) = (running.url("/charges"), running.client.clone());
    let unanswered = tokio::spawn(client.post(url).header("Idempotency-Key", "k").json(&charge(1)).send());
    while running.totals().await.charges == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), running.end()).await.unwrap();
    assert!(unanswered.await.unwrap().is_err());
    std::fs::remove_file(ended).unwrap();
}
