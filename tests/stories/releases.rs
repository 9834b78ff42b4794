//! Processes of two releases at once: records and data that only the later one knows wait for it.

use millrace_tests::load::{command, customer, register};
use millrace_tests::{Instance, Process, becomes, eventually};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::fulfilment::{place, shop};
use crate::{beside_others, instance_with};

/// A build of a later release than this one ever is.
pub(crate) const LATER: [(&str, &str); 1] = [("FAILPOINTS", "release=return(1002)")];
/// This release, as if the next one had a command and an event that it does not know.
pub(crate) const EARLIER: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "unknown-types=return(millrace.customers.TagCustomer millrace.customers.CustomerTagged)",
)];
const SETTINGS: [(&str, &str); 2] = [("contexts", r#"["customers"]"#), ("topics.partitions", "1")];
const DEAD: &str = "SELECT count(*) FROM dead_letter WHERE status = 'dead'";
const DECIDED: &str = "SELECT count(*) FROM command WHERE status = 'completed'";
const TAGGED: &str = "SELECT count(*) FROM customers WHERE tags::text LIKE '%seen%'";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_release_has_written_waits_for_it_and_is_no_dead_letter() {
    let _turn = beside_others().await;
    let instance = instance_with("releases", &SETTINGS).await;
    let old = instance.start_with(&[], &EARLIER);
    instance.send(&[register(0), tag(0), register(1)]).await;
    becomes(&instance.write, DECIDED, 2).await;
    becomes(&instance.write, DEAD, 1).await;

    instance.millrace_with(&["setup"], &LATER).await.expect_success().expect_told("release 1002");
    instance.send(&[register(2), tag(1), register(3)]).await;
    waits(&old, &instance.group("commands")).await;
    becomes(&instance.write, DECIDED, 3).await;
    instance.millrace(&["verify"]).await.expect_told("build-too-old: release 1002 is deployed");

    let mut new = instance.start_with(&[], &LATER);
    becomes(&instance.write, DECIDED, 5).await;
    becomes(&instance.read, TAGGED, 1).await;
    instance.settle().await;
    is_left(&old, &instance.group("commands")).await;
    becomes(&instance.write, DEAD, 1).await;
    becomes(&instance.read, DEAD, 0).await;
    instance
        .millrace_with(&["dlq", "redrive", "w1", "--why", "the later release knows it"], &LATER)
        .await
        .expect_success();
    becomes(&instance.read, TAGGED, 2).await;

    new.stops().await;
    instance.send(&[register(4)]).await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 5).await;
    a_state_of_a_later_version_is_left_as_it_is(&instance, &old).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace_with(&["verify"], &LATER).await.expect_success();
}

/// Only a later release can read it: its other requests are those of this build.
const STORED_BY_LATER: &str =
    "UPDATE effect SET request_version = 99, request = json_build_object('later', request), due_at = now()";
const READ_BY_LATER: &str = "UPDATE effect SET request = request->'later' WHERE request_version = 99";
const ATTEMPTS: &str = "SELECT attempts::bigint FROM effect WHERE request_version = 99";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_later_release_has_stored_is_left_to_it_and_costs_no_attempt() {
    let _turn = beside_others().await;
    let shop = shop("later_call", &[], &[]).await;
    shop.stocked(1, &[9]).await;
    let instance = &shop.instance;
    let _others =
        [["commands"].as_slice(), &["saga", "fulfilment"]].map(|role| instance.start_with(role, &[]));
    // Its provider cannot be reached.
    let away = ["effect", "payment", "--set", "payment.url=http://127.0.0.1:1"];
    let mut away = instance.start_with(&away, &[]);
    instance.send(&[place(1, 1, &[(0, 1)])]).await;
    becomes(&instance.write, "SELECT count(*) FROM effect WHERE last_error IS NOT NULL", 1).await;
    away.stops().await;
    instance.millrace_with(&["setup"], &LATER).await.expect_success();
    write(instance, STORED_BY_LATER).await;
    let before = stored_by_later(instance).await;

    let _old = instance.start_with(&["effect", "payment"], &[]);
    instance.send(&[place(2, 1, &[(0, 1)])]).await;
    shop.stands(2, "fulfilled").await;
    assert_eq!(stored_by_later(instance).await, before, "it calls, and leaves this one alone");

    let attempts = instance.count(ATTEMPTS).await.expect("attempts");
    write(instance, READ_BY_LATER).await;
    let _new = instance.start_with(&["effect", "payment"], &LATER);
    shop.stands(1, "fulfilled").await;
    assert_eq!(instance.count(ATTEMPTS).await, Ok(attempts + 1));
    becomes(&instance.write, DEAD, 0).await;
}

async fn write(instance: &Instance, sql: &'static str) {
    sqlx::query(sql).execute(&instance.write).await.expect(sql);
}

async fn stored_by_later(instance: &Instance) -> Value {
    let row = "SELECT to_jsonb(e) FROM effect AS e WHERE request_version = 99";
    sqlx::query_scalar(row).fetch_one(&instance.write).await.expect("a call")
}

/// Neither is it folded again by the build that does not know it, nor written over.
async fn a_state_of_a_later_version_is_left_as_it_is(instance: &Instance, old: &Process) {
    let raise = format!("UPDATE stream SET state_version = 99 WHERE id = '{}'", customer(0));
    sqlx::query(AssertSqlSafe(raise)).execute(&instance.write).await.expect("a state of a later version");
    instance.send(&[moved(0)]).await;
    waits(old, &instance.group("commands")).await;
    becomes(&instance.write, "SELECT count(*) FROM stream WHERE state_version = 99", 1).await;
    let _new = instance.start_with(&[], &LATER);
    becomes(&instance.read, "SELECT count(*) FROM customers WHERE city = 'Sparta'", 1).await;
    instance.settle().await;
    becomes(&instance.write, DEAD, 0).await;
}

/// It waits for the later release, and says so.
pub(crate) async fn waits(process: &Process, group: &str) {
    process.reports("millrace_build_too_old", &[("group", group)], 1.0).await;
    process.reports("millrace_outage", &[("dependency", "build-too-old")], 1.0).await;
    ready_tells(process, &format!("{group} at "), "release 1002 is deployed").await;
}

async fn is_left(process: &Process, group: &str) {
    ready_tells(process, &format!("{group}: build-too-old"), "leaves the group to release 1002").await;
}

/// A reason of `/readyz` begins and goes on so.
async fn ready_tells(process: &Process, begins: &str, says: &str) {
    eventually(&format!("/readyz tells that {begins} … {says}"), async || {
        let (status, answer) = process.probed("readyz").await?;
        let mut why = answer["why"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let told = why.any(|line| line.starts_with(begins) && line.contains(says));
        if status == 503 && told { Ok(()) } else { Err(format!("{status} {answer}")) }
    })
    .await;
}

fn tag(i: usize) -> String {
    command("TagCustomer", i, json!({"customer_id": customer(i), "tag": "seen"}))
}

fn moved(i: usize) -> String {
    let email = format!("c{i}@example.com");
    let data = json!({"customer_id": customer(i), "name": format!("Customer {i}"), "email": email, "city": "Sparta"});
    command("ChangeCustomerDetails", i, data)
}
