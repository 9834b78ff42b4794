//! Orders on their way while processes of both releases run sagas and make calls.

use std::collections::BTreeMap;

use millrace_tests::load::{add_product, command, customer, order, product, register};
use millrace_tests::outside::Outside;
use millrace_tests::{Instance, becomes};
use serde_json::json;

use super::{DEAD, SETTINGS, set_up_with, workshop};

pub(super) const CONTEXTS: &str =
    r#"["carts", "catalog", "customers", "inventory", "notifications", "orders", "payments"]"#;
/// A provider that declines some, and does not answer some of what it has done.
const PROVIDER: [&str; 4] = ["--decline", "10", "--timeout-after-charge", "15"];
const CUSTOMERS: usize = 5;
const AT_ONCE: usize = 15;
const PRICE: i64 = 250;
const BASICS: &str = "SELECT count(*) FROM command WHERE status = 'completed'";
const ENDED: &str = "SELECT count(*) FROM saga WHERE saga = 'fulfilment' AND ended";
const STEPS: &str = "SELECT count(*) FROM saga_step WHERE saga = 'fulfilment'";
const OUTCOMES: &str =
    "SELECT aggregateid, count(*), bool_and(type LIKE '%.OrderConfirmed') FROM outbox
     WHERE aggregatetype = 'orders' AND (type LIKE '%.OrderConfirmed' OR type LIKE '%.OrderCancelled') GROUP BY 1";
const CALLS: &str = "SELECT count(*) FROM effect WHERE status IN ('waiting', 'calling')";

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_outcome_and_is_paid_once_whichever_release_works_on_it() {
    each_order_has_one_outcome("sagas", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_outcome_when_the_coordinator_assigns_the_partitions() {
    each_order_has_one_outcome("assigned", &[("kafka.properties", r#"{"group.protocol" = "consumer"}"#)])
        .await;
}

async fn each_order_has_one_outcome(story: &str, further: &[(&str, &str)]) {
    let outside = Outside::start(workshop(), story, &PROVIDER).await;
    let own = outside.settings();
    let own = own.iter().map(|(field, value)| (*field, value.as_str())).chain([("contexts", CONTEXTS)]);
    let settings: Vec<(&str, &str)> =
        SETTINGS.into_iter().chain(own).chain(further.iter().copied()).collect();
    let (instance, old, new) = set_up_with(story, &settings).await;
    let mut a = old.start();
    let basics: Vec<String> = (0..CUSTOMERS).map(register).chain([add_product(0), stock()]).collect();
    old.send(&basics).await;
    becomes(&instance.write, BASICS, i64::try_from(basics.len()).expect("a few")).await;

    old.send(&orders(0)).await;
    steps(&instance, 10).await;
    new.millrace(&["setup"]).await.expect_success();
    let mut b = new.start();
    new.send(&orders(1)).await;
    steps(&instance, 40).await;
    a.kill();
    let mut a = old.start();
    old.send(&orders(2)).await;
    steps(&instance, 80).await;
    b.kill();
    let mut b = new.start();
    new.send(&orders(3)).await;
    becomes(&instance.write, ENDED, i64::try_from(4 * AT_ONCE).expect("a few")).await;
    becomes(&instance.write, CALLS, 0).await;
    becomes(&instance.write, DEAD, 0).await;
    money_agrees(&instance, &outside).await;
    new.millrace(&["status", "--wait", "2m"]).await;
    new.millrace(&["verify"]).await.expect_success();
    a.stops().await;
    b.stops().await;
}

fn stock() -> String {
    command("ReceiveStock", 0, json!({"product_id": product(0), "quantity": 1_000}))
}

fn orders(slice: usize) -> Vec<String> {
    (slice * AT_ONCE..(slice + 1) * AT_ONCE).map(placed).collect()
}

fn placed(i: usize) -> String {
    let line = json!({"product_id": product(0), "quantity": 1, "unit_price": PRICE, "discount_bp": 0});
    let data = json!({
        "order_id": order(i), "customer_id": customer(i % CUSTOMERS), "placed_at": "2024-01-01T00:00:00Z",
        "currency": "USD", "lines": [line], "total": PRICE,
    });
    command("PlaceOrder", i, data)
}

async fn steps(instance: &Instance, at_least: i64) {
    millrace_tests::eventually(&format!("sagas have taken {at_least} steps"), async || {
        let steps = instance.count(STEPS).await?;
        if steps >= at_least { Ok(()) } else { Err(steps.to_string()) }
    })
    .await;
}

/// Each order is confirmed or cancelled, once; a confirmed one is captured once, and for any other no money is kept or held.
async fn money_agrees(instance: &Instance, outside: &Outside) {
    let outcomes: Vec<(String, i64, bool)> =
        sqlx::query_as(OUTCOMES).fetch_all(&instance.write).await.expect("outcomes");
    assert_eq!(outcomes.len(), 4 * AT_ONCE);
    let money: BTreeMap<String, (i64, i64)> = outside.money();
    for (order, times, is_confirmed) in outcomes {
        let (captured, refunded) = money.get(&order).copied().unwrap_or_default();
        assert_eq!(times, 1, "{order} has one outcome");
        assert!(captured <= PRICE, "{order} is captured once: {captured}");
        assert_eq!(captured - refunded, if is_confirmed { PRICE } else { 0 }, "{order}");
    }
    assert!(outside.held().is_empty(), "{:?}", outside.held());
}
