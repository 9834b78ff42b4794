//! Joint batches: groups that share a transaction do not depend on each other.

use millrace_tests::load::{customer, register};
use millrace_tests::{Process, becomes};

use crate::fulfilment::{place, shop};
use crate::{beside_others, instance_with};

const MANY: usize = 60;
const ORDERS: usize = 20;
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE code = 'refused-by-database' AND status = 'dead'";
const CUSTOMERS: &str = "SELECT count(*) FROM customers";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_record_is_refused_leaves_and_the_others_go_on_in_one_transaction() {
    let _turn = beside_others().await;
    let instance = instance_with("joint", &[("retries.delays", "[100ms]")]).await;
    instance.refuse_unless("customers_g1", &format!("customer_id <> '{}'", customer(MANY / 2))).await;
    let process = instance.start();
    instance.send(&(0..MANY).map(register).collect::<Vec<_>>()).await;
    becomes(&instance.read, DEAD, 1).await;
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY - 1).expect("a few")).await;
    share_transactions(&process, "read").await;
    let left = [("group", &*instance.group("customers")), ("why", "joint")];
    process.reports("millrace_batches_aborted_total", &left, 1.0).await;
    instance.refuse_no_more("customers_g1").await;
    instance.millrace(&["dlq", "redrive", "--group", "customers"]).await.expect_success();
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY).expect("a few")).await;
    instance.settle().await;
    instance.millrace(&["verify"]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_and_effects_share_transactions_and_each_order_is_authorised_once() {
    let _turn = beside_others().await;
    let shop = shop("joint_write", &[], &[]).await;
    shop.stocked(1, &[100]).await;
    let process = shop.open();
    let orders: Vec<String> = (1..=ORDERS).map(|order| place(order, 1, &[(0, 1)])).collect();
    shop.instance.send(&orders).await;
    shop.rest().await;
    share_transactions(&process, "write").await;
    let authorised = shop.outside.entries().into_iter().filter(|entry| entry["kind"] == "authorisation");
    assert_eq!(authorised.count(), ORDERS);
}

/// Some transaction of the side had several groups.
async fn share_transactions(process: &Process, side: &str) {
    let metrics = process.metrics().await.expect("metrics");
    let of = |which: &str| metrics.sum(&format!("millrace_batch_groups_{which}"), &[("side", side)]);
    let [groups, transactions] = ["sum", "count"].map(of);
    assert!(groups > transactions, "no transaction had several groups: {groups} in {transactions}");
}
