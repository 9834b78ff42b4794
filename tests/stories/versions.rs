//! Versions: an event's is its place in the sequence, a row's counts its events wherever they come from.

use millrace_tests::load::{add_product, customer, place, product, register};
use millrace_tests::locks::Foreign;
use millrace_tests::{Instance, Raw, becomes, eventually, kafka};
use serde_json::json;
use sqlx::PgConnection;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_moves_to_another_partition_goes_on_there() {
    let _turn = beside_others().await;
    folds_beside_each_other("moved_stream", &[change(3, "Bonn").await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_from_two_partitions_is_folded_once() {
    let _turn = beside_others().await;
    folds_beside_each_other("two_places", &[change(2, "Bremen").await, change(3, "Bonn").await]).await;
}

async fn change(version: u32, city: &str) -> Raw {
    event("CustomerDetailsChanged", version, city).await
}

/// While one partition's batch is folding the second version of a stream, another partition brings these.
async fn folds_beside_each_other(story: &str, brought: &[Raw]) {
    let instance = instance(story).await;
    let _process = instance.start();
    let topic = instance.topic("evt", "customers");
    kafka::produce(&topic, Some(0), &[event("CustomerRegistered", 1, "Berlin").await]).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE version = 1", 1).await;
    let mut foreign = instance.read.begin().await.expect("a transaction");
    let row = sqlx::query("SELECT FROM customers_g1 FOR UPDATE");
    row.execute(&mut *foreign).await.expect("a lock");
    kafka::produce(&topic, Some(0), &[change(2, "Bremen").await]).await;
    batches_stand_still(&instance, &mut foreign, 1).await;
    kafka::produce(&topic, Some(1), brought).await;
    batches_stand_still(&instance, &mut foreign, 2).await;
    foreign.rollback().await.expect("a rollback");
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Bonn' AND version = 3", 1).await;
    let blocked = sqlx::query_scalar("SELECT count(*) FROM blocked_key").fetch_one(&instance.read).await;
    assert_eq!(blocked.ok(), Some(0_i64), "nothing waits any more");
}

/// Waits until so many batches wait for our lock, or for one that does, or have put aside what they brought.
async fn batches_stand_still(instance: &Instance, foreign: &mut PgConnection, batches: i64) {
    let foreign = Foreign::of(foreign).await;
    eventually(&format!("{batches} batches stand still"), async || {
        let waiting = foreign.is_waited_for(instance, &instance.read).await;
        let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM parked WHERE grp = $1")
            .bind(instance.group("customers"))
            .fetch_one(&instance.read)
            .await
            .map_err(|error| error.to_string())?;
        if waiting + parked == batches {
            Ok(())
        } else {
            Err(format!("{waiting} wait, {parked} are put aside"))
        }
    })
    .await;
}
