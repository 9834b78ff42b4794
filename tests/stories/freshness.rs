//! Readers see how far each view is, and when it has applied an event; a rebuild changes when, and nothing else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_tests::Instance;
use millrace_tests::instance::pool;
use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use serde_json::json;
use sqlx::PgPool;

use crate::{beside_others, instance};

/// As on the page.
const ASKED: &str =
    "SELECT view, version, applied_at FROM freshness WHERE context = 'orders' AND stream = $1";
const REBUILD: [&str; 4] = ["replay", "orders", "--to-earliest", "--execute"];

/// Version and time by view.
type Fresh = BTreeMap<String, (i64, DateTime<Utc>)>;

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_when_each_view_has_applied_an_event_and_a_rebuild_is_equal() {
    let _turn = beside_others().await;
    let instance = instance("freshness").await;
    let readers = pool("READER_DATABASE_URL", &instance.name);
    let _process = instance.start();
    instance.send(&[register(1), add_product(1)]).await;
    instance.settle().await;
    let before = now(&instance).await;
    instance.send(&[1, 2].map(|number| place(number, &customer(1), &product(1)))).await;
    instance.settle().await;
    let first = fresh(&readers, 1).await;
    assert!(first.len() > 1 && first.contains_key("orders"), "every view that reads orders: {first:?}");
    let now = now(&instance).await;
    for (view, (version, at)) in &first {
        assert!((*version, before < *at, *at < now) == (1, true, true), "{view}: {version}, {at}");
    }
    only_the_stream_of_a_later_event_moves_on(&instance, &readers, &first).await;
    a_rebuild_is_equal_and_later(&instance, &readers).await;
    readers_see_nothing_else(&readers).await;
}

async fn now(instance: &Instance) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&instance.read).await.expect("the time")
}

/// What readers see of an order.
async fn fresh(readers: &PgPool, number: usize) -> Fresh {
    let rows = sqlx::query_as(ASKED).bind(order(number)).fetch_all(readers).await.expect("freshness");
    rows.into_iter().map(|(view, version, at): (String, i64, DateTime<Utc>)| (view, (version, at))).collect()
}

async fn only_the_stream_of_a_later_event_moves_on(instance: &Instance, readers: &PgPool, first: &Fresh) {
    let other = fresh(readers, 2).await;
    instance.send(&[command("ConfirmOrder", 9, json!({"order_id": order(1)}))]).await;
    instance.settle().await;
    let second = fresh(readers, 1).await;
    assert!(second.keys().eq(first.keys()), "{second:?}");
    for (view, (version, at)) in &second {
        assert!((*version, *at > first[view].1) == (2, true), "{view}: {version}, {at} after {first:?}");
    }
    assert_eq!(fresh(readers, 2).await, other);
    let traced = instance.millrace(&["trace", "ConfirmOrder-9", "--format", "json"]).await;
    let traced = traced.expect_success().json();
    let views = traced["views"].as_array().expect("views").iter().filter(|view| !view["applied"].is_null());
    let times = views.map(|view| {
        let at = view["applied_at"].as_str().map(DateTime::parse_from_rfc3339).expect("a time");
        (view["view"].as_str().expect("a name"), at.expect("RFC 3339").timestamp_millis())
    });
    let told: BTreeMap<&str, i64> = times.collect();
    let seen = second.iter().map(|(view, (_, at))| (view.as_str(), at.timestamp_millis()));
    assert_eq!(told, seen.collect(), "what `millrace trace` shows");
}

async fn a_rebuild_is_equal_and_later(instance: &Instance, readers: &PgPool) {
    let before = fresh(readers, 1).await;
    let swapped = instance.millrace(&REBUILD).await;
    let told = &swapped.expect_success().stdout;
    assert!(told.contains("generation 2 swapped; equal"), "{told}");
    let mut after = fresh(readers, 1).await;
    let rebuilt = after.remove("orders").expect("the view");
    assert!(rebuilt.0 == 2 && rebuilt.1 > before["orders"].1, "{rebuilt:?} after {before:?}");
    assert!(after.iter().all(|(view, fresh)| before[view] == *fresh), "the others are as before: {after:?}");
    instance.millrace(&["verify"]).await.expect_success();
}

async fn readers_see_nothing_else(readers: &PgPool) {
    let refused = sqlx::query("SELECT FROM progress").execute(readers).await.expect_err("a refusal");
    let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    assert_eq!(code.as_deref(), Some("42501"), "insufficient_privilege: {refused}");
}
