//! Commands under any Kafka key: their own key field decides their order, their retries and their redrive.

use millrace_tests::load::{customer, register};
use millrace_tests::{Instance, Raw, becomes, kafka};
use serde_json::json;
use sqlx::PgPool;

use crate::{beside_others, instance_with};

const SETTINGS: [(&str, &str); 2] =
    [("contexts", r#"["carts", "catalog", "customers"]"#), ("retries.delays", "[300ms, 2s, 2s, 2s]")];
/// Carts of the customer who comes; those of the others die meanwhile.
const RETRYING: &str = "SELECT count(*) FROM blocked_key
     WHERE status = 'retrying' AND convert_from(key, 'UTF8') NOT IN ('redriven', 'copied')";
const WAITING: &str =
    "SELECT count(*) FROM parked WHERE convert_from(key, 'UTF8') NOT IN ('redriven', 'copied')";
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";

/// Opens a cart and gives it up, both under this Kafka key.
async fn opened_and_abandoned(cart: &str, i: usize, key: Option<Vec<u8>>) -> [Raw; 2] {
    let create = json!({"cart_id": cart, "customer_id": customer(i), "currency": "USD"});
    let abandon = json!({"cart_id": cart, "reason": "changed their mind"});
    let create = Raw::command(&format!("create {cart}"), "CreateCart", &create).await;
    let abandon = Raw::command(&format!("abandon {cart}"), "AbandonCart", &abandon).await;
    [create, abandon].map(|raw| Raw { key: key.clone(), ..raw })
}

async fn texts(pool: &PgPool, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(pool).await.expect(sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_keep_the_order_of_their_own_key_under_whatever_key_they_come() {
    let _turn = beside_others().await;
    let instance = instance_with("keys", &SETTINGS).await;
    let process = instance.start();
    let topic = instance.topic("cmd", "carts");
    // The customers of these never come in time.
    for (cart, i) in [("redriven", 2), ("copied", 3)] {
        let [create, _] = opened_and_abandoned(cart, i, None).await;
        kafka::produce(&topic, Some(0), &[create]).await;
    }
    let keys = [
        ("none", None),
        ("long", Some(vec![b'k'; 1_100])),
        ("endless", Some(vec![b'k'; 100_000])),
        ("another's", Some(b"redriven".to_vec())),
    ];
    for (cart, key) in keys {
        kafka::produce(&topic, Some(0), &opened_and_abandoned(cart, 1, key).await).await;
    }
    let [create, abandon] = opened_and_abandoned("scattered", 1, Some(b"scattered".to_vec())).await;
    kafka::produce(&topic, Some(0), &[create]).await;
    becomes(&instance.write, RETRYING, 5).await;
    // The partition of another client's partitioner.
    kafka::produce(&topic, Some(1), &[abandon]).await;
    becomes(&instance.write, WAITING, 10).await;
    instance.send(&[register(1)]).await;
    let completed = "SELECT count(*) FROM command WHERE context = 'carts' AND status = 'completed'";
    becomes(&instance.write, completed, 10).await;
    becomes(&instance.write, DEAD, 2).await;
    process.reports("millrace_foreign_keys_total", &[("context", "carts")], 10.0).await;
    dead_letters_of_no_key_come_back(&instance, &topic).await;
    // Bytes and keys as they came, whatever they waited under.
    let letters = instance.kafka.all(&format!("{topic}.{}.dlq", instance.group("commands")));
    assert!(letters.iter().all(|letter| letter.raw.key.is_none()), "{letters:?}");
}

/// One by `dlq redrive`, one copied to its topic with Kafka's own means: then its letter is settled too.
async fn dead_letters_of_no_key_come_back(instance: &Instance, topic: &str) {
    let keys = "SELECT convert_from(key, 'UTF8') FROM dead_letter ORDER BY 1";
    assert_eq!(texts(&instance.write, keys).await, ["copied", "redriven"]);
    instance.send(&[register(2), register(3)]).await;
    instance.settle().await;
    let redrive = ["dlq", "redrive", "--key", "redriven", "--why", "the customer is there"];
    instance.millrace(&redrive).await.expect_success();
    let letters = instance.kafka.all(&format!("{topic}.{}.dlq", instance.group("commands")));
    let copy = letters.into_iter().find(|letter| letter.raw.text("ce_id") == Some("create copied"));
    kafka::produce(topic, Some(1), &[copy.expect("its letter").raw]).await;
    becomes(&instance.write, "SELECT count(*) FROM command WHERE status <> 'completed'", 0).await;
    becomes(&instance.write, DEAD, 0).await;
    assert_eq!(instance.count("SELECT count(*) FROM blocked_key").await, Ok(0));
}
