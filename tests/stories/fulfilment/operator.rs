//! What an operator sees and does.

use std::collections::BTreeSet;

use millrace_tests::load::order;
use millrace_tests::{Process, becomes};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::history::History;
use super::{Shop, place, shop};
use crate::beside_others;
use crate::replay::reset;

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_listed_shown_with_its_history_and_cancelled() {
    let _turn = beside_others().await;
    let shop = shop("operator", &[], &[]).await;
    shop.stocked(1, &[5]).await;
    let mut process = shop.instance.start_with(&["commands"], &[]);
    let mut sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    shop.instance.send(&[place(1, 1, &[(0, 2)])]).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga_step WHERE input = 'PaymentRequested'", 1).await;
    let listed = shop.instance.millrace(&["saga", "list", "--format", "json"]).await;
    let one = &listed.expect_success().json()[0];
    assert_eq!((&one["standing"], &one["stuck"]), (&"paying".into(), &serde_json::Value::Null));
    let id = format!("fulfilment/{}", order(1));
    let shown = shop.instance.millrace(&["saga", "show", &id]).await;
    shown
        .expect_success()
        .expect_told("StockReserved")
        .expect_told("RequestPayment")
        .expect_told("completed");
    shop.instance
        .millrace(&["saga", "list", "--stuck", "--stuck-after", "0s"])
        .await
        .expect_told("no step since");
    // Its payment waits for a provider that cannot be reached.
    let away = ["effect", "payment", "--set", "payment.url=http://127.0.0.1:1"];
    let mut effects = shop.instance.start_with(&away, &[]);
    becomes(&shop.instance.write, "SELECT count(*) FROM effect WHERE last_error IS NOT NULL", 1).await;
    effects.stops().await;
    let shown = shop.instance.millrace(&["saga", "show", &id]).await;
    shown.expect_success().expect_told("not made yet").expect_told("Connection refused");
    what_is_under_way_is_traced(&shop).await;
    let cancel = ["saga", "cancel", &id, "--why", "fraud", "--who", "ana"];
    shop.instance.millrace(&cancel).await.expect_success();
    shop.stands(1, "cancelled").await;
    shop.instance.millrace(&["saga", "cancel", &id, "--why", "again"]).await.expect_code(1);
    shop.instance.millrace(&["saga", "show", "fulfilment/nobody"]).await.expect_code(4);
    becomes(
        &shop.instance.write,
        "SELECT count(*) FROM audit WHERE action = 'saga cancel' AND who = 'ana'",
        1,
    )
    .await;
    process.stops().await;
    sagas.stops().await;
    let _process = shop.open();
    shop.rest().await;
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    what_has_ended_is_traced_from_any_of_its_ids(&shop).await;
}

/// What `millrace trace` shows as JSON, once it is settled.
async fn traced(shop: &Shop, id: &str) -> Value {
    shop.instance.millrace(&["trace", id, "--wait", "2m", "--format", "json"]).await.expect_success().json()
}

async fn what_is_under_way_is_traced(shop: &Shop) {
    let id = format!("orders/{}", order(1));
    let shown = shop.instance.millrace(&["trace", &id]).await;
    shown
        .expect_success()
        .expect_told("PlaceOrder")
        .expect_told("OrderPlaced")
        .expect_told(&format!("fulfilment/{}: paying", order(1)))
        .expect_told("Connection refused")
        .expect_told("0 of 1");
    let away = [("READ_DATABASE_URL", "postgres://millrace@127.0.0.1:1/millrace")];
    let shown = shop.instance.millrace_with(&["trace", &id], &away).await;
    shown.expect_success().expect_told("OrderPlaced").expect_told("the read database at");
    let waited = shop.instance.millrace(&["trace", &id, "--wait", "1s"]).await;
    waited.expect_code(1).expect_told("is not settled after 1 s");
}

/// Kind and id of each entry.
fn entries(traced: &Value) -> BTreeSet<(String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().expect(field).to_owned();
    let entries = traced["entries"].as_array().expect("entries").iter();
    entries.map(|entry| (text(entry, "kind"), text(entry, "id") + &entry["number"].to_string())).collect()
}

