//! Joint batches: groups that share a transaction do not depend on each other.

use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_tests::load::{add_product, customer, receive, register};
use millrace_tests::{Instance, Process, becomes, eventually};

use crate::fulfilment::{place, shop};
use crate::{beside_others, instance_with};

const MANY: usize = 60;
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE code = 'refused-by-database' AND status = 'dead'";
const CUSTOMERS: &str = "SELECT count(*) FROM customers";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_record_is_refused_leaves_and_the_others_go_on_in_one_transaction() {
    let _turn = beside_others().await;
    let instance = instance_with("joint", &[("retries.delays", "[100ms]")]).await;
    instance.refuse_unless("customers_g1", &format!("customer_id <> '{}'", customer(MANY / 2))).await;
    let mut process = instance.start();
    until_shared(&instance, &process, "read", |i| vec![add_product(i), receive(i)]).await;
    instance.send(&(0..MANY).map(register).collect::<Vec<_>>()).await;
    becomes(&instance.read, DEAD, 1).await;
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY - 1).expect("a few")).await;
    has_left(&process, &instance.group("customers")).await;
    instance.refuse_no_more("customers_g1").await;
    instance
        .millrace(&["dlq", "redrive", "--group", "customers", "--why", "nothing is refused"])
        .await
        .expect_success();
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY).expect("a few")).await;
    instance.settle().await;
    // A process that shares all transactions again.
    process.stops().await;
    let process = instance.start();
    until_shared(&instance, &process, "read", |i| vec![add_product(i + MANY), receive(i + MANY)]).await;
    instance.settle().await;
    a_lock_of_one_view_delays_no_other(&instance, &process).await;
    instance.settle().await;
    instance.millrace(&["verify"]).await.expect_success();
}

async fn has_left(process: &Process, group: &str) {
    process.reports("millrace_batches_aborted_total", &[("group", group), ("why", "joint")], 1.0).await;
}

async fn a_lock_of_one_view_delays_no_other(instance: &Instance, process: &Process) {
    let before = instance.documents("events").await.len();
    let mut foreign = instance.read.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE customers_g1 IN EXCLUSIVE MODE").execute(&mut *foreign).await.expect("a lock");
    instance.send(&[register(MANY)]).await;
    eventually("the event is found", async || match instance.documents("events").await.len() {
        found if found == before + 1 => Ok(()),
        found => Err(format!("{found} after {before}")),
    })
    .await;
    has_left(process, &instance.group("customers")).await;
    let (events, metrics) = (instance.group("events"), process.metrics().await.expect("metrics"));
    let left = metrics.sum("millrace_batches_aborted_total", &[("group", &events), ("why", "joint")]);
    assert!(left < 1.0, "the other has not left");
    foreign.rollback().await.expect("a rollback");
    becomes(&instance.read, CUSTOMERS, i64::try_from(MANY + 1).expect("a few")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_and_effects_share_transactions_and_each_order_is_authorised_once() {
    let _turn = beside_others().await;
    let shop = shop("joint_write", &[], &[]).await;
    shop.stocked(1, &[1_000_000]).await;
    let process = shop.open();
    let orders =
        until_shared(&shop.instance, &process, "write", |order| vec![place(order, 1, &[(0, 1)])]).await;
    shop.rest().await;
    let authorised = shop.outside.entries().into_iter().filter(|entry| entry["kind"] == "authorisation");
    assert_eq!(authorised.count(), orders);
}

/// Sends commands until a transaction of the side has had several groups; returns how many times.
async fn until_shared(
    instance: &Instance,
    process: &Process,
    side: &str,
    commands: impl Fn(usize) -> Vec<String>,
) -> usize {
    let times = AtomicUsize::new(0);
    eventually("groups share a transaction", async || {
        instance.send(&commands(times.fetch_add(1, Ordering::Relaxed))).await;
        let metrics = process.metrics().await?;
        let of = |which: &str| metrics.sum(&format!("millrace_batch_groups_{which}"), &[("side", side)]);
        let [groups, transactions] = ["sum", "count"].map(of);
        if groups > transactions { Ok(()) } else { Err(format!("{groups} in {transactions}")) }
    })
    .await;
    times.into_inner()
}
