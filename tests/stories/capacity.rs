//! Many commands in flight.

use millrace_tests::link::{Link, State};
use millrace_tests::load::customer;
use millrace_tests::{Instance, Load, Process, Raw, becomes, eventually, kafka};
use serde_json::json;

use crate::{beside_others, instance_with};

const LARGE: Load = Load { customers: 400, products: 400, orders: 1_750 };
/// Every group may hold a whole batch of each partition at once.
const MEMORY_MAX_MB: f64 = 256.0;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_commands_in_flight_all_have_an_outcome_in_bounded_memory() {
    let _turn = beside_others().await;
    let defaults = [
        ("topics.partitions", "4"),
        ("processing.commands_batch_max", "2000"),
        ("processing.events_batch_max", "5000"),
    ];
    let instance = instance_with("ten_thousand", &defaults).await;
    let process = instance.start();
    let basics = LARGE.basics();
    instance.send_and_wait(&basics).await.expect_success();
    let commands = LARGE.slices(1).concat();
    assert!(basics.len() + commands.len() > 10_000, "{} + {}", basics.len(), commands.len());
    // 1 means that not every command was completed: some orders were never placed.
    instance.send_and_wait(&commands).await.expect_code(1);
    let sent = i64::try_from(basics.len() + commands.len()).unwrap();
    assert_eq!(instance.count("SELECT count(*) FROM command").await, Ok(sent), "every command has a receipt");
    assert_eq!(instance.count("SELECT count(*) FROM command WHERE status = 'dead'").await, Ok(0));
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
    let peak = process.memory_peak_mb();
    assert!(peak < MEMORY_MAX_MB, "{peak} MB resident at the most");
}

/// In bytes: Kafka takes no record of more than a mebibyte.
const LARGE_RECORD: usize = 900_000;
const LARGE_RECORDS: usize = 60;
/// Of each topic of events, so that every view has some at once.
const LARGE_EVENTS: usize = 10;
/// Of documents that Elasticsearch has not acknowledged, at the least while it is away: the bound is 32 MiB.
const DOCUMENTS: usize = 20 << 20;
/// What all groups hold together, at the least while none goes on: a group's own part has room for one large record, and the bound is
/// 40 MiB.
const RECORDS: usize = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn large_records_wait_for_postgres_and_pass_through_every_group_in_bounded_memory() {
    let _turn = beside_others().await;
    let contexts = json!(millrace_schemas::CONTEXTS).to_string();
    let instance = instance_with("large", &[("contexts", &contexts)]).await;
    let [link, elasticsearch] = [Link::to("READ_DATABASE_URL").await, Link::to("ELASTICSEARCH_URL").await];
    let process = instance.start_with(&[], &[link.variable(), elasticsearch.variable()]);
    every_view_is_ready(&instance, &process).await;
    link.becomes(State::Cut);
    for context in &instance.contexts {
        kafka::produce(&instance.topic("evt", context), None, &large(LARGE_EVENTS)).await;
    }
    process.reports("millrace_buffer_bytes", &[("what", "records")], RECORDS as f64).await;
    kafka::produce(&instance.topic("cmd", "orders"), None, &large(LARGE_RECORDS)).await;
    // While the views hold all that they can get.
    let commands = "SELECT count(*) FROM dead_letter WHERE grp LIKE '%.commands'";
    becomes(&instance.write, commands, LARGE_RECORDS as i64).await;
    link.becomes(State::Well);
    let topics: usize = instance.views().iter().map(|view| view.contexts.len()).sum();
    becomes(&instance.read, "SELECT count(*) FROM dead_letter", (topics * LARGE_EVENTS) as i64).await;
    let all = topics * LARGE_EVENTS * LARGE_RECORD;
    assert!(all > MEMORY_MAX_MB as usize * 1_000_000, "{all} bytes are more than fits");
    large_documents_wait_for_elasticsearch(&instance, &process, &elasticsearch).await;
    let peak = process.memory_peak_mb();
    println!("{peak} MB resident at the most");
    assert!(peak < MEMORY_MAX_MB, "{peak} MB resident at the most");
    eventually("nothing is held any more", async || {
        match process.metrics().await?.sum("millrace_buffer_bytes", &[]) {
            0.0 => Ok(()),
            held => Err(held.to_string()),
        }
    })
    .await;
}

/// Rows are committed as far as their documents have room in the buffer.
async fn large_documents_wait_for_elasticsearch(instance: &Instance, process: &Process, link: &Link) {
    link.becomes(State::Cut);
    let topic = instance.topic("evt", "customers");
    for i in 0..LARGE_RECORDS {
        let (id, name) = (customer(i), "n".repeat(LARGE_RECORD));
        let event = Raw::of("CustomerRegistered", &json!({"customer_id": id, "name": name})).await;
        kafka::produce(&topic, None, &[event.header("ce_id", id).header("ce_sequence", "1")]).await;
    }
    process.reports("millrace_buffer_bytes", &[("what", "documents")], DOCUMENTS as f64).await;
    link.becomes(State::Well);
    becomes(&instance.read, "SELECT count(*) FROM customers", LARGE_RECORDS as i64).await;
    instance.settle().await;
    for index in ["customers", "events"] {
        assert_eq!(instance.documents(index).await.len(), LARGE_RECORDS, "{index}");
    }
}

/// No Avro: each is a dead letter of every group that reads it, with the same bytes. They are large in their values, or in
/// their headers.
fn large(records: usize) -> Vec<Raw> {
    let header = || (b"h".to_vec(), Some(vec![b'x'; 1_000]));
    let of = |i: usize| match i % 2 {
        0 => Raw::value(vec![i as u8 | 1; LARGE_RECORD]),
        _ => Raw { headers: vec![header(); LARGE_RECORD / 1_000], ..Raw::value("x") },
    };
    (0..records).map(of).collect()
}

/// It has two partitions of every topic that it reads, and one of each of their two retry topics.
async fn every_view_is_ready(instance: &Instance, process: &Process) {
    for view in instance.views() {
        let group = format!("{}.{}", instance.name, view.name);
        let partitions = view.contexts.len() * (2 + 2);
        process.reports("millrace_partitions_assigned", &[("group", &group)], partitions as f64).await;
    }
}
