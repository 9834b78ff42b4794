//! Joint batches: groups that share a transaction do not depend on each other.

use millrace_tests::becomes;
use millrace_tests::load::{customer, register};

use crate::{beside_others, instance_with};

const MANY: usize = 60;
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
    instance.settle().await;
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY - 1).expect("a few")).await;
    let metrics = process.metrics().await.expect("metrics");
    let [groups, transactions] =
        ["sum", "count"].map(|of| metrics.sum(&format!("millrace_batch_groups_{of}"), &[]));
    assert!(groups > transactions, "no transaction had several groups: {groups} in {transactions}");
    instance.refuse_no_more("customers_g1").await;
    instance.millrace(&["dlq", "redrive", "--group", "customers"]).await.expect_success();
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY).expect("a few")).await;
    instance.settle().await;
    instance.millrace(&["verify"]).await.expect_success();
}
