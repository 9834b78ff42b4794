//! Records as large as a broker takes: with our headers they are larger still, and are dead-lettered all the same.

use std::slice;

use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, Raw, becomes, kafka};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

const CONTEXTS: &str = r#"["carts", "catalog", "customers"]"#;
/// A producer that leaves it to the broker what is too large.
const ROOMY: (&str, &str) = ("message.max.bytes", "50000000");
const MEMORY_MAX_MB: f64 = 256.0;
const UNFETCHABLE: &str = "SELECT count(*) FROM dead_letter WHERE code = 'unfetchable' AND status = 'dead'";
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";

/// Bytes that cannot be compressed.
fn random(count: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    // Not zero: the first byte of a framed value.
    std::iter::once(1).chain((1..count).map(|_| next())).collect()
}

/// What fills a batch of a topic with Kafka's default limit, by different clients, packed and not.
async fn fill(topic: &str) -> Vec<Raw> {
    let plain = [
        Raw::value(random(999_800)).key("kcat"),
        Raw::value(random(1_020_000)).key("console"),
        Raw::value(random(1_048_480)),
        Raw::value("?").header("note", random(1_048_400)),
    ];
    kafka::produce_as(topic, Some(0), &plain, &[ROOMY]).await;
    let packed = [Raw::value(vec![1; 10_000_000]).key("packed")];
    kafka::produce_as(topic, Some(0), &packed, &[ROOMY, ("compression.type", "zstd")]).await;
    plain.into_iter().chain(packed).collect()
}

fn are_dead_lettered(instance: &Instance, topic: &str, role: &str, all: &[Raw]) {
    let letters = instance.kafka.all(&format!("{topic}.{}.dlq", instance.group(role)));
    assert_eq!(letters.len(), all.len(), "each of {topic} is dead-lettered once by {role}");
    for (letter, raw) in letters.iter().zip(all) {
        let length = raw.value.as_ref().map(Vec::len);
        assert!(
            (&letter.raw.key, &letter.raw.value) == (&raw.key, &raw.value),
            "{length:?} bytes of {topic}"
        );
        assert!(letter.raw.headers.starts_with(&raw.headers), "the headers of {length:?} bytes of {topic}");
    }
}

async fn cart_of(id: &str, customer: &str, note: usize) -> Raw {
    let cart = json!({"cart_id": id, "customer_id": customer, "currency": "USD"});
    Raw::command(id, "CreateCart", &cart).await.header("note", random(note))
}

