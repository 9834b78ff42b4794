//! Topics are enlarged while commands arrive: every key keeps the order in which it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_tests::kafka::{self, Sender};
use millrace_tests::load::{add_product, customer, product, register};
use millrace_tests::stack::connect;
use millrace_tests::{Instance, Raw, becomes};
use reqwest::Method;
use serde_json::json;

use crate::{beside_others, instance_with};

const SETTINGS: [(&str, &str); 5] = [
    ("contexts", r#"["carts", "catalog", "customers"]"#),
    ("processing.commands_batch_max", "10"),
    ("topics.growth_hold", "4s"),
    // Members learn soon of new partitions.
    ("kafka.properties", r#"{"topic.metadata.refresh.interval.ms" = "500"}"#),
    ("retries.delays", "[1s, 2s, 4s, 4s, 4s, 4s, 4s, 4s, 4s, 4s]"),
];
/// What a sender takes for its own metadata, well within the hold.
const REFRESHED: [(&str, &str); 1] = [("topic.metadata.refresh.interval.ms", "500")];
const PRODUCTS: usize = 8;
/// How often every product is renamed.
const A_TURN: Duration = Duration::from_millis(20);
/// Rounds that are sent once the sender knows the new partitions.
const ROUNDS_AFTER: usize = 30;
/// More than one transaction drains.
const CHANGES: i64 = 1_050;
const WAITING: &str = "SELECT count(*) FROM parked";
const HELD: &str = "SELECT count(*) FROM consumer_offset WHERE held_below IS NOT NULL";
const DECIDED_IN_NEW_ONES: &str =
    "SELECT sum(applied)::bigint FROM consumer_offset WHERE topic LIKE '%.cmd.catalog.%' AND partition >= 4";
/// What was decided of each stream, in its order.
const IN_ORDER: &str = "SELECT aggregateid, command_id FROM outbox
     WHERE version IS NOT NULL AND command_id LIKE 'turn %' ORDER BY aggregateid, version";

/// Sends renames of every product, all in turn, until the topic has been larger for a while. How many turns there were.
async fn renamed_until_larger(sender: &Sender, topic: &str, from: i32, mut turn: usize) -> usize {
    let (mut after, mut pace) = (0, tokio::time::interval(A_TURN));
    while after < ROUNDS_AFTER {
        pace.tick().await;
        turn += 1;
        let renamed = |i| {
            let data = json!({"product_id": product(i), "name": format!("Name {turn}")});
            (format!("turn {turn:06} of {i}"), data)
        };
        let records = Raw::commands("RenameProduct", (0..PRODUCTS).map(renamed)).await;
        let partitions = sender.send(topic, None, &records).await;
        after += usize::from(partitions.iter().any(|partition| *partition >= from));
    }
    turn
}

/// Changes of the cart `moved`, each to another quantity.
async fn changes(turns: std::ops::Range<i64>) -> Vec<Raw> {
    let changed = |turn| {
        let data = json!({"cart_id": "moved", "product_id": product(0), "quantity": turn + 2});
        (format!("turn {turn:06}"), data)
    };
    Raw::commands("ChangeCartQuantity", turns.map(changed)).await
}

/// A cart of a customer who is not there yet: all that is sent to it waits.
async fn cart_that_waits(instance: &Instance, sender: &Sender) {
    let create = json!({"cart_id": "moved", "customer_id": customer(1), "currency": "USD"});
    let add = json!({"cart_id": "moved", "product_id": product(0), "quantity": 1});
    let mut records = vec![
        Raw::command("create", "CreateCart", &create).await,
        Raw::command("add", "AddToCart", &add).await,
    ];
    records.extend(changes(0..CHANGES).await);
    sender.send(&instance.topic("cmd", "carts"), Some(0), &records).await;
    becomes(&instance.write, WAITING, CHANGES + 2).await;
}

async fn enlarge(instance: &Instance, partitions: i32) {
    let partitions = partitions.to_string();
    instance.millrace(&["setup", "--partitions", &partitions]).await.expect_success();
}

async fn expect_the_order_of_sending(instance: &Instance, turns: usize) {
    let rows = sqlx::query_as(IN_ORDER).fetch_all(&instance.write).await;
    let rows: Vec<(String, String)> = rows.expect("the outbox");
    let mut decided: BTreeMap<String, Vec<String>> = BTreeMap::new();
    rows.into_iter().for_each(|(stream, command)| decided.entry(stream).or_default().push(command));
    for (stream, commands) in &decided {
        assert!(commands.is_sorted(), "{stream} in the order of sending: {commands:?}");
    }
    let lengths: Vec<usize> = decided.values().map(Vec::len).collect();
    let (of_cart, of_products) = lengths.split_first().expect("streams");
    assert_eq!((*of_cart as i64, of_products), (CHANGES + 20, &[turns; PRODUCTS][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_grow_while_commands_arrive_and_every_key_keeps_the_order_of_sending() {
    let _turn = beside_others().await;
    let instance = instance_with("growth", &SETTINGS).await;
    let renames = instance.topic("cmd", "catalog");
    let sender = Sender::new(&REFRESHED);
    let mut process = instance.start();
    instance.send(&(0..PRODUCTS).map(add_product).collect::<Vec<_>>()).await;
    cart_that_waits(&instance, &sender).await;
    // A backlog in the old partitions, and the new ones are claimed together with them.
    process.stops().await;
    let (turns, ()) = tokio::join!(renamed_until_larger(&sender, &renames, 2, 0), enlarge(&instance, 4));
    let (carts, behind) = (instance.topic("cmd", "carts"), changes(CHANGES..CHANGES + 20).await);
    kafka::produce(&carts, Some(2), &behind).await;
    // Its producer learns of new partitions only after minutes, too.
    connect(Method::POST, &format!("connectors/{}_outbox/restart?includeTasks=true", instance.name)).await;
    let _processes = [instance.start(), instance.start()];
    becomes(&instance.write, WAITING, CHANGES + 22).await;
    instance.send(&[register(1)]).await;
    becomes(&instance.write, HELD, 0).await;
    // Once more, under two processes that go on.
    let (turns, ()) = tokio::join!(renamed_until_larger(&sender, &renames, 4, turns), enlarge(&instance, 8));
    instance.send(&[register(1)]).await;
    instance.settle().await;
    assert!(instance.count(DECIDED_IN_NEW_ONES).await.expect("offsets") > 0);
    let events = instance.kafka.ends(&instance.topic("evt", "catalog"));
    assert!(events[&2] + events[&3] > 0, "events of some keys have moved, too");
    expect_the_order_of_sending(&instance, turns).await;
    instance.millrace(&["verify"]).await.expect_success();
    setup_leaves_larger_topics_and_refuses_what_would_move_keys_among_the_old_ones(&instance).await;
}

async fn setup_leaves_larger_topics_and_refuses_what_would_move_keys_among_the_old_ones(instance: &Instance) {
    instance.millrace(&["setup"]).await.expect_success();
    let refused = instance.millrace(&["setup", "--partitions", "12"]).await;
    refused.expect_code(1).expect_told("a multiple of 8");
    let refused = instance.millrace(&["setup", "--set", "topics.partitions=16"]).await;
    refused.expect_code(1).expect_told("setup --partitions 16");
    let told = instance.millrace(&["setup", "--partitions", "16", "--dry-run"]).await;
    told.expect_success().expect_told("from 8 to 16 partitions");
    assert_eq!(instance.kafka.ends(&instance.topic("evt", "carts")).len(), 8);
}
