//! Offsets: transaction markers, records that were deleted before they were read, resets.

use std::collections::BTreeMap;

use millrace_tests::kafka::{Transaction, commit, committed, delete_records};
use millrace_tests::load::{command_with_id, customer, register};
use millrace_tests::stack::kafka_tool;
use millrace_tests::{Instance, Process, Raw, becomes, eventually};
use serde_json::{Value, json};

use crate::replay::reset;
use crate::{beside_others, instance_with};

const CUSTOMERS: (&str, &str) = ("contexts", r#"["customers"]"#);
const PARTITIONS: [i32; 2] = [0, 1];
const DECIDED: &str = "SELECT count(*) FROM command WHERE status = 'completed'";

/// A command as an upstream system writes it.
async fn registering(i: usize) -> Raw {
    let id = format!("RegisterCustomer-{i}");
    let data = json!({
        "customer_id": customer(i), "name": format!("Customer {i}"), "contact_name": null,
        "email": format!("c{i}@example.com"), "phone": null, "city": "Berlin", "country": "Germany",
    });
    Raw::command(&id, "RegisterCustomer", &data).await
}

async fn is_level(instance: &Instance) {
    instance.millrace(&["status", "--wait", "30s"]).await.expect_success();
}

/// Kafka's own tools, and exporters of lag, show the groups at the ends of a topic.
async fn is_mirrored(instance: &Instance, role: &str, topic: &str) {
    eventually(&format!("{role} stands at the ends of {topic}"), async || {
        let stands = committed(&instance.group(role), topic, &PARTITIONS);
        let stands: BTreeMap<i32, i64> =
            stands.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect();
        let ends = instance.kafka.ends(topic);
        if ends == stands { Ok(()) } else { Err(format!("{stands:?} of {ends:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_of_transactions_aborted_records_and_deleted_ones_are_nothing_to_wait_for() {
    let _turn = beside_others().await;
    let instance = instance_with("markers", &[CUSTOMERS]).await;
    let _process = instance.start();
    let (commands, events) = (instance.topic("cmd", "customers"), instance.topic("evt", "customers"));
    let again =
        command_with_id("again", "RegisterCustomer", 1, json!({"customer_id": customer(0), "name": "Bo"}));
    instance.send(&[register(0), again]).await;
    instance.settle().await;
    Transaction::begin(&commands, 0, &[registering(1).await]).await.commit();
    Transaction::begin(&commands, 1, &[registering(2).await]).await.abort();
    Transaction::begin(&events, 0, &[Raw::value("of no event")]).await.abort();
    becomes(&instance.write, DECIDED, 2).await;
    is_mirrored(&instance, "commands", &commands).await;
    is_mirrored(&instance, "customers", &events).await;
    is_level(&instance).await;
    instance.millrace(&["verify"]).await.expect_success();
    what_is_open_is_told(&instance, &commands).await;
    delete_records(&commands, &PARTITIONS, None).await;
    delete_records(&instance.topic("rej", "customers"), &PARTITIONS, None).await;
    is_level(&instance).await;
    instance.send(&[register(4)]).await;
    becomes(&instance.write, DECIDED, 4).await;
}

/// It and what is behind it cannot be read, and it may still come to nothing.
async fn what_is_open_is_told(instance: &Instance, commands: &str) {
    let open = Transaction::begin(commands, 0, &[registering(3).await]).await;
    instance.millrace(&["status"]).await.expect_success().expect_told("1 behind an open transaction");
    let wait = instance.millrace(&["status", "--wait", "1s"]).await;
    wait.expect_code(1).expect_told("behind an open transaction");
    assert_eq!(instance.count(DECIDED).await, Ok(2));
    open.commit();
    is_level(instance).await;
    assert_eq!(instance.count(DECIDED).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_deleted_before_they_were_read_are_told_and_passed_on_purpose_only() {
    let _turn = beside_others().await;
    let instance = instance_with("gone", &[CUSTOMERS]).await;
    let (commands, events) = (instance.topic("cmd", "customers"), instance.topic("evt", "customers"));
    let mut process = instance.start();
    instance.send(&(0..4).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    process.stops().await;
    instance.send(&(10..20).map(register).collect::<Vec<_>>()).await;
    delete_records(&commands, &PARTITIONS, None).await;
    instance.send(&(20..30).map(register).collect::<Vec<_>>()).await;
    let status = instance.millrace(&["status"]).await;
    status.expect_code(6).expect_told("deleted before they were read").expect_told("--to-earliest");
    let mut process = instance.start();
    says(&process, "deleted before they were read").await;
    process.reports("millrace_records_lost", &[("group", &instance.group("commands"))], 10.0).await;
    assert_eq!(instance.count(DECIDED).await, Ok(4), "nothing is passed over by itself");
    process.stops().await;
    a_reset_that_would_skip_is_refused(&instance).await;
    reset(&instance, "commands").await;
    instance.millrace(&["status"]).await.expect_told("is accepted at the next start");
    let mut deciding = instance.start_with(&["commands"], &[]);
    becomes(&instance.write, DECIDED, 14).await;
    becomes(&instance.write, "SELECT count(*) FROM audit WHERE action = 'pass deleted records'", 2).await;
    // Now the events, which every view has still to read.
    instance.settle_commands().await;
    delete_records(&events, &PARTITIONS, None).await;
    deciding.stops().await;
    set_back_every_view(&instance, &events).await;
    let process = instance.start();
    let repair = ["verify", "--repair", "--why", "events were deleted before they were read"];
    instance.millrace(&repair).await.expect_success();
    becomes(&instance.read, "SELECT count(*) FROM customers", 14).await;
    is_level(&instance).await;
    instance.millrace(&["verify"]).await.expect_success();
    drop(process);
}

/// What is still there would be skipped.
async fn a_reset_that_would_skip_is_refused(instance: &Instance) {
    let group = instance.group("commands");
    let latest =
        ["kafka-consumer-groups", "--group", &group, "--reset-offsets", "--to-latest", "--all-topics"];
    kafka_tool(&[latest.as_slice(), &["--execute"]].concat()).await;
    instance.millrace(&["status"]).await.expect_code(6).expect_told("would skip");
    let mut process = instance.start();
    says(&process, "would skip").await;
    process.reports("millrace_records_lost", &[("group", &group)], 10.0).await;
    process.stops().await;
    assert_eq!(instance.count(DECIDED).await, Ok(4));
}

/// As Kafka's own tool does with `--to-earliest`.
async fn set_back_every_view(instance: &Instance, events: &str) {
    let first = instance.kafka.ends(events);
    for view in instance.views() {
        for (partition, offset) in &first {
            commit(&instance.group(view.name), events, (*partition, *offset), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_heeded_or_refused_in_words_whatever_the_tool_keeps_beside_the_offset() {
    let _turn = beside_others().await;
    let instance = instance_with("resets", &[CUSTOMERS]).await;
    let (commands, events) = (instance.topic("cmd", "customers"), instance.topic("evt", "customers"));
    let mut process = instance.start();
    instance.send(&(0..20).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    process.stops().await;
    // One partition, by a tool that keeps what Millrace has written beside the offset.
    let (offset, stamp) = committed(&instance.group("commands"), &commands, &[0])[&0].clone();
    commit(&instance.group("commands"), &commands, (0, 1), &stamp);
    let stood = committed(&instance.group("customers"), &events, &[0])[&0].0;
    commit(&instance.group("customers"), &events, (0, stood + 5), "");
    let status = instance.millrace(&["status"]).await;
    status.expect_code(6).expect_told("would skip").expect_told("to 1: the records are read again");
    let replay = instance.millrace(&["replay", "customers", "--status"]).await;
    replay.expect_success().expect_told("would skip");
    let process = instance.start();
    let repeated = f64::from(i32::try_from(offset - 1).unwrap());
    process.reports("millrace_duplicates_total", &[("group", &instance.group("commands"))], repeated).await;
    says(&process, "would skip").await;
    instance.settle().await;
    assert_eq!(instance.count(DECIDED).await, Ok(20));
    // What was refused stands beside the offset until the next mirror.
    is_mirrored(&instance, "customers", &events).await;
    is_level(&instance).await;
    let told: Value = instance.millrace(&["status", "--format", "json"]).await.expect_success().json();
    assert_eq!(told["resets"], json!([]));
}

async fn says(process: &Process, what: &str) {
    eventually(what, async || if process.log().contains(what) { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
}