async fn dlq(instance: &Instance, arguments: &[&str]) -> Value {
    let arguments = [&["dlq"], arguments, &["--format", "json"]].concat();
    instance.millrace(&arguments).await.expect_success().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_any_size_that_kafka_takes_is_dead_lettered_and_the_others_go_on() {
    let _turn = beside_others().await;
    let instance = instance_with("sizes", &[("contexts", CONTEXTS)]).await;
    let mut process = instance.start();
    let (commands, events) = (instance.topic("cmd", "carts"), instance.topic("evt", "carts"));
    let filled = fill(&commands).await;
    fill(&events).await;
    // A command that fails for a while, as large as its topic takes: it waits on retry topics.
    kafka::produce_as(&commands, Some(0), &[cart_of("large", &customer(1), 1_040_000).await], &[ROOMY]).await;
    instance.send(&[register(2), of_customer(2)]).await;
    becomes(&instance.write, DEAD, 6).await;
    becomes(&instance.read, "SELECT count(*) FROM dead_letter WHERE grp LIKE '%.carts'", 5).await;
    instance.settle().await;
    are_dead_lettered(&instance, &events, "carts", &filled);
    let large = cart_of("large", &customer(1), 1_040_000).await;
    are_dead_lettered(&instance, &commands, "commands", &[filled, vec![large]].concat());
    becomes(
        &instance.write,
        "SELECT count(*) FROM command WHERE id = 'CreateCart-2' AND status = 'completed'",
        1,
    )
    .await;
    instance.send(&[register(1)]).await;
    instance.settle().await;
    dlq(&instance, &["redrive", "--code", "reference-not-found", "--why", "the customer is there"]).await;
    becomes(&instance.write, "SELECT count(*) FROM command WHERE id = 'large' AND status = 'completed'", 1)
        .await;
    what_no_topic_of_ours_takes_is_found_at_its_source(&instance, &commands).await;
    process.stops().await;
    what_cannot_be_fetched_is_a_dead_letter_of_its_place(&instance, &commands, &events).await;
}

fn of_customer(i: usize) -> String {
    let cart = json!({"cart_id": format!("cart-{i}"), "customer_id": customer(i), "currency": "USD"});
    command("CreateCart", i, cart)
}

/// An operator lets the topics of copies take less than their source does.
async fn what_no_topic_of_ours_takes_is_found_at_its_source(instance: &Instance, commands: &str) {
    for copies in ["retry.1", "retry.2", "dlq"] {
        let copies = format!("{commands}.{}.{copies}", instance.group("commands"));
        kafka::set_topic(&copies, "max.message.bytes", "100000").await;
    }
    let huge = [Raw::value(random(200_000)), cart_of("huge", &customer(3), 200_000).await];
    kafka::produce_as(commands, Some(0), &huge, &[ROOMY]).await;
    becomes(&instance.write, DEAD, 7).await;
    let garbage = dlq(instance, &["list", "--group", "commands", "--code", "undecodable", "--limit", "1"])
        .await[0]["id"]
        .clone();
    let garbage = garbage.as_str().expect("the newest letter");
    let shown = dlq(instance, &["show", garbage]).await;
    assert!(shown["bytes"].as_str().is_some_and(|bytes| bytes.starts_with("0x01")), "{shown}");
    instance.send(&[register(3)]).await;
    instance.settle().await;
    dlq(instance, &["redrive", "--code", "reference-not-found", "--why", "the customer is there"]).await;
    becomes(&instance.write, "SELECT count(*) FROM command WHERE id = 'huge' AND status = 'completed'", 1)
        .await;
    kafka::delete_records(commands, &[0], None).await;
    let shown = dlq(instance, &["show", garbage]).await;
    assert!(shown["no_record"].as_str().is_some_and(|reason| reason.contains("lost")), "{shown}");
}

/// Batches that are small as Kafka has them, and unpack to more than our clients take.
async fn what_cannot_be_fetched_is_a_dead_letter_of_its_place(
    instance: &Instance,
    commands: &str,
    events: &str,
) {
    let bomb = Raw::value(vec![0; 40_000_000]);
    instance.send(&[register(4)]).await;
    kafka::produce(commands, Some(0), &[cart_of("before", &customer(2), 0).await]).await;
    let neighbours = [cart_of("inside", &customer(2), 0).await, bomb.clone(), Raw::value("?")];
    kafka::produce_packed(commands, 0, &neighbours).await;
    kafka::produce_packed(commands, 0, slice::from_ref(&bomb)).await;
    kafka::produce(commands, Some(0), &[cart_of("behind", &customer(4), 0).await]).await;
    kafka::produce_packed(events, 0, slice::from_ref(&bomb)).await;
    they_are_told_before_they_are_read(instance).await;
    let process = instance.start();
    becomes(&instance.write, UNFETCHABLE, 4).await;
    becomes(&instance.read, UNFETCHABLE, 3).await;
    becomes(&instance.write, "SELECT count(*) FROM command WHERE status || code = 'deadunfetchable'", 4)
        .await;
    let decided = "SELECT count(*) FROM command WHERE id IN ('before', 'behind') AND status = 'completed'";
    becomes(&instance.write, decided, 2).await;
    a_copy_is_read_behind_one_that_cannot_be(instance, commands, &bomb).await;
    let id = dlq(instance, &["list", "--code", "unfetchable", "--limit", "1"]).await[0]["id"].clone();
    let shown = dlq(instance, &["show", id.as_str().expect("an id")]).await;
    assert!(shown["no_record"].as_str().is_some_and(|why| why.contains("cannot be fetched")), "{shown}");
    instance.millrace(&["verify"]).await.expect_success();
    instance.settle().await;
    let peak = process.memory_peak_mb();
    assert!(peak < MEMORY_MAX_MB, "{peak} MB resident at the most");
}

async fn they_are_told_before_they_are_read(instance: &Instance) {
    let status = instance.millrace(&["status"]).await;
    assert!(status.stdout.contains("which cannot be fetched"), "{}", status.stdout);
    let receipt = instance.millrace(&["receipt", "behind", "--format", "json"]).await;
    assert_eq!(receipt.expect_success().json()[0]["status"], "pending");
}

/// On a retry topic, too, the records behind it are read. A record without bytes wakes no blocking record.
async fn a_copy_is_read_behind_one_that_cannot_be(instance: &Instance, commands: &str, bomb: &Raw) {
    let copies = format!("{commands}.{}.retry.1", instance.group("commands"));
    kafka::produce_packed(&copies, 0, slice::from_ref(bomb)).await;
    kafka::produce(commands, Some(0), &[cart_of("waits", &customer(5), 0).await]).await;
    becomes(&instance.write, "SELECT count(*) FROM blocked_key", 1).await;
    instance.send(&[register(5)]).await;
    let decided = "SELECT count(*) FROM command WHERE id = 'waits' AND status = 'completed'";
    becomes(&instance.write, decided, 1).await;
}
