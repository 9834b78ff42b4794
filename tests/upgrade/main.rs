//! Builds of Millrace work on one instance, in turns and at once: that of the release before (`previous`), today's, and today's with
//! the changes of `next.patch`, as a next release could have them. `scripts/test upgrade` builds them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that cannot go on ends; what it expected is the message"
)]

mod arriving;
mod demo;
mod readers;
mod sagas;

use std::path::PathBuf;

use millrace_tests::instance::{Build, Workshop};
use millrace_tests::kafka::register_schema;
use millrace_tests::load::{command, place, register};
use millrace_tests::{Instance, Load, Process, Snapshot, becomes, eventually};
use serde_json::{Value, json};

use arriving::{Arriving, each_had_its_effect_once};
use readers::Readers;

const LOAD: Load = Load { customers: 40, products: 30, orders: 200 };
/// A short session, so that the others soon get the partitions of one that was killed.
const SETTINGS: [(&str, &str); 5] = [
    ("processing.commands_batch_max", "10"),
    ("processing.events_batch_max", "20"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];
/// Settings of the stories that the release before does not know.
const UNKNOWN: [&str; 1] = ["metrics.interval"];
/// The build of the next release plays a later one, which drops the former name.
const LATER: [(&str, &str); 1] = [("FAILPOINTS", "release=return(4)")];
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";
/// Views of these contexts that have another shape than in the release before. Rows of products have other columns; documents of some have further
/// fields ([`FURTHER`]).
const REBUILT: [&str; 9] = [
    "products",
    "orders",
    "customers",
    "customer_history",
    "carts",
    "revenue_daily",
    "customer_revenue_daily",
    "stock_movements_daily",
    "events",
];
const FURTHER: [&str; 2] = ["search", "event"];
/// Views that the release before does not have.
const NEW: [&str; 2] = ["customer_purchases", "sold_lines"];
/// Events that each release writes in a version of its own, with the fields that the release before does not know.
const WIDENED: [(&str, &[&str]); 2] =
    [("OrderPlaced", &["ship_to"]), ("OrderShipped", &["carrier", "tracking_number"])];
/// Further columns of orders.
const OF_ORDERS: [&str; 4] = ["carrier", "tracking_number", "delivered_at", "ship_to"];
/// What the release before does not publish, and further columns of it.
const UNPUBLISHED: [&str; 1] = ["stock_movements_daily"];
const OF_MOVEMENTS: [&str; 3] = ["day_id", "change", "change_days"];
/// Further columns of customers.
const OF_CUSTOMERS: [&str; 25] = [
    "addresses",
    "birth_date",
    "birth_date_reason",
    "last_transaction_at",
    "first_seen_at",
    "last_seen_at",
    "first_order_at",
    "order_interval",
    "order_means",
    "lifetime_value",
    "refunds",
    "carts_abandoned",
    "reviews",
    "rating_sum",
    "rating_hundredths",
    "campaign_messages",
    "campaign_messages_delivered",
    "campaign_messages_failed",
    "subscriptions_active",
    "subscriptions_paused",
    "subscriptions_lapsed",
    "subscriptions_cancelled",
    "subscriptions_stopped",
    // It reads more events.
    "version",
    "updated_at",
];
/// What the release before does not read.
const UNREAD: [(&str, &str); 4] = [
    ("customers", "campaigns"),
    ("customers", "carts"),
    ("customers", "reviews"),
    ("customers", "subscriptions"),
];
/// Commands with further fields: their fingerprint is one without these, and one with them.
const FURTHER_FIELDS: [&str; 2] = [".PlaceOrder\"", ".ShipOrder\""];
const SERVING: &str = "SELECT count(*) FROM replay WHERE generation = 2 AND state = 'serving'";

fn binary(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} names no binary: run `scripts/test upgrade`"))
        .into()
}

/// An instance that the release before has set up, and both builds.
async fn set_up(story: &str) -> (Instance, Build, Build) {
    set_up_with(story, &SETTINGS).await
}

