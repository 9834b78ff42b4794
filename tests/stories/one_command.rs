//! One command from producer to documents; and one that is rejected.

use chrono::DateTime;
use millrace_tests::kafka::{murmur2, murmur2_partition};
use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, Raw};
use serde_json::{Value, json};

use crate::{beside_others, instance};

/// The values of Kafka's own `UtilsTest`.
#[test]
fn stories_hash_keys_as_java_does() {
    let known = [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
    for (key, hash) in known {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_becomes_an_event_a_row_and_a_document() {
    let _turn = beside_others().await;
    let instance = instance("one_command").await;
    let _process = instance.start();
    instance.send(&[over_several_lines(&register(7))]).await;
    instance.settle().await;
    the_event_says_where_it_comes_from(&instance);
    the_row_and_the_document_are_there(&instance).await;
    the_receipt_says_completed(&instance).await;
}

fn over_several_lines(command: &str) -> String {
    let command: Value = serde_json::from_str(command).expect("JSON");
    format!("{command:#}")
}

fn the_event_says_where_it_comes_from(instance: &Instance) {
    let events = instance.kafka.all(&instance.topic("evt", "customers"));
    assert_eq!(events.len(), 1);
    let (partition, event) = (events[0].partition, &events[0].raw);
    assert_eq!(event.key.as_deref(), Some(customer(7).as_bytes()));
    assert_eq!(partition, murmur2_partition(customer(7).as_bytes(), 2), "Java's partition for the key");
    assert_eq!(event.text("ce_type"), Some("millrace.customers.CustomerRegistered"));
    assert_eq!(event.text("ce_specversion"), Some("1.0"));
    assert_eq!(event.text("ce_sequence"), Some("1"));
    assert_eq!(event.text("causation-id"), Some("RegisterCustomer-7"));
    assert_eq!(event.text("correlation-id"), Some("talk-7"));
    assert!(event.text("ce_id").is_some_and(|id| id.len() == 36), "{event:?}");
    assert!(event.text("ce_source").is_some_and(|source| !source.is_empty()), "{event:?}");
    assert!(event.text("content-type").is_some_and(|kind| kind.contains("avro")), "{event:?}");
    let time = event.text("ce_time").map(DateTime::parse_from_rfc3339).expect("ce_time").expect("RFC 3339");
    assert_eq!(time.to_rfc3339(), "2024-01-01T00:00:07+00:00", "the command's time");
    the_trace_goes_on(event);
}

fn the_trace_goes_on(event: &Raw) {
    let trace = event.text("traceparent").expect("traceparent");
    assert!(trace.starts_with("00-00000000000000000000000000000008-"), "the command's trace: {trace}");
}

async fn the_row_and_the_document_are_there(instance: &Instance) {
    let row = sqlx::query_as::<_, (String, String, i64)>(
        "SELECT name, city, version FROM customers WHERE customer_id = $1",
    );
    let row = row.bind(customer(7)).fetch_one(&instance.read).await.expect("a row of the SQL view");
    assert_eq!(row, ("Customer 7".to_owned(), "Berlin".to_owned(), 1));
    let documents = instance.documents("customers").await;
    assert_eq!(documents.len(), 1);
    let document: Value = serde_json::from_str(&documents[0]).expect("JSON");
    assert_eq!((&document["_id"], &document["_version"]), (&json!(customer(7)), &json!(1)));
    assert_eq!(document["_source"]["name"], "Customer 7");
    assert_eq!(instance.documents("events").await.len(), 1);
    instance.assert_both_read_models_agree().await;
}

async fn the_receipt_says_completed(instance: &Instance) {
    let receipt = instance.millrace(&["receipt", "RegisterCustomer-7", "--format", "json"]).await;
    let text = receipt.expect_success().stdout.as_str();
    assert!(text.contains("\"completed\"") && text.contains(&customer(7)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_command_has_a_record_and_a_receipt_and_no_event() {
    let _turn = beside_others().await;
    let instance = instance("rejection").await;
    let _process = instance.start();
    let outcome = instance.send_and_wait(&[command("ConfirmOrder", 1, json!({"order_id": "nobody"}))]).await;
    outcome.expect_code(1);
    instance.settle().await;
    let rejections = instance.kafka.all(&instance.topic("rej", "orders"));
    assert_eq!(rejections.len(), 1);
    let rejection = &rejections[0].raw;
    assert_eq!(rejection.key.as_deref(), Some("nobody".as_bytes()));
    assert_eq!(rejection.text("ce_type"), Some("millrace.CommandRejected"));
    assert_eq!(rejection.text("causation-id"), Some("ConfirmOrder-1"));
    assert!(instance.kafka.all(&instance.topic("evt", "orders")).is_empty(), "nothing has happened");
    let receipt = instance.millrace(&["receipt", "ConfirmOrder-1", "--format", "json"]).await;
    let text = &receipt.stdout;
    assert!(text.contains("\"rejected\"") && text.contains("order-unknown"), "{text}");
}
