//! A stored state is a shortcut too: what is missing or older than the code is folded again from the events.

use millrace_tests::{Instance, Load};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance};

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
