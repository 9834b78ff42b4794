//! A process that stood still for too long has lost its partitions and must not write any more.

use millrace_tests::{Instance, Load, Process};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

const SMALL_BATCHES: [(&str, &str); 2] = [("commands_batch_max", "5"), ("events_batch_max", "10")];

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_process_wakes_up_fenced_and_writes_nothing() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("fence", &SMALL_BATCHES).await;
    let mut frozen = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    freeze_in_mid_load(&instance, &mut frozen).await;
    let second = instance.start();
    takes_over_everything(&instance, &second).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    frozen.thaw();
    // It still has records in memory and takes itself for their owner.
    let group = instance.group("commands");
    let fenced = [("group", group.as_str()), ("why", "fenced")];
    frozen.reports("millrace_setbacks_total", &fenced, 1.0).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    works_again(&instance, &frozen, &second).await;
}

async fn freeze_in_mid_load(instance: &Instance, process: &mut Process) {
    let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
    instance.send(&Load::STANDARD.slices(1).concat()).await;
    instance.decided(before + 50).await;
    process.freeze();
    let backlog = instance.backlog().await;
    assert!(backlog.commands > 200, "it was frozen in mid-load: {backlog:?}");
}

async fn takes_over_everything(instance: &Instance, process: &Process) {
    let group = instance.group("commands");
    process.reports("millrace_partitions_assigned", &[("group", &group)], 8.0).await;
}

/// Being fenced is not the end: it joins again and gets a share.
async fn works_again(instance: &Instance, first: &Process, second: &Process) {
    let group = instance.group("commands");
    for process in [first, second] {
        process.reports("millrace_partitions_assigned", &[("group", &group)], 1.0).await;
    }
    instance.settle().await;
}
