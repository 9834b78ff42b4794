//! Records that fail: tried again, in the order of their key, and dead letters that come back.

mod forged;
mod model;
mod world;

use millrace_tests::becomes;
use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use millrace_tests::{Instance, Load};
use serde_json::json;

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};
use world::Order;

/// How many random histories each model lives through; `STORY_SEEDS` says another number.
const SEEDS: u64 = 20;

fn seeds() -> u64 {
    std::env::var("STORY_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number of seeds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn versioned_keys_stay_in_order_through_faults_crashes_duplicates_and_gaps() {
    let _turn = beside_others().await;
    model::holds_for_all_seeds(Order::Version, seeds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_offset_order_stay_in_order_through_faults_crashes_and_duplicates() {
    let _turn = beside_others().await;
    model::holds_for_all_seeds(Order::Offset, seeds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_instances_of_sagas_receive_stays_in_order_through_faults_crashes_and_duplicates() {
    let _turn = beside_others().await;
    model::holds_for_all_seeds(Order::Instance, seeds()).await;
}

fn confirm(i: usize) -> String {
    command("ConfirmOrder", i, json!({"order_id": order(i)}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_before_its_customer_is_placed_once_the_customer_is_there_and_what_follows_it_waits() {
    let _turn = beside_others().await;
    let instance =
        instance_with("early", &[("retries.delays", "[300ms, 300ms, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]")]).await;
    let _process = instance.start();
    instance.send(&[add_product(1)]).await;
    instance.settle().await;
    instance.send(&[place(1, &customer(1), &product(1)), confirm(1)]).await;
    let tried_twice = "SELECT count(*) FROM blocked_key WHERE status = 'retrying' AND attempts >= 2";
    becomes(&instance.write, tried_twice, 1).await;
    let waiting = instance.count("SELECT count(*) FROM parked").await;
    assert_eq!(waiting, Ok(2), "the blocking record and what is behind it");
    instance.send(&[register(1), place(2, &customer(1), &product(1))]).await;
    instance.settle().await;
    let statuses: Vec<String> =
        sqlx::query_scalar("SELECT id || ' ' || status FROM command WHERE context = 'orders' ORDER BY id")
            .fetch_all(&instance.write)
            .await
            .unwrap();
    assert_eq!(statuses, ["ConfirmOrder-1 completed", "PlaceOrder-1 completed", "PlaceOrder-2 completed"]);
    assert_eq!(instance.count("SELECT count(*) FROM parked").await, Ok(0));
    assert_eq!(instance.count("SELECT count(*) FROM blocked_key").await, Ok(0));
    the_receipts_count_from_the_first_try(&instance).await;
}

/// Received before the customer was decided, who came only after two tries; what waited behind was tried once.
async fn the_receipts_count_from_the_first_try(instance: &Instance) {
    let receipts: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT id, received_at < (SELECT decided_at FROM command WHERE id = 'RegisterCustomer-1'), attempts > 2
         FROM command WHERE id IN ('PlaceOrder-1', 'ConfirmOrder-1') ORDER BY id",
    )
    .fetch_all(&instance.write)
    .await
    .expect("receipts");
    let expected = [("ConfirmOrder-1".to_owned(), true, false), ("PlaceOrder-1".to_owned(), true, true)];
    assert_eq!(receipts, expected);
}

/// Small batches, a short session, and so many retries that no order is given up while processes die.
const STORM: [(&str, &str); 6] = [
    ("processing.commands_batch_max", "20"),
    ("processing.events_batch_max", "40"),
    ("retries.delays", "[500ms, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];

const DEATHS: [(&str, u32); 4] =
    [("before-commit", 8), ("after-commit", 30), ("before-commit", 45), ("after-commit", 5)];

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_a_storm_of_retries_lose_nothing_and_decide_nothing_twice() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("storm", &STORM).await;
    let (orders, others): (Vec<String>, Vec<String>) =
        Load::STANDARD.placing().into_iter().partition(|line| line.contains("\"PlaceOrder\""));
    // Every order before its customer and its products.
    instance.send(&orders).await;
    for (moment, times) in DEATHS {
        let mut process = instance.start_doomed(&format!("{moment}={times}*off->return"));
        process.killed_by_failpoint(moment).await;
    }
    let waiting = instance.count("SELECT count(*) FROM blocked_key WHERE status = 'retrying'").await;
    assert!(waiting.is_ok_and(|keys| keys > 0), "it was in the middle of retries");
    let _process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    instance.send(&others).await;
    instance.settle().await;
    instance.send(&Load::STANDARD.fulfilling()).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
}
