//! The shared fetch: groups that have caught up fetch each record once together, and one that falls behind fetches on its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, Process, becomes, eventually};
use serde_json::json;

use crate::{beside_others, instance_with};

const MANY: usize = 50;
/// Events that together take more than the share of a group in the buffer, which is 1 MiB.
const TOO_MANY: usize = 1_500;
const CUSTOMERS: &str = "SELECT count(*) FROM customers";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_fetched_once_for_all_groups_and_one_that_falls_behind_delays_no_other() {
    let _turn = beside_others().await;
    let instance = instance_with("fetch", &[("processing.buffer", "1MiB")]).await;
    let mut process = instance.start();
    let sent = AtomicUsize::new(0);
    until_shared(&instance, &process, &sent).await;
    each_record_is_fetched_once(&instance, &process, &sent).await;
    a_view_that_is_held_back_delays_no_other(&instance, &process, &sent).await;
    until_shared(&instance, &process, &sent).await;
    each_record_is_fetched_once(&instance, &process, &sent).await;
    let all = i64::try_from(sent.into_inner()).expect("a few");
    becomes(&instance.read, CUSTOMERS, all).await;
    process.stops().await;
    instance.millrace(&["verify"]).await.expect_success();
}

/// Registers customers until no group has fetched a record of it with its own client.
async fn until_shared(instance: &Instance, process: &Process, sent: &AtomicUsize) {
    eventually("all groups share the fetch", async || {
        let before = fetched(process).await?;
        instance.send(&[register(sent.fetch_add(1, Ordering::Relaxed))]).await;
        instance.settle().await;
        match fetched(process).await? {
            [own, shared] if own == before[0] && shared > before[1] => Ok(()),
            after => Err(format!("{after:?} after {before:?}")),
        }
    })
    .await;
}

/// The records that own clients have fetched, and those of the shared one.
async fn fetched(process: &Process) -> Result<[f64; 2], String> {
    let metrics = process.metrics().await?;
    let of = |client| metrics.sum("millrace_records_fetched_total", &[("client", client)]);
    Ok(["group", "shared"].map(of))
}

async fn each_record_is_fetched_once(instance: &Instance, process: &Process, sent: &AtomicUsize) {
    let (before, written) = (fetched(process).await.expect("metrics"), written(instance));
    let from = sent.fetch_add(MANY, Ordering::Relaxed);
    instance.send(&(from..from + MANY).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    let after = fetched(process).await.expect("metrics");
    let more = self::written(instance) - written;
    assert_eq!((after[0] - before[0], after[1] - before[1]), (0.0, more as f64), "own and shared");
}

/// The records of the topics of customers.
fn written(instance: &Instance) -> i64 {
    let topics = ["cmd", "evt"].map(|kind| format!("{}.{kind}.customers.v1", instance.name));
    topics.iter().flat_map(|topic| instance.kafka.ends(topic).into_values()).sum()
}

/// Its group fills its buffer, leaves the shared fetch, and comes back.
async fn a_view_that_is_held_back_delays_no_other(
    instance: &Instance,
    process: &Process,
    sent: &AtomicUsize,
) {
    let before = fetched(process).await.expect("metrics");
    let events = instance.documents("events").await.len();
    let mut foreign = instance.read.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE customers_g1 IN EXCLUSIVE MODE").execute(&mut *foreign).await.expect("a lock");
    let known = sent.load(Ordering::Relaxed);
    let changes: Vec<String> = (0..TOO_MANY).map(|n| moves(n % known, n)).collect();
    instance.send(&changes).await;
    eventually("another view has all", async || match instance.documents("events").await.len() {
        found if found == events + TOO_MANY => Ok(()),
        found => Err(format!("{found} after {events}")),
    })
    .await;
    foreign.rollback().await.expect("a rollback");
    instance.settle().await;
    let after = fetched(process).await.expect("metrics");
    assert!(after[0] > before[0], "the group of the view has fetched on its own: {after:?} after {before:?}");
}

fn moves(i: usize, n: usize) -> String {
    let (customer_id, city) = (customer(i), format!("City {n}"));
    let data = json!({
        "customer_id": customer_id, "name": format!("Customer {i}"), "contact_name": null,
        "email": format!("c{i}@example.com"), "phone": null, "city": city, "country": "Germany",
    });
    command("ChangeCustomerDetails", n, data)
}
