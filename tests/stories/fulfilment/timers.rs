//! Timers: an answer that never comes, one that comes too late, and one that is still on its way.

use millrace_tests::load::{command, customer, order};
use millrace_tests::locks::Foreign;
use millrace_tests::stack::connect;
use millrace_tests::{becomes, eventually};
use serde_json::json;

use super::history::{History, assert_nothing_is_left};
use super::{place, shop};
use crate::beside_others;

/// An order without an answer for this long is cancelled.
const DEADLINE: (&str, &str) = ("sagas.timers", r#"{"fulfilment.deadline" = "3s"}"#);

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_held_after_the_deadline_is_released_and_never_taken() {
    let _turn = beside_others().await;
    let slow = [DEADLINE, ("effects.call_timeout", "20s")];
    let shop = shop("late_hold", &slow, &["--latency-ms", "6000..6000"]).await;
    shop.stocked(1, &[5]).await;
    let _process = shop.open();
    shop.instance.send(&[place(1, 1, &[(0, 2)])]).await;
    shop.rest().await;
    let history = History::read(&shop.instance.write).await;
    history.assert_sound(&shop.outside);
    let found = &history.orders()[&order(1)];
    assert_eq!((found.cancelled, found.captured, found.refunded), (true, 0, 0));
    assert_eq!(shop.outside.entries().iter().filter(|entry| entry["status"] == "released").count(), 1);
    assert_nothing_is_left(&shop.instance.write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_whose_answer_comes_after_the_deadline_is_refunded() {
    let _turn = beside_others().await;
    let deadline = ("sagas.timers", r#"{"fulfilment.deadline" = "8s"}"#);
    let shop = shop("late_capture", &[deadline, ("effects.call_timeout", "20s")], &[]).await;
    shop.stocked(1, &[5]).await;
    let commands = shop.instance.start_with(&["commands"], &[]);
    let sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    // The second call, which captures, is made at once; what was answered is written when it is too late.
    let late = [("FAILPOINTS", "after-call=1*off->1*sleep(15000)->off")];
    let effects = shop.instance.start_with(&["effect", "payment"], &late);
    shop.instance.send(&[place(1, 1, &[(0, 2)])]).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM outbox WHERE type LIKE '%.PaymentRefunded'", 1).await;
    drop((commands, sagas, effects));
    let _process = shop.open();
    shop.rest().await;
    let history = History::read(&shop.instance.write).await;
    history.assert_sound(&shop.outside);
    let found = &history.orders()[&order(1)];
    assert_eq!((found.cancelled, found.captured, found.refunded), (true, 500, 500));
    assert_nothing_is_left(&shop.instance.write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_call_nobody_makes_is_cancelled_at_its_deadline_and_the_call_never_made() {
    let _turn = beside_others().await;
    let shop = shop("no_answer", &[DEADLINE], &[]).await;
    shop.stocked(1, &[5]).await;
    let commands = shop.instance.start_with(&["commands"], &[]);
    let sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    shop.instance.send(&[place(1, 1, &[(0, 2)])]).await;
    shop.stands(1, "cancelled").await;
    drop((commands, sagas));
    let _process = shop.open();
    shop.rest().await;
    let asked = shop.outside.entries().into_iter().filter(|entry| entry["kind"] == "authorisation").count();
    assert_eq!(asked, 0, "the call was withdrawn");
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_provider_turns_away_is_withdrawn_when_its_order_is_cancelled() {
    let _turn = beside_others().await;
    let shop = shop("turned_away", &[DEADLINE], &["--error", "100"]).await;
    shop.stocked(1, &[5]).await;
    let mut process = shop.open();
    // Nor does the mail server accept anything.
    let stop = command("StopNotifications", 0, json!({"customer_id": customer(0)}));
    shop.instance.send_and_wait(&[stop]).await.expect_success();
    shop.instance.send(&[place(1, 1, &[(0, 2)])]).await;
    shop.rest().await;
    assert_eq!(shop.standing(1).await, "cancelled");
    let withdrawn = "SELECT count(*) FROM effect WHERE status = 'withdrawn' AND attempts > 0";
    assert_eq!(shop.instance.count(withdrawn).await, Ok(1), "it was tried, and is not tried again");
    // The cancellation of another order comes while its call is being made.
    process.stops().await;
    let slow = [("FAILPOINTS", "after-call=sleep(8000)")];
    let _process = shop.instance.start_with(&[], &slow);
    shop.instance.send(&[place(2, 1, &[(0, 2)])]).await;
    shop.rest().await;
    assert_eq!(shop.standing(2).await, "cancelled");
    assert_eq!(shop.instance.count(withdrawn).await, Ok(2), "it is not tried again either");
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    assert_nothing_is_left(&shop.instance.write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_debezium_that_is_longer_than_the_deadline_cancels_nothing() {
    let _turn = beside_others().await;
    let deadline = ("sagas.timers", r#"{"fulfilment.deadline" = "30s"}"#);
    let shop = shop("late_cdc", &[deadline], &[]).await;
    shop.stocked(1, &[50]).await;
    let mut commands = shop.instance.start_with(&["commands"], &[]);
    let mut sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    shop.instance.send(&(0..5).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga_step WHERE input = 'PaymentRequested'", 5).await;
    let connector = format!("connectors/{}_outbox", shop.instance.name);
    connect(reqwest::Method::PUT, &format!("{connector}/pause")).await;
    eventually("the connector is paused", async || {
        let status = connect(reqwest::Method::GET, &format!("{connector}/status")).await;
        let state = status["tasks"][0]["state"].clone();
        if state == "PAUSED" { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
    let mut effects = shop.instance.start_with(&["effect", "payment"], &[]);
    sagas.reports("millrace_saga_timers_total", &[("outcome", "put-off")], 1.0).await;
    let held = "SELECT count(*) FROM outbox WHERE type = 'millrace.payments.AuthorisePayment'";
    assert_eq!(
        shop.instance.count(held).await,
        Ok(5),
        "the money is authorised, and no saga has received that"
    );
    connect(reqwest::Method::PUT, &format!("{connector}/resume")).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga WHERE standing = 'fulfilled'", 5).await;
    for process in [&mut commands, &mut sagas, &mut effects] {
        process.stops().await;
    }
}

/// Debezium has confirmed a place between an order's first command and the commit that sends it, and is gone since.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_carried_before_its_commit_is() {
    let _turn = beside_others().await;
    let shop = shop("commit_later", &[DEADLINE], &[]).await;
    let instance = &shop.instance;
    shop.stocked(1, &[5]).await;
    let commands = instance.start_with(&["commands"], &[]);
    instance.send(&[place(1, 1, &[(0, 2)])]).await;
    eventually("the order is on its topic", async || {
        let events = instance.kafka.all(&instance.topic("evt", "orders")).len();
        if events > 0 { Ok(()) } else { Err(events.to_string()) }
    })
    .await;
    let connector = format!("connectors/{}_outbox", instance.name);
    connect(reqwest::Method::PUT, &format!("{connector}/stop")).await;
    let (mut sagas, confirmed) = begin_between(&shop).await;
    let advance = "SELECT pg_replication_slot_advance($1 || '_outbox', $2::pg_lsn)";
    eventually("the slot is moved", async || {
        let advance = sqlx::query(advance).bind(&instance.name).bind(&confirmed);
        advance.execute(&instance.write).await.map_err(|error| error.to_string())
    })
    .await;
    // It stores what it has confirmed; moved by hand the slot may have dropped WAL that its older offset asks for.
    connect(reqwest::Method::DELETE, &format!("{connector}/offsets")).await;
    sagas.reports("millrace_saga_timers_total", &[("outcome", "put-off")], 1.0).await;
    assert_eq!(shop.standing(1).await, "reserving");
    sagas.stops().await;
    connect(reqwest::Method::PUT, &format!("{connector}/resume")).await;
    // How fast the rest is has nothing to do with it.
    let later = "UPDATE saga_timer SET due_at = now() + interval '1 hour'";
    sqlx::query(later).execute(&instance.write).await.expect("a timer");
    drop(commands);
    let _process = shop.open();
    shop.stands(1, "fulfilled").await;
}

/// Lets the saga begin its order, and returns where the WAL was after it had sent a command and before its commit.
async fn begin_between(shop: &super::Shop) -> (millrace_tests::Process, String) {
    let write = &shop.instance.write;
    let mut in_the_way = write.begin().await.expect("a transaction");
    let foreign = Foreign::of(&mut in_the_way).await;
    sqlx::query("LOCK TABLE saga_timer IN SHARE MODE").execute(&mut *in_the_way).await.expect("a lock");
    let sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    eventually("the saga is about to commit", async || {
        match foreign.is_waited_for(&shop.instance, write).await {
            0 => Err("nobody waits".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let between = "SELECT pg_current_wal_insert_lsn()::text";
    let between = sqlx::query_scalar(between).fetch_one(write).await.expect("a place in the WAL");
    in_the_way.commit().await.expect("the lock is free");
    becomes(write, "SELECT count(*) FROM saga WHERE standing = 'reserving'", 1).await;
    (sagas, between)
}
