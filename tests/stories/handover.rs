//! Processes start and stop under load, and share the partitions.

use std::collections::VecDeque;

use millrace_tests::settle::Backlog;
use millrace_tests::{Instance, Load, Process};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

/// Slow on purpose: every batch is small and sleeps before its commit, so that the load outlives the hand-overs.
const SLOW: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=sleep(30)")];
/// So slow that a tenth of the load takes longer than a process takes to come or go.
const SLOWER: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=sleep(150)")];
const SMALL_BATCHES: [(&str, &str); 2] =
    [("processing.commands_batch_max", "5"), ("processing.events_batch_max", "10")];

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

/// Sessions are short, or the dead would hold their partitions until the storm is over.
const STORM: [(&str, &str); 5] = [
    ("processing.commands_batch_max", "10"),
    ("processing.events_batch_max", "20"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];
const COMINGS_AND_GOINGS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_processes_that_come_stop_and_die_loses_nothing_and_doubles_nothing() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("storm", &STORM).await;
    let mut working = VecDeque::from([instance.start_with(&[], &SLOWER)]);
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    let (mut leaving, mut in_mid_load) = (Vec::new(), 0);
    for (round, slice) in Load::STANDARD.slices(COMINGS_AND_GOINGS).into_iter().enumerate() {
        // None waits until the group has agreed on anything.
        working.push_back(instance.start_with(&[], &SLOWER));
        instance.send(&slice).await;
        let Backlog { commands, events, .. } = instance.backlog().await;
        in_mid_load += usize::from(commands + events > 0);
        if working.len() > 2 {
            let mut oldest = working.pop_front().expect("a process");
            if round.is_multiple_of(2) {
                oldest.kill();
            } else {
                oldest.terminate();
                leaving.push(oldest);
            }
        }
    }
    assert!(in_mid_load > COMINGS_AND_GOINGS / 2, "there was work in {in_mid_load} rounds");
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    instance.assert_topics_carry_the_outbox(false).await;
    let handed_over = instance.count("SELECT max(epoch) FROM consumer_offset").await.expect("epochs");
    assert!(handed_over >= 2, "partitions have changed hands: {handed_over}");
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
