//! A process that has lost a partition cannot write any more, even if it has not noticed.

use millrace_tests::{Instance, Load, Process, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

const SMALL_BATCHES: [(&str, &str); 2] =
    [("processing.commands_batch_max", "5"), ("processing.events_batch_max", "10")];
/// One batch sleeps before its commit, so that the process can be frozen in it.
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
    // It still considers itself the owner, and tries to commit.
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

/// By the fence, or by Postgres, which has ended the transaction that stood still for too long.
async fn is_refused(process: &Process) {
    eventually("a batch was refused", async || {
        let metrics = process.metrics().await?;
        let refused =
            ["fenced", "outage"].map(|why| metrics.sum("millrace_batches_aborted_total", &[("why", why)]));
        if refused.iter().sum::<f64>() > 0.0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

async fn takes_over_everything(instance: &Instance, process: &Process) {
    let group = instance.group("commands");
    process.reports("millrace_partitions_assigned", &[("group", &group)], 8.0).await;
}

/// After being fenced, it joins again and gets partitions.
async fn both_work_again(instance: &Instance, first: &Process, second: &Process) {
    let group = instance.group("commands");
    for process in [first, second] {
        process.reports("millrace_partitions_assigned", &[("group", &group)], 1.0).await;
    }
    instance.settle().await;
}

/// The offset of a partition: group, topic, partition, epoch, applied.
type Standing = (String, String, i32, i64, i64);

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_another_has_claimed_is_written_only_after_it_was_claimed_again() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("claimed", &SMALL_BATCHES).await;
    let process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    let slices = Load::STANDARD.slices(4);
    let mut unnoticed = [Vec::new(), Vec::new()];
    for (slice, which) in slices.iter().zip([EVERY_ONE, EVERY_OTHER, EVERY_ONE]) {
        let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
        instance.send(slice).await;
        instance.decided(before + 10).await;
        let [write, read] = &mut unnoticed;
        let claimed = [claim(&instance.write, which, write).await, claim(&instance.read, which, read).await];
        instance.settle_commands().await;
        only_new_claims_wrote(&instance.write, &claimed[0]).await;
        only_new_claims_wrote(&instance.read, &claimed[1]).await;
    }
    // A claim is noticed when something is to be written: the last slice brings something to every partition.
    instance.send(&slices[3]).await;
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    process.reports("millrace_batches_aborted_total", &[("why", "fenced")], 3.0).await;
}

const EVERY_ONE: &str = "true";
const EVERY_OTHER: &str = "partition % 2 = 0";

/// What another process has claimed, and what stays with this one.
struct Claimed {
    other: Vec<Standing>,
    ours: Vec<Standing>,
}

/// As a process does that takes itself for the owner: the epoch goes up and the one that held it is shut out. One that had nothing to
/// write since an earlier claim (`unnoticed`) has not noticed that yet.
async fn claim(pool: &PgPool, which: &str, unnoticed: &mut Vec<Standing>) -> Claimed {
    let standing = "grp, topic, partition, epoch, applied";
    let ours = format!("SELECT {standing} FROM consumer_offset WHERE NOT ({which})");
    let mut ours: Vec<Standing> = sqlx::query_as(AssertSqlSafe(ours)).fetch_all(pool).await.expect("offsets");
    let claimed = |now: &Standing, then: &Standing| {
        (&now.0, &now.1, now.2, now.3) == (&then.0, &then.1, then.2, then.3)
    };
    ours.retain(|now| !unnoticed.iter().any(|then| claimed(now, then)));
    let claim = format!(
        "UPDATE consumer_offset AS o SET epoch = epoch + 1
         FROM (SELECT grp, generation, topic, partition FROM consumer_offset WHERE {which}
               ORDER BY grp, topic COLLATE \"C\", partition FOR UPDATE) AS l
         WHERE (o.grp, o.generation, o.topic, o.partition) = (l.grp, l.generation, l.topic, l.partition)
         RETURNING o.grp, o.topic, o.partition, o.epoch, o.applied"
    );
    let other: Vec<Standing> = sqlx::query_as(AssertSqlSafe(claim)).fetch_all(pool).await.expect("claims");
    unnoticed.extend(other.iter().cloned());
    Claimed { other, ours }
}

/// A batch is of many partitions: those that were not claimed go on under the claims that they had.
async fn only_new_claims_wrote(pool: &PgPool, claimed: &Claimed) {
    eventually("something is written after the claim", async || {
        for (now, then) in since(pool, &claimed.ours).await? {
            assert_eq!(now.3, then.3, "it was never claimed by another: {now:?}, was {then:?}");
        }
        let moved = since(pool, &claimed.other).await?.into_iter().filter(|(now, then)| now.4 != then.4);
        let moved: Vec<_> = moved.collect();
        for (now, then) in &moved {
            assert!(now.3 > then.3, "written by a claim that was over: {now:?}, claimed at {then:?}");
        }
        if moved.is_empty() { Err("nothing is".to_owned()) } else { Ok(()) }
    })
    .await;
}

/// Where these stand now, and where they stood.
async fn since(pool: &PgPool, then: &[Standing]) -> Result<Vec<(Standing, Standing)>, String> {
    let now =
        sqlx::query_as::<_, Standing>("SELECT grp, topic, partition, epoch, applied FROM consumer_offset");
    let now = now.fetch_all(pool).await.map_err(|error| error.to_string())?;
    let was = |now: &Standing| {
        then.iter().find(|then| (&then.0, &then.1, then.2) == (&now.0, &now.1, now.2)).cloned()
    };
    Ok(now.into_iter().filter_map(|now| Some((now.clone(), was(&now)?))).collect())
}
