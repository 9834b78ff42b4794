//! Versions: an event's is its ticket, a row's counts its events wherever they come from.

use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::{Raw, becomes, kafka};
use serde_json::json;

use crate::{beside_others, instance};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_two_topics_touch_is_published_in_its_own_order() {
    let _turn = beside_others().await;
    let instance = instance("versions").await;
    let _process = instance.start();
    // Far along one topic, at the beginning of the other.
    let customers = 40;
    let mut commands: Vec<String> = (0..customers).map(register).collect();
    commands.push(add_product(1));
    instance.send(&commands).await;
    instance.settle().await;
    instance.send(&[place(1, &customer(customers - 1), &product(1))]).await;
    instance.settle().await;
    instance.assert_both_read_models_agree().await;
}

/// An event of the only customer, as Debezium would bring it.
async fn event(name: &str, version: u32, city: &str) -> Raw {
    let data = json!({
        "customer_id": customer(1), "name": "Customer 1", "contact_name": null, "email": "c1@example.com",
        "phone": null, "city": city, "country": "Germany",
    });
    let event = Raw::of(name, &data).await.header("ce_id", format!("{name}-{version}"));
    event.header("ce_sequence", version.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_arrives_before_its_predecessor_waits_for_it() {
    let _turn = beside_others().await;
    let instance = instance("early_event").await;
    let _process = instance.start();
    let topic = instance.topic("evt", "customers");
    kafka::produce(&topic, None, &[event("CustomerDetailsChanged", 2, "Bremen").await]).await;
    let waits = "SELECT count(*) FROM parked JOIN blocked_key USING (grp, topic, key) WHERE status = 'gap'";
    becomes(&instance.read, waits, 1).await;
    kafka::produce(&topic, None, &[event("CustomerRegistered", 1, "Berlin").await]).await;
    let folded = "SELECT count(*) FROM customers WHERE city = 'Bremen' AND version = 2";
    becomes(&instance.read, folded, 1).await;
    let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM parked WHERE drained_offset IS NULL");
    assert_eq!(waiting.fetch_one(&instance.read).await.expect("a count"), 0, "nothing waits any more");
}
