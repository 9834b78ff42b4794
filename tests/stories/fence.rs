//! Who has lost a partition must not write any more, even when he does not know it.

use millrace_tests::{Instance, Load, Process, eventually};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

const SMALL_BATCHES: [(&str, &str); 2] = [("commands_batch_max", "5"), ("events_batch_max", "10")];
/// One batch stands still before its commit, so that the process can be frozen in the middle of it.
const STANDS_STILL: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=80*off->1*sleep(10000)")];

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_process_wakes_up_shut_out_and_writes_nothing() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("frozen", &SMALL_BATCHES).await;
    let mut first = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    first.stops().await;
    instance.send(&Load::STANDARD.slices(1).concat()).await;
    let mut frozen = instance.start_with(&[], &STANDS_STILL);
    in_the_middle_of_a_batch(&instance).await;
    frozen.freeze();
    let backlog = instance.backlog().await;
    assert!(backlog.commands + backlog.events > 200, "it was frozen in mid-load: {backlog:?}");
    let second = instance.start();
    takes_over_everything(&instance, &second).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    frozen.thaw();
    // It takes itself for the owner and goes on with its commit.
    is_refused(&frozen).await;
    both_work_again(&instance, &frozen, &second).await;
    instance.snapshot().await.assert_same(expected);
}

/// Waits until a transaction of the instance has been idle for a while.
async fn in_the_middle_of_a_batch(instance: &Instance) {
    let idle = "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
                WHERE relation = 'consumer_offset'::regclass AND state = 'idle in transaction'
                  AND clock_timestamp() - state_change > interval '500 ms'";
    eventually("a batch stands still before its commit", async || {
        for pool in [&instance.write, &instance.read] {
            if sqlx::query_scalar::<_, i64>(idle).fetch_one(pool).await.map_err(|error| error.to_string())?
                > 0
            {
                return Ok(());
            }
        }
        Err(format!("{:?}", instance.backlog().await))
    })
    .await;
}

async fn takes_over_everything(instance: &Instance, process: &Process) {
    let group = instance.group("commands");
    process.reports("millrace_partitions_assigned", &[("group", &group)], 8.0).await;
}

/// By the fence, or by Postgres, which has ended the transaction that stood still for too long.
async fn is_refused(process: &Process) {
    eventually("a batch was refused", async || {
        let metrics = process.metrics().await?;
        let refused = ["fenced", "outage"].map(|why| metrics.sum("millrace_setbacks_total", &[("why", why)]));
        if refused.iter().sum::<f64>() > 0.0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

/// Being shut out is not the end: it joins again and gets a share.
async fn both_work_again(instance: &Instance, first: &Process, second: &Process) {
    let group = instance.group("commands");
    for process in [first, second] {
        process.reports("millrace_partitions_assigned", &[("group", &group)], 1.0).await;
    }
    instance.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_another_has_claimed_is_fenced_and_claimed_again_while_kafka_assigns_it() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("claimed", &SMALL_BATCHES).await;
    let process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    let slices = Load::STANDARD.slices(4);
    for slice in &slices[..3] {
        let fenced =
            process.metrics().await.expect("figures").sum("millrace_setbacks_total", &[("why", "fenced")]);
        let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
        instance.send(slice).await;
        instance.decided(before + 10).await;
        claim_everything(&instance).await;
        process.reports("millrace_setbacks_total", &[("why", "fenced")], fenced + 1.0).await;
    }
    // A claim is noticed when something is to be written, and nobody else is there who would publish: so the last
    // slice brings something to every partition.
    instance.send(&slices[3]).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
}

/// As a process does that takes itself for the owner: the epoch goes up and whoever held it is shut out.
async fn claim_everything(instance: &Instance) {
    for pool in [&instance.write, &instance.read] {
        sqlx::query("UPDATE consumer_offset SET epoch = epoch + 1").execute(pool).await.expect("claims");
    }
}
