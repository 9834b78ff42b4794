//! Stored states are only an optimisation, too: a state that is missing or of an earlier version is folded again from the events.

use millrace_tests::load::{command, customer};
use millrace_tests::{Instance, Load, Process};
use serde_json::json;

use crate::releases::{EARLIER, LATER, waits};
use crate::undisturbed::undisturbed;
use crate::{beside_others, instance};

/// A little more than two pages.
const CHANGES: usize = 10_100;

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_aged_states_are_folded_again_to_the_same_bytes() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance("refold").await;
    let mut process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    instance.send(&Load::STANDARD.placing()).await;
    instance.settle().await;
    process.stops().await;
    let spoiled = spoil_every_state(&instance).await;
    assert!(spoiled > 450, "only {spoiled} states were spoiled");
    let process = instance.start();
    instance.send(&Load::STANDARD.fulfilling()).await;
    instance.settle().await;
    assert!(process.log().contains("folded again"), "states were folded again");
    every_touched_state_is_as_expected(&instance, expected).await;
    instance
        .snapshot()
        .await
        .only(&["written outbox", "written command", "postgres", "elasticsearch"])
        .assert_same(&expected.only(&["written outbox", "written command", "postgres", "elasticsearch"]));
    a_long_stream_is_folded_again_in_pages(&instance, process).await;
}

/// More events than are folded inside a batch: its next command waits until they are folded in pages, and is decided. A build
/// that does not know one of them leaves that to a later release.
async fn a_long_stream_is_folded_again_in_pages(instance: &Instance, mut process: Process) {
    let change = |n: usize| {
        let data =
            json!({"customer_id": customer(1), "name": format!("Plato {n}"), "email": "plato@example.com"});
        command("ChangeCustomerDetails", 10_000 + n, data)
    };
    instance.send(&(0..CHANGES).map(change).collect::<Vec<_>>()).await;
    instance.settle().await;
    process.stops().await;
    let stream = "SELECT version, state::text FROM stream WHERE context = 'customers' AND id = $1";
    let stream = async || -> (i64, Option<String>) {
        sqlx::query_as(stream).bind(customer(1)).fetch_one(&instance.write).await.expect("a stream")
    };
    let (version, _) = stream().await;
    spoil_every_state(instance).await;
    instance.millrace_with(&["setup"], &LATER).await.expect_success();
    let earlier = instance.start_with(&[], &EARLIER);
    instance.send(&[change(CHANGES)]).await;
    waits(&earlier, &instance.group("commands")).await;
    let process = instance.start_with(&[], &LATER);
    instance.settle().await;
    earlier.has_counted_no_faults().await;
    let (after, state) = stream().await;
    assert_eq!(after, version + 1);
    assert!(state.expect("a state").contains(&format!("Plato {CHANGES}")));
    assert!(process.log().contains("folded again from its events, in pages"), "{}", process.log());
}

/// Half of the states go missing; the others are nonsense of an older version, which must not be believed.
async fn spoil_every_state(instance: &Instance) -> u64 {
    let spoil = "UPDATE stream SET
        state = CASE WHEN hashtext(id) % 2 = 0 THEN NULL ELSE '{\"nonsense\": true}'::json END,
        state_version = CASE WHEN hashtext(id) % 2 = 0 THEN state_version ELSE state_version - 1 END";
    sqlx::query(spoil).execute(&instance.write).await.expect("spoiled states").rows_affected()
}

/// Orders and stock were written again, from refolded states; customers and products were at most referred to.
async fn every_touched_state_is_as_expected(instance: &Instance, expected: &millrace_tests::Snapshot) {
    let found = instance.snapshot().await;
    let touched = |line: &&String| {
        line.contains("\"context\":\"orders\"") || line.contains("\"context\":\"inventory\"")
    };
    let of = |snapshot: &millrace_tests::Snapshot| -> Vec<String> {
        snapshot.0["written stream"].iter().filter(touched).cloned().collect()
    };
    assert_eq!(of(&found), of(expected));
}
