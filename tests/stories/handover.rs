//! Processes come and go in mid-load and share the partitions.

use millrace_tests::{Instance, Load, Process};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

/// Slow on purpose: every batch is small and sleeps before its commit, so that the load outlives the hand-overs.
const SLOW: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=sleep(30)")];
const SMALL_BATCHES: [(&str, &str); 2] = [("commands_batch_max", "5"), ("events_batch_max", "10")];

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_partitions_and_hand_them_over_in_mid_load() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("handover", &SMALL_BATCHES).await;
    let mut first = instance.start_with(&[], &SLOW);
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    let slices = Load::STANDARD.slices(4);
    instance.send(&slices[0]).await;
    let second = instance.start_with(&[], &SLOW);
    both_work(&instance, [&first, &second], &slices[1]).await;
    first.stops().await;
    assert_in_mid_load(&instance).await;
    let mut third = instance.start_with(&[], &SLOW);
    both_work(&instance, [&second, &third], &slices[2]).await;
    third.kill();
    assert_in_mid_load(&instance).await;
    instance.send(&slices[3]).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
}

/// Both processes hold partitions, and of what is sent now both decide something.
async fn both_work(instance: &Instance, processes: [&Process; 2], slice: &[String]) {
    let group = instance.group("commands");
    let mut before = Vec::new();
    for process in processes {
        process.reports("millrace_partitions_assigned", &[("group", &group)], 1.0).await;
        before.push(process.metrics().await.expect("figures").sum("millrace_decisions_total", &[]));
    }
    instance.send(slice).await;
    for (process, before) in processes.into_iter().zip(before) {
        process.reports("millrace_decisions_total", &[], before + 1.0).await;
    }
}

async fn assert_in_mid_load(instance: &Instance) {
    let backlog = instance.backlog().await;
    assert!(backlog.commands > 0, "commands wait while partitions change hands: {backlog:?}");
}
