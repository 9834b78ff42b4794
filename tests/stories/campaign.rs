//! A campaign: each customer of the preview gets one message, whatever the vendor does and whichever process crashes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_tests::Instance;
use millrace_tests::load::{command, customer};
use millrace_tests::outside::Outside;
use serde_json::{Value, json};

use crate::{WORKSHOP, beside_others, instance_with};

/// How many customers, unless the environment says `STORY_CUSTOMERS`.
const CUSTOMERS: usize = 3_000;
const CONTEXTS: &str = r#"["campaigns", "customers", "notifications"]"#;
/// The vendor refuses some for good, some for now, and does not always answer.
const MOODS: [&str; 8] =
    ["--decline", "5", "--defer", "20", "--timeout-after-delivery", "20", "--hold-ms", "1500"];

#[tokio::test(flavor = "multi_thread")]
async fn everybody_in_the_audience_gets_one_message_and_every_count_agrees() {
    let _turn = beside_others().await;
    let customers = std::env::var("STORY_CUSTOMERS").ok().and_then(|count| count.parse().ok());
    let customers = customers.unwrap_or(CUSTOMERS);
    let outside = Outside::start(WORKSHOP, "campaign", &MOODS).await;
    let instance = instance(&outside).await;
    let mut process = instance.start();
    known(&instance, customers).await;
    let audience = (0..customers).filter(|i| is_reached(*i)).count() as i64;
    let preview = instance.millrace(&["segment", "preview", "mexicans", "--format", "json"]).await;
    assert_eq!(preview.expect_success().json()["audience"], json!(audience));
    process.stops().await;

    // Of this audience it finds two chunks; it dies when the vendor has taken the first of them and no process has written
    // down the answer.
    let mut doomed = instance.start_doomed("after-call=2*off->return");
    instance.send(&[create(), launch()]).await;
    doomed.killed_by_failpoint("after-call").await;
    let process = instance.start();
    rest(&instance).await;
    eprintln!("the process took {} MB", process.memory_peak_mb());

    let sent = every_count_agrees(&instance, &outside, audience).await;
    everybody_got_one_message_of_their_own(&outside, sent);
    receipts_count_once(&instance, audience, sent).await;
    instance.millrace(&["verify"]).await.expect_success();
    instance.assert_both_read_models_agree().await;
}

async fn instance(outside: &Outside) -> Instance {
    let settings = outside.settings();
    let settings = settings.iter().map(|(field, value)| (*field, value.as_str()));
    let settings: Vec<_> = settings.chain([("contexts", CONTEXTS)]).collect();
    instance_with("campaign", &settings).await
}

/// Of three customers two live in Mexico; of seven one has no e-mail address, of eleven one wants no messages.
async fn known(instance: &Instance, customers: usize) {
    let register = |i: usize| {
        let country = if i.is_multiple_of(3) { "Chad" } else { "Mexico" };
        let email = (!i.is_multiple_of(7)).then(|| format!("c{i}@example.com"));
        let data = json!({
            "customer_id": customer(i), "name": format!("Customer {i}"), "phone": "555-4729",
            "email": email, "country": country,
        });
        command("RegisterCustomer", i, data)
    };
    instance.send_and_wait(&(0..customers).map(register).collect::<Vec<_>>()).await.expect_success();
    let stop = |i: usize| command("StopNotifications", i, json!({"customer_id": customer(i)}));
    let stopped: Vec<String> = (0..customers).filter(|i| i.is_multiple_of(11)).map(stop).collect();
    instance.send_and_wait(&stopped).await.expect_success();
    let rules = json!({"all": [
        {"fact": "country", "is": "=", "value": "Mexico"},
        {"not": {"fact": "days_since_last_order", "is": "<", "value": 30}},
    ]});
    let segment = json!({"segment_id": "mexicans", "name": "Mexicans", "rules": rules.to_string()});
    instance.send_and_wait(&[command("DefineSegment", 0, segment)]).await.expect_success();
    instance.settle().await;
}

fn is_reached(i: usize) -> bool {
    !i.is_multiple_of(3) && !i.is_multiple_of(7) && !i.is_multiple_of(11)
}

fn create() -> String {
    let data = json!({
        "campaign_id": "spring", "segment_id": "mexicans", "name": "Spring", "subject": "Hello {name}",
        "message": "Dear {contact_name}, it is spring. {customer_id}",
    });
    command("CreateCampaign", 0, data)
}

fn launch() -> String {
    command("LaunchCampaign", 0, json!({"campaign_id": "spring", "as_of": "2024-01-01T00:00:00Z"}))
}

/// Waits until no saga or call is in progress and every view has caught up.
async fn rest(instance: &Instance) {
    instance.millrace(&["status", "--wait", "20m"]).await.expect_success();
    instance.settle().await;
}

