//! Records as large as a broker takes: with our headers they are larger still, and are buried all the same.

use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, Raw, becomes, kafka};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

const CONTEXTS: &str = r#"["carts", "catalog", "customers"]"#;
/// A producer that leaves it to the broker what is too large.
const ROOMY: (&str, &str) = ("message.max.bytes", "50000000");
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
    let packed = [Raw::value(vec![1; 20_000_000]).key("packed")];
    kafka::produce_as(topic, Some(0), &packed, &[ROOMY, ("compression.type", "zstd")]).await;
    plain.into_iter().chain(packed).collect()
}

fn are_buried(instance: &Instance, topic: &str, role: &str, all: &[Raw]) {
    let letters = instance.kafka.all(&format!("{topic}.{}.dlq", instance.group(role)));
    assert_eq!(letters.len(), all.len(), "each of {topic} is buried once by {role}");
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
async fn whatever_size_kafka_takes_is_buried_and_its_neighbours_go_on() {
    let _turn = beside_others().await;
    let instance = instance_with("sizes", &[("contexts", CONTEXTS)]).await;
    let _process = instance.start();
    let (commands, events) = (instance.topic("cmd", "carts"), instance.topic("evt", "carts"));
    let buried = fill(&commands).await;
    fill(&events).await;
    // A command that fails for a while, as large as its topic takes: it waits on retry topics.
    kafka::produce_as(&commands, Some(0), &[cart_of("large", &customer(1), 1_040_000).await], &[ROOMY]).await;
    instance.send(&[register(2), of_customer(2)]).await;
    becomes(&instance.write, DEAD, 6).await;
    becomes(&instance.read, "SELECT count(*) FROM dead_letter WHERE grp LIKE '%.carts'", 5).await;
    instance.settle().await;
    are_buried(&instance, &events, "carts", &buried);
    let large = cart_of("large", &customer(1), 1_040_000).await;
    are_buried(&instance, &commands, "commands", &[buried, vec![large]].concat());
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
}

fn of_customer(i: usize) -> String {
    let cart = json!({"cart_id": format!("cart-{i}"), "customer_id": customer(i), "currency": "USD"});
    command("CreateCart", i, cart)
}

/// Somebody lets the topics of copies take less than their source does.
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
    assert!(shown["no_record"].as_str().is_some_and(|reason| reason.contains("gone")), "{shown}");
}
