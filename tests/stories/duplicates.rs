//! Kafka and its clients may deliver any record twice. It is applied once.

use millrace_schemas::{definition, frame, unframe};
use millrace_tests::load::{command_with_id, register};
use millrace_tests::{Instance, Load, Process, Raw, kafka};
use serde_json::{Value, json};

use crate::{beside_others, instance};

const SMALL: Load = Load { customers: 5, products: 5, orders: 20 };

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_arrives_again_changes_nothing() {
    let _turn = beside_others().await;
    let instance = instance("commands_again").await;
    let process = instance.start();
    instance.send(&SMALL.basics()).await;
    instance.settle().await;
    // Twice in the same batch, before it is decided.
    let orders = SMALL.slices(1).concat();
    instance.send(&[orders.clone(), orders.clone()].concat()).await;
    instance.settle().await;
    let before = instance.snapshot().await;
    assert_counted_once(&instance, SMALL.basics().len() + orders.len()).await;
    repeats_are_seen(&instance, &process, &orders).await;
    instance.snapshot().await.assert_same(&before);
    drop(process);
    let process = instance.start();
    repeats_are_seen(&instance, &process, &orders).await;
    instance.snapshot().await.assert_same(&before);
}

async fn repeats_are_seen(instance: &Instance, process: &Process, lines: &[String]) {
    let group = instance.group("commands");
    let labels = [("group", group.as_str())];
    let seen =
        process.metrics().await.map_or(0.0, |metrics| metrics.sum("millrace_duplicates_total", &labels));
    instance.send(lines).await;
    instance.settle().await;
    process.reports("millrace_duplicates_total", &labels, seen + lines.len() as f64).await;
}

async fn assert_counted_once(instance: &Instance, commands: usize) {
    let receipts = instance.count("SELECT count(*) FROM command").await;
    assert_eq!(receipts, Ok(i64::try_from(commands).unwrap()), "one receipt for each command");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_arrives_again_changes_nothing() {
    let _turn = beside_others().await;
    let instance = instance("events_again").await;
    let process = instance.start();
    instance.send(&SMALL.basics()).await;
    instance.settle().await;
    instance.send(&SMALL.slices(1).concat()).await;
    instance.settle().await;
    let before = instance.snapshot().await;
    let repeated = repeat_every_event(&instance).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(&before);
    let orders = instance.group("sales_daily");
    process.reports("millrace_duplicates_total", &[("group", &orders)], repeated as f64).await;
}

/// Writes every event once more, as Debezium may after a crash, and says how many of them are about orders.
async fn repeat_every_event(instance: &Instance) -> usize {
    let mut orders = 0;
    for context in &instance.contexts {
        let topic = instance.topic("evt", context);
        let events: Vec<Raw> = instance.kafka.all(&topic).into_iter().map(|event| event.raw).collect();
        kafka::produce(&topic, None, &events).await;
        if *context == "orders" {
            orders = events.len();
        }
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_in_other_bytes_changes_nothing_and_another_one_of_its_id_is_a_dead_letter() {
    let _turn = beside_others().await;
    let instance = instance("id_reused").await;
    let process = instance.start();
    instance.send(&[register(1)]).await;
    instance.settle().await;
    let before = instance.snapshot().await;
    let again = written_otherwise(&instance).await;
    kafka::produce(&instance.topic("cmd", "customers"), None, &again).await;
    let group = instance.group("commands");
    process.reports("millrace_duplicates_total", &[("group", &group)], again.len() as f64).await;
    let name_taken = json!({"customer_id": "customer-0001", "name": "Somebody else", "phone": "12345"});
    instance.send(&[command_with_id("RegisterCustomer-1", "RegisterCustomer", 1, name_taken)]).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(&before);
    let codes: Vec<String> =
        sqlx::query_scalar("SELECT code FROM dead_letter").fetch_all(&instance.write).await.unwrap();
    assert_eq!(codes, ["id-reused"]);
    let topic = format!("{}.{}.dlq", instance.topic("cmd", "customers"), instance.group("commands"));
    let letters = instance.kafka.all(&topic);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].raw.text("x-error-code"), Some("id-reused"));
    a_newer_schema_of_others_changes_nothing(&instance).await;
}

/// An upstream system has registered a later version under the subject: our own commands keep the id of our own schema, and
/// theirs are read.
async fn a_newer_schema_of_others_changes_nothing(instance: &Instance) {
    let topic = instance.topic("cmd", "customers");
    let id = |record: &Raw| unframe(record.value.as_deref().expect("a value")).expect("a frame").0;
    let ours = id(&instance.kafka.all(&topic)[0].raw);
    let contract = definition("RegisterCustomer").expect("the contract");
    let mut newer: Value = serde_json::from_str(contract.avsc).expect("a schema");
    let added = json!({"name": "loyalty", "type": ["null", "string"], "default": null});
    newer["fields"].as_array_mut().expect("fields").push(added);
    let newer = kafka::register_schema(contract.full_name, &newer).await;
    assert_ne!(newer, ours);
    instance.millrace(&["setup"]).await.expect_success();
    instance.send(&[register(2)]).await;
    let data = json!({"customer_id": "customer-0003", "name": "Customer 3", "phone": "12345"});
    let third = Raw::command("theirs", "RegisterCustomer", &data).await;
    assert_eq!(id(&third), ours);
    let body = unframe(third.value.as_deref().expect("a value")).expect("a frame").1;
    let theirs = Raw { value: Some(frame(newer, &[body, &[0]].concat())), ..third.clone() };
    kafka::produce(&topic, None, &[theirs]).await;
    instance.settle().await;
    let sent = instance.kafka.all(&topic);
    let second = sent.iter().find(|sent| sent.raw.text("ce_id") == Some("RegisterCustomer-2")).expect("ours");
    assert_eq!(id(&second.raw), ours);
    let completed = "SELECT count(*) FROM command WHERE status = 'completed'";
    assert_eq!(instance.count(completed).await, Ok(3));
}

/// The first customer's registration, written with a schema that lacks what has a default there, and with its identity in
/// the quotes of JSON.
async fn written_otherwise(instance: &Instance) -> [Raw; 2] {
    let text = |name: &str| json!({"name": name, "type": "string"});
    let maybe = |name: &str| json!({"name": name, "type": ["null", "string"], "default": null});
    let older = json!({
        "type": "record", "name": "RegisterCustomer", "namespace": "millrace.customers",
        "fields": [text("customer_id"), text("name"), maybe("email"), maybe("city"), maybe("country")],
    });
    let older = kafka::register_schema("stories.OlderRegisterCustomer", &older).await;
    let texts = ["customer-0001", "Customer 1", "c1@example.com", "Berlin", "Germany"];
    let written = |(place, text): (usize, &str)| {
        let there: &[u8] = if place < 2 { &[] } else { &[2] };
        [there, &[u8::try_from(2 * text.len()).expect("a short text")], text.as_bytes()].concat()
    };
    let body: Vec<u8> = texts.into_iter().enumerate().flat_map(written).collect();
    let first = instance.kafka.all(&instance.topic("cmd", "customers")).swap_remove(0).raw;
    let by_an_older_producer = Raw { value: Some(frame(older, &body)), ..first.clone() };
    let mut in_quotes = first;
    let is_identity = |name: &[u8]| name == b"ce_id" || name == b"ce_source";
    for (_, value) in in_quotes.headers.iter_mut().filter(|(name, _)| is_identity(name)) {
        let text = String::from_utf8(value.take().expect("an identity")).expect("text");
        *value = Some(format!("\"{text}\"").into_bytes());
    }
    [by_an_older_producer, in_quotes]
}