/// Audience, pending, sent, delivered and failed.
async fn stats(instance: &Instance) -> (i64, i64, i64, i64, i64) {
    let stats =
        "SELECT audience, pending, sent, delivered, failed FROM campaign_stats WHERE campaign_id = 'spring'";
    sqlx::query_as(stats).fetch_one(&instance.read).await.expect("the campaign")
}

/// The messages that were sent.
async fn every_count_agrees(instance: &Instance, outside: &Outside, audience: i64) -> i64 {
    let (promised, pending, sent, delivered, failed) = stats(instance).await;
    assert_eq!((promised, pending, delivered), (audience, 0, 0));
    assert_eq!(sent + failed, audience);
    let statuses: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM deliveries GROUP BY 1 ORDER BY 1")
            .fetch_all(&instance.read)
            .await
            .expect("deliveries");
    let told: BTreeMap<&str, i64> =
        statuses.iter().map(|(status, count)| (status.as_str(), *count)).collect();
    assert_eq!(told.get("sent"), Some(&sent));
    assert_eq!(told.get("failed").unwrap_or(&0) + told.get("dead").unwrap_or(&0), failed);
    let taken = outside.messages().iter().filter(|message| message["status"] == "accepted").count();
    assert_eq!(taken as i64, sent, "the vendor says so too");
    sent
}

fn everybody_got_one_message_of_their_own(outside: &Outside, sent: i64) {
    let messages = outside.messages();
    let taken: Vec<&Value> = messages.iter().filter(|message| message["status"] == "accepted").collect();
    let ids: BTreeSet<String> = taken.iter().map(|message| message["id"].to_string()).collect();
    let addresses: BTreeSet<String> = taken.iter().map(|message| message["to"].to_string()).collect();
    assert_eq!((ids.len() as i64, addresses.len() as i64), (sent, sent), "nobody got two");
    let attempts: BTreeSet<String> =
        messages.iter().map(|message| format!("{} {}", message["id"], message["attempt"])).collect();
    assert_eq!(attempts.len(), messages.len(), "no attempt was made twice");
    assert!(messages.iter().all(|message| (1..=3).contains(&message["attempt"].as_i64().expect("a number"))));
    for message in taken {
        let name = message["to"].as_str().expect("an address").trim_start_matches('c');
        let number = name.split('@').next().expect("a number");
        assert!(message["text"].as_str().expect("a text").contains(&format!("Dear Customer {number},")));
    }
}

/// The vendor tells later what has arrived: twice, and with what was true before behind it.
async fn receipts_count_once(instance: &Instance, audience: i64, sent: i64) {
    let jobs: Vec<(String, i32, String)> = sqlx::query_as("SELECT job_id, attempt, status FROM deliveries")
        .fetch_all(&instance.read)
        .await
        .expect("deliveries");
    let mut chunks: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (job_id, attempt, status) in &jobs {
        let (chunk_id, number) = job_id.rsplit_once('/').expect("a job of a chunk");
        let number: i32 = number.parse().expect("a number");
        let told = if status == "sent" { "delivered" } else { "failed" };
        chunks
            .entry(chunk_id)
            .or_default()
            .push(json!({"number": number, "attempt": attempt, "status": told}));
    }
    let record = |(n, (chunk_id, receipts)): (usize, (&&str, &Vec<Value>))| {
        command("RecordReceipts", n, json!({"chunk_id": chunk_id, "receipts": receipts}))
    };
    let first: Vec<String> = chunks.iter().enumerate().map(record).collect();
    let again: Vec<String> = chunks.iter().enumerate().map(|(n, chunk)| record((n + 5_000, chunk))).collect();
    for receipts in chunks.values_mut() {
        receipts.reverse();
        receipts.iter_mut().for_each(|one| one["status"] = json!("sent"));
    }
    let late: Vec<String> = chunks.iter().enumerate().map(|(n, chunk)| record((n + 10_000, chunk))).collect();
    instance.send_and_wait(&first).await.expect_success();
    instance.send_and_wait(&again).await.expect_success();
    instance.send_and_wait(&late).await.expect_success();
    let nobody = json!({"number": 1, "attempt": 1, "status": "delivered"});
    let unknown = json!({"chunk_id": "nobody/1", "receipts": [nobody]});
    instance.send_and_wait(&[command("RecordReceipts", 20_000, unknown)]).await.expect_success();
    rest(instance).await;
    assert_eq!(stats(instance).await, (audience, 0, sent, sent, audience - sent));
    let kept = "SELECT count(*) FROM outbox WHERE type = 'millrace.campaigns.ReceiptsUnmatched'";
    assert_eq!(instance.count(kept).await, Ok(1), "what nobody knows of is kept");
    let waiting = "SELECT count(*) FROM effect WHERE status IN ('waiting', 'calling')";
    assert_eq!(instance.count(waiting).await, Ok(0), "nothing more is to be sent");
}