async fn set_up_with(story: &str, settings: &[(&str, &str)]) -> (Instance, Build, Build) {
    let mut instance = Instance::without(workshop(), story, settings, &UNKNOWN).await;
    (instance.unread, instance.unpublished) = (&UNREAD, &UNPUBLISHED);
    let builds = ["MILLRACE_PREVIOUS", "MILLRACE_NEXT"].map(|variable| instance.build(&binary(variable)));
    let [previous, next] = builds;
    (instance, previous, next)
}

/// The release before is the one that sets up.
fn workshop() -> Workshop {
    let binary = binary("MILLRACE_PREVIOUS").to_str().expect("a path that is text").to_owned().leak();
    let simulator = env!("CARGO_BIN_EXE_simulator-under-test");
    Workshop { binary, simulator, folder: env!("CARGO_TARGET_TMPDIR") }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_replace_each_other_under_load_and_everything_has_its_effect_once() {
    let expected = of_the_release_before().await;
    let (instance, old, new) = set_up("upgrade").await;
    let mut a = old.start();
    instance.send(&LOAD.basics()).await;
    instance.settle().await;
    a_letter_of_the_release_before(&instance).await;
    let (readers, slices) = (Readers::of(&instance), LOAD.slices(5));
    instance.send(&slices[0]).await;
    new.millrace(&["setup"]).await.expect_success().expect_told("2 of products");
    old.millrace(&["setup"]).await.expect_code(1).expect_told("millrace setup --downgrade");
    old.millrace(&["verify"]).await.expect_told("build-too-old");

    let arriving = Arriving::of([&old, &new], 0);
    let mut b = new.start();
    killed_in_mid_load(&instance, &slices[1], &mut a).await;
    let mut a = old.start();
    killed_in_mid_load(&instance, &slices[2], &mut b).await;
    let mut b = new.start();
    killed_in_mid_load(&instance, &slices[3], &mut a).await;
    let a = old.start();
    instance.send(&slices[4]).await;
    becomes(&instance.read, SERVING, i64::try_from(REBUILT.len()).expect("a few")).await;
    let sent = arriving.ended().await;
    instance.settle().await;
    each_had_its_effect_once(&instance, sent).await;
    assert_same_but_for_products(&instance.snapshot().await, &expected);
    instance.assert_topics_carry_the_outbox(false).await;

    let arriving = Arriving::of([&old, &new], sent);
    letters_and_receipts_of_both(&instance, [&old, &new]).await;
    what_only_the_next_release_knows(&instance, &new, &a).await;
    drop(a);
    for view in REBUILT {
        new.millrace(&["replay", view, "--retire"]).await.expect_success();
    }
    let sent = arriving.ended().await;
    instance.settle().await;
    each_had_its_effect_once(&instance, sent).await;
    instance.assert_topics_carry_the_outbox(false).await;
    readers.found_nothing_wrong().await;
    new.millrace(&["verify"]).await.expect_success();
    b.stops().await;
    let process = there_and_back(&instance, &old, &new).await;
    a_column_is_renamed(&instance, [&old, &new], process).await;
}

/// What comes of the same load when only the release before works on it.
async fn of_the_release_before() -> Snapshot {
    let (instance, old, _) = set_up("before").await;
    let _process = old.start();
    instance.send(&LOAD.basics()).await;
    instance.settle().await;
    instance.send(&LOAD.slices(1).concat()).await;
    instance.settle().await;
    instance.snapshot().await
}

/// While commands arrive, and some of them are decided.
async fn killed_in_mid_load(instance: &Instance, slice: &[String], process: &mut Process) {
    let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
    let killed = async {
        instance.decided(before + 20).await;
        process.kill();
    };
    tokio::join!(instance.send(slice), killed);
}

/// Products have other columns, customers and orders further ones, some events further fields, generations other numbers, documents
/// further fields, two views are new, and a command is dead; everything else is as it was.
fn assert_same_but_for_products(found: &Snapshot, expected: &Snapshot) {
    let comparable = |snapshot: &Snapshot| {
        let mut parts = snapshot.0.clone();
        parts.retain(|part, _| {
            !part.ends_with(" products") && !NEW.iter().any(|view| part.ends_with(&format!(" {view}")))
        });
        let views: Vec<String> =
            REBUILT.iter().chain(&NEW).map(|view| format!("\"view\":\"{view}\"")).collect();
        let apart = ["PromoteProduct", arriving::MARK];
        let is_apart = |line: &str| {
            apart.iter().any(|mark| line.contains(mark)) || views.iter().any(|view| line.contains(view))
        };
        for (part, lines) in &mut parts {
            lines.retain(|line| !is_apart(line));
            if part.starts_with("elasticsearch") {
                lines.iter_mut().for_each(|line| *line = without(&FURTHER, line));
            }
            if part.ends_with(" customers") {
                lines.iter_mut().for_each(|line| *line = without(&OF_CUSTOMERS, line));
            }
            if part.ends_with(" orders") {
                lines.iter_mut().for_each(|line| *line = without(&OF_ORDERS, line));
            }
            if part.ends_with(" stock_movements_daily") {
                lines.iter_mut().for_each(|line| *line = without(&OF_MOVEMENTS, line));
            }
            if part.ends_with(" carts") {
                lines.iter_mut().for_each(|line| *line = without(&["short"], line));
            }
            lines.iter_mut().for_each(|line| *line = as_the_release_before_writes(part, line));
        }
        Snapshot(parts)
    };
    comparable(found).assert_same(&comparable(expected));
}

/// An event that both releases write, without its bytes and further fields; a command without a fingerprint of further fields; a customer's stream without its state, of which the
/// later release keeps more.
fn as_the_release_before_writes(part: &str, line: &str) -> String {
    let widened = WIDENED.iter().find(|(event, _)| line.contains(&format!(".{event}\"")));
    match (part, widened) {
        ("written outbox", Some(_)) => without(&["payload"], line),
        ("written command", _) if FURTHER_FIELDS.iter().any(|command| line.contains(command)) => {
            without(&["fingerprint"], line)
        }
        ("written stream", _) if line.starts_with(r#"{"context":"customers""#) => {
            without(&["state", "state_version"], line)
        }
        ("elasticsearch events", Some((_, further))) => {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            let data = line["_source"]["data"].as_object_mut().expect("fields");
            further.iter().for_each(|field| drop(data.shift_remove(*field)));
            line.to_string()
        }
        _ => line.to_owned(),
    }
}

/// A row or a document without fields that only the later release writes.
fn without(further: &[&str], line: &str) -> String {
    let mut line: Value = serde_json::from_str(line).expect("JSON");
    let fields = if line.get("_source").is_some() { &mut line["_source"] } else { &mut line };
    let fields = fields.as_object_mut().expect("fields");
    further.iter().for_each(|field| drop(fields.shift_remove(*field)));
    if further.contains(&"version") {
        line.as_object_mut().into_iter().for_each(|line| drop(line.shift_remove("_version")));
    }
    line.to_string()
}

/// The command is of the next release, and none is deployed yet: a dead letter.
async fn a_letter_of_the_release_before(instance: &Instance) {
    let new = instance.build(&binary("MILLRACE_NEXT"));
    // As a producer would that is early.
    register_schema("millrace.catalog.PromoteProduct", &promotion()).await;
    new.send(&[promote(1)]).await;
    becomes(&instance.write, DEAD, 1).await;
}

/// Each release redrives what the other has given up, and tells what the other has decided.
async fn letters_and_receipts_of_both(instance: &Instance, [old, new]: [&Build; 2]) {
    for build in [old, new] {
        build.millrace(&["receipt", "PlaceOrder-0"]).await.expect_success().expect_told("completed");
        build.millrace(&["receipt", "ConfirmOrder-1000017"]).await.expect_success().expect_told("rejected");
    }
    instance.send(&[place(900, "customer-0900", "product-0001")]).await;
    becomes(&instance.write, DEAD, 2).await;
    instance.send(&[register(900)]).await;
    let redrive = ["dlq", "redrive", "--code", "reference-not-found", "--why", "registered now"];
    eventually("the order has its customer", async || {
        old.millrace(&redrive).await;
        let dead = instance.count(DEAD).await?;
        if dead == 1 { Ok(()) } else { Err(dead.to_string()) }
    })
    .await;
    new.millrace(&["dlq", "redrive", "w1", "--why", "release 2 knows it"]).await.expect_success();
    becomes(&instance.read, "SELECT count(*) FROM products WHERE slogan = 'drink it'", 1).await;
    becomes(&instance.write, DEAD, 0).await;
}

/// A new command, event, field and column.
async fn what_only_the_next_release_knows(instance: &Instance, new: &Build, old: &Process) {
    let tea = json!({"product_id": "tea", "name": "Tea", "category": "Drinks", "price": 300, "currency": "EUR", "origin": "Millrace"});
    new.send(&[promote(2), promote(3)]).await;
    becomes(&instance.read, "SELECT count(*) FROM products WHERE slogan = 'drink it'", 3).await;
    // In the same partition: release 1 waits before it, and would leave the new field out of the event's document.
    new.send(&[command("AddProduct", 901, tea), place(901, "customer-0900", "tea")]).await;
    becomes(&instance.read, "SELECT count(*) FROM products WHERE origin = 'Millrace' AND price = 300", 1)
        .await;
    becomes(&instance.read, "SELECT count(*) FROM orders WHERE order_id = 'order-000901'", 1).await;
    becomes(&instance.read, DEAD, 0).await;
    becomes(&instance.write, DEAD, 0).await;
    eventually("the earlier process has met what it does not know", async || {
        let (_, text) = old.asked("readyz").await?;
        if text.contains("build-too-old") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// A release that is taken back, and comes again.
async fn there_and_back(instance: &Instance, old: &Build, new: &Build) -> Process {
    old.millrace(&["setup", "--downgrade"]).await.expect_success();
    new.millrace(&["setup"]).await.expect_success();
    let process = new.start();
    instance.send(&[register(902)]).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE customer_id = 'customer-0902'", 1).await;
    // By the next release alone; the one before has only written `why`.
    let renamed = "SELECT count(*) FROM audit WHERE reason = why";
    becomes(&instance.write, renamed, 1).await;
    process
}

/// A later release drops the former name: not while a process uses it, and no earlier build works on it afterwards.
async fn a_column_is_renamed(instance: &Instance, [old, new]: [&Build; 2], mut process: Process) {
    let later = new.with(&LATER);
    later.millrace(&["setup"]).await.expect_code(1).expect_told("processes of this instance are connected");
    process.stops().await;
    later.millrace(&["setup"]).await.expect_success().expect_told("reasons are renamed");
    let reasons =
        "SELECT count(DISTINCT reason) FROM audit WHERE reason IN ('registered now', 'release 2 knows it')";
    becomes(&instance.write, reasons, 2).await;
    for build in [old, new] {
        for command in [&["run"][..], &["setup"], &["setup", "--downgrade"]] {
            build.millrace(command).await.expect_code(1).expect_told("this build is too old");
        }
    }
    let _process = later.start();
    later.send(&[register(903)]).await;
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE customer_id = 'customer-0903'", 1).await;
    later.millrace(&["verify"]).await.expect_success();
}

/// The schema of a command that `next.patch` adds.
fn promotion() -> Value {
    json!({
        "type": "record",
        "name": "PromoteProduct",
        "namespace": "millrace.catalog",
        "doc": "Promotes a product.",
        "key": "product_id",
        "fields": [
            {"name": "product_id", "type": "string", "doc": "The product; also the stream id and the Kafka key."},
            {"name": "slogan", "type": "string", "doc": "What it is promoted with."},
        ],
    })
}

fn promote(i: usize) -> String {
    command("PromoteProduct", i, json!({"product_id": format!("product-{i:04}"), "slogan": "drink it"}))
}
