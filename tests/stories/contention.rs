//! Somebody else holds locks in the same tables.

use std::time::Duration;

use millrace_tests::load::{add_product, command, product, receive};
use millrace_tests::{Instance, Process, eventually};
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{beside_others, instance};

const LOCK: &str = "SELECT version FROM stream WHERE context = 'inventory' AND id = $1 FOR UPDATE";

async fn with_two_products(story: &str) -> (Instance, Process) {
    let instance = instance(story).await;
    let process = instance.start();
    instance.send(&[add_product(1), receive(1), add_product(2), receive(2)]).await;
    instance.settle().await;
    (instance, process)
}

fn reserve_both() -> String {
    let lines = [1, 2].map(|i| json!({"product_id": product(i), "quantity": 5}));
    command("ReserveStock", 1, json!({"reservation_id": "both", "lines": lines}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_a_foreign_session_is_tried_again() {
    let _turn = beside_others().await;
    let (instance, process) = with_two_products("deadlock").await;
    let mut foreign = instance.write.begin().await.expect("a transaction");
    lock(&mut foreign, 2).await;
    instance.send(&[reserve_both()]).await;
    // It holds the first product and waits for the second; we hold the second and now want the first. It has waited
    // longer, so it is the one that Postgres looks at first and ends.
    waits_for(&instance, &mut foreign).await;
    lock(&mut foreign, 1).await;
    foreign.rollback().await.expect("a rollback");
    instance.settle().await;
    set_back(&instance, &process, "contended").await;
    both_are_reserved_once(&instance).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_longer_than_a_transaction_may_last_is_waited_for() {
    let _turn = beside_others().await;
    let (instance, process) = with_two_products("long_lock").await;
    let mut foreign = instance.write.begin().await.expect("a transaction");
    lock(&mut foreign, 2).await;
    instance.send(&[reserve_both()]).await;
    waits_for(&instance, &mut foreign).await;
    set_back(&instance, &process, "outage").await;
    waits_for(&instance, &mut foreign).await;
    foreign.rollback().await.expect("a rollback");
    instance.settle().await;
    both_are_reserved_once(&instance).await;
}

async fn lock(foreign: &mut Transaction<'_, Postgres>, i: usize) {
    let locked = sqlx::query_scalar::<_, i64>(LOCK).bind(product(i)).fetch_one(&mut **foreign);
    // Within the second after which Postgres looks for deadlocks, or else it would be us who are ended.
    tokio::time::timeout(Duration::from_secs(30), locked).await.expect("a lock in time").expect("a lock");
}

/// Waits until a batch waits for a lock that the foreign session holds.
async fn waits_for(instance: &Instance, foreign: &mut PgConnection) {
    let holder: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(foreign).await.expect("our pid");
    eventually("a batch waits for our lock", async || {
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
        let blocked: i64 =
            sqlx::query_scalar(blocked).bind(holder).fetch_one(&instance.write).await.expect("sessions");
        if blocked > 0 { Ok(()) } else { Err("nobody waits".to_owned()) }
    })
    .await;
}

async fn set_back(instance: &Instance, process: &Process, why: &str) {
    let group = instance.group("commands");
    process.reports("millrace_setbacks_total", &[("group", &group), ("why", why)], 1.0).await;
}

async fn both_are_reserved_once(instance: &Instance) {
    let reserved = "SELECT count(*) FROM outbox WHERE type = 'millrace.inventory.StockReserved'";
    assert_eq!(instance.count(reserved).await, Ok(2));
    let dead = "SELECT count(*) FROM dead_letter";
    assert_eq!(instance.count(dead).await, Ok(0));
    let rows: Vec<i64> =
        sqlx::query_scalar("SELECT reserved FROM products").fetch_all(&instance.read).await.expect("rows");
    assert_eq!(rows, [5, 5]);
}