async fn what_has_ended_is_traced_from_any_of_its_ids(shop: &Shop) {
    let of_order = traced(shop, &format!("orders/{}", order(1))).await;
    let found = entries(&of_order);
    let count = |kind: &str| found.iter().filter(|(found, _)| found == kind).count() as i64;
    let write = async |sql| shop.instance.count(sql).await.expect("a count");
    assert_eq!(count("step"), write("SELECT count(*) FROM saga_step").await, "{of_order:#}");
    assert_eq!(count("call"), write("SELECT count(*) FROM effect WHERE context <> 'customers'").await);
    let events = "SELECT count(*) FROM outbox WHERE version IS NOT NULL AND aggregatetype <> 'customers'
                  AND type NOT LIKE '%ProductAdded' AND type NOT LIKE '%StockReceived'";
    assert_eq!(count("event"), write(events).await, "{of_order:#}");
    assert_eq!(of_order["audit"][0]["action"], "saga cancel");
    assert!(of_order["views"].as_array().expect("views").len() > 3, "{of_order:#}");
    // The same from the command that began it, and from its event, which the command does not follow from.
    let place = of_order["entries"][0]["id"].as_str().expect("an id");
    assert_eq!(of_order["entries"][0]["what"], "millrace.orders.PlaceOrder");
    assert_eq!(entries(&traced(shop, place).await), found);
    let placed = of_order["entries"].as_array().expect("entries");
    let placed =
        placed.iter().find(|entry| entry["what"] == "millrace.orders.OrderPlaced").expect("the event");
    assert_eq!(entries(&traced(shop, placed["id"].as_str().expect("an id")).await), found);
    assert_eq!(entries(&traced(shop, &order(1)).await), found, "the streams of all contexts with this id");
    shop.instance.millrace(&["trace", "nothing"]).await.expect_code(4).expect_told("neither a stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_stored_state_is_a_dead_letter_that_holds_up_only_its_own_instance() {
    let _turn = beside_others().await;
    let shop = shop("impossible", &[], &[]).await;
    shop.stocked(1, &[50]).await;
    let mut commands = shop.instance.start_with(&["commands"], &[]);
    let mut sagas = shop.instance.start_with(&["saga", "fulfilment"], &[]);
    shop.instance.send(&(0..4).map(|i| place(i, 1, &[(0, 1)])).collect::<Vec<_>>()).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga_step WHERE input = 'PaymentRequested'", 4).await;
    let break_one =
        "UPDATE saga SET state = replace(state::text, '\"quantity\": 1', '\"quantity\": -1')::json
                     WHERE instance = 'order-000001'";
    sqlx::query(break_one).execute(&shop.instance.write).await.expect("the broken state");
    commands.stops().await;
    sagas.stops().await;
    for sql in [
        "INSERT INTO deployed (release) VALUES (1000)",
        "UPDATE saga SET state_version = state_version + 1000 WHERE instance = 'order-000002'",
    ] {
        sqlx::query(sql).execute(&shop.instance.write).await.expect(sql);
    }
    let process = shop.open();
    what_a_later_release_has_stored_waits_for_it(&shop, &process).await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga WHERE standing = 'fulfilled'", 3).await;
    becomes(
        &shop.instance.write,
        "SELECT count(*) FROM dead_letter WHERE code = 'state-unreadable' AND message LIKE '%quantity%'",
        1,
    )
    .await;
    shop.instance.millrace(&["saga", "list", "--stuck"]).await.expect_told("dead letter");
    let mend = "UPDATE saga SET state = replace(state::text, '\"quantity\": -1', '\"quantity\": 1')::json";
    sqlx::query(mend).execute(&shop.instance.write).await.expect("the mended state");
    shop.instance
        .millrace(&["dlq", "redrive", "--code", "state-unreadable", "--why", "mended"])
        .await
        .expect_success();
    shop.rest().await;
    becomes(&shop.instance.write, "SELECT count(*) FROM saga WHERE standing = 'fulfilled'", 4).await;
    let late = shop
        .instance
        .millrace(&["saga", "cancel", &format!("fulfilment/{}", order(2)), "--why", "late"])
        .await;
    late.expect_code(1).expect_told("has ended (fulfilled)");
    becomes(&shop.instance.write, "SELECT count(*) FROM audit WHERE action = 'saga cancel'", 0).await;
    History::read(&shop.instance.write).await.assert_sound(&shop.outside);
    what_was_discarded_is_not_tried_again_after_a_reset(&shop, process).await;
}

/// Until it is as this release has it.
async fn what_a_later_release_has_stored_waits_for_it(shop: &Shop, process: &Process) {
    let group = shop.instance.group("fulfilment");
    process.reports("millrace_build_too_old", &[("group", &group)], 1.0).await;
    let dead = "SELECT count(*) FROM dead_letter WHERE message LIKE '%newer build%'";
    assert_eq!(shop.instance.count(dead).await, Ok(0));
    for sql in [
        "UPDATE saga SET state_version = state_version - 1000 WHERE state_version > 1000",
        "DELETE FROM deployed WHERE release = 1000",
    ] {
        sqlx::query(sql).execute(&shop.instance.write).await.expect(sql);
    }
}

/// The beginning of an instance, and the mails of another: Postgres refuses them for a while, and they are given up.
async fn what_was_discarded_is_not_tried_again_after_a_reset(shop: &Shop, mut process: Process) {
    let write = &shop.instance.write;
    for sql in [
        "ALTER TABLE saga ADD CONSTRAINT refused CHECK (instance <> 'order-000007') NOT VALID",
        "ALTER TABLE effect ADD CONSTRAINT refused CHECK (effect <> 'mail') NOT VALID",
    ] {
        sqlx::query(sql).execute(write).await.expect(sql);
    }
    shop.instance.send(&[place(7, 1, &[(0, 1)]), place(8, 1, &[(0, 1)])]).await;
    becomes(write, "SELECT count(*) FROM saga WHERE standing = 'fulfilled'", 5).await;
    let dead = "SELECT count(DISTINCT grp) FROM dead_letter WHERE status = 'dead'";
    becomes(write, dead, 2).await;
    becomes(write, "SELECT count(*) FROM blocked_key WHERE status = 'retrying'", 0).await;
    let discard = ["dlq", "discard", "--code", "refused-by-database", "--why", "not needed"];
    shop.instance.millrace(&discard).await.expect_success();
    shop.rest().await;
    let done = "SELECT (SELECT count(*) FROM saga) * 1000 + (SELECT count(*) FROM effect)";
    let before = shop.instance.count(done).await.expect("a count");
    process.stops().await;
    for (table, role) in [("saga", "fulfilment"), ("effect", "mail")] {
        let sql = format!("ALTER TABLE {table} DROP CONSTRAINT refused");
        sqlx::query(AssertSqlSafe(sql)).execute(write).await.expect("rows are taken again");
        reset(&shop.instance, role).await;
    }
    let process = shop.open();
    for role in ["fulfilment", "mail"] {
        process.reports("millrace_duplicates_total", &[("group", &shop.instance.group(role))], 1.0).await;
    }
    shop.rest().await;
    assert_eq!(shop.instance.count(done).await, Ok(before));
}
