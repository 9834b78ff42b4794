//! `kill -9` under load, at failpoints and at random points.

use millrace_tests::settle::Backlog;
use millrace_tests::{Instance, Load};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

/// How a process is killed.
enum Death {
    /// By a failpoint, after it was passed a number of times.
    At(&'static str, u32),
    /// When this many more commands are decided, at whatever point it is.
    After(i64),
}

/// Before the commit nothing may stay; after it nothing may be repeated, though neither caches nor documents nor
/// Kafka's copy of the offset know of it; after the bulk the same documents come again.
const DEATHS: [Death; 10] = [
    Death::At("after-commit", 3),
    Death::After(40),
    Death::At("before-commit", 9),
    Death::At("after-bulk", 2),
    Death::At("after-commit", 25),
    Death::After(130),
    Death::At("after-bulk", 11),
    Death::At("before-commit", 30),
    Death::After(5),
    Death::At("after-commit", 60),
];

/// Small batches, so that failpoints are passed often; a short session timeout, so that the next process soon gets the
/// partitions.
const SETTINGS: [(&str, &str); 5] = [
    ("processing.commands_batch_max", "10"),
    ("processing.events_batch_max", "20"),
    ("kafka.session_timeout", "3s"),
    ("kafka.heartbeat_interval", "500ms"),
    ("postgres.transaction_timeout", "2s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_in_mid_load_lose_nothing_and_double_nothing() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("ten_kills", &SETTINGS).await;
    bring_the_basics(&instance).await;
    for (death, slice) in DEATHS.iter().zip(Load::STANDARD.slices(DEATHS.len())) {
        instance.send(&slice).await;
        die(&instance, death).await;
        let backlog = instance.backlog().await;
        assert_ne!(backlog, Backlog::default(), "it was killed in mid-load");
    }
    let _process = instance.start();
    instance.settle().await;
    instance.snapshot().await.assert_same(expected);
    instance.assert_topics_carry_the_outbox(false).await;
    instance.assert_each_command_has_its_outcome().await;
}

async fn bring_the_basics(instance: &Instance) {
    let mut process = instance.start();
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    process.stops().await;
}

async fn die(instance: &Instance, death: &Death) {
    match death {
        Death::At(moment, times) => {
            let mut process = instance.start_doomed(&format!("{moment}={times}*off->return"));
            process.killed_by_failpoint(moment).await;
        }
        Death::After(more) => {
            let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
            let mut process = instance.start();
            instance.decided(before + more).await;
            process.kill();
        }
    }
}
