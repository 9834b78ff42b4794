//! Components fail under load and come back. Millrace is not restarted.

use std::time::Instant;

use millrace_tests::stack::Outage;
use millrace_tests::{Instance, Load, Process, eventually};
use tokio::sync::RwLockWriteGuard;

use crate::undisturbed::undisturbed;
use crate::{alone, beside_others, instance_with};

/// Of the whole standard load.
const COMMANDS: i64 = 2_210;
const SMALL_BATCHES: [(&str, &str); 2] =
    [("processing.commands_batch_max", "20"), ("processing.events_batch_max", "40")];

/// Batches sleep before their commit, so that a component is gone before all is done.
const SLOW: [(&str, &str); 1] = [("FAILPOINTS", "before-commit=sleep(100)")];

/// An instance in mid-load, which has the stack for itself.
struct MidLoad {
    process: Process,
    instance: Instance,
    _turn: RwLockWriteGuard<'static, ()>,
}

impl MidLoad {
    async fn of(story: &str) -> Self {
        Self::with(story, &Load::STANDARD.slices(1)[0]).await
    }

    /// What comes before the load needs no turn alone: other stories go on meanwhile.
    async fn with(story: &str, load: &[String]) -> Self {
        let beside = beside_others().await;
        undisturbed().await;
        let instance = instance_with(story, &SMALL_BATCHES).await;
        let process = instance.start_with(&[], &SLOW);
        instance.send(&Load::STANDARD.basics()).await;
        instance.settle().await;
        drop(beside);
        let turn = alone().await;
        let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
        instance.send(load).await;
        instance.decided(before + 20).await;
        Self { process, instance, _turn: turn }
    }

    /// In one line, however many wait, and however often they try again.
    async fn reports_an_outage_of_postgres(&self) {
        let began = Instant::now();
        self.process.reports("millrace_outage", &[("dependency", "postgres")], 2.0).await;
        let log = self.process.log();
        let lines = log.matches("work waits for a dependency dependency=\"postgres\"").count();
        let minutes = began.elapsed().as_secs() / 60;
        assert!((1..=1 + minutes as usize).contains(&lines), "{lines} lines in {minutes} minutes:\n{log}");
    }

    async fn has_commands_left(&self) {
        let decided = self.instance.count("SELECT count(*) FROM command").await.expect("receipts");
        assert!(decided < COMMANDS, "it was in mid-load: {decided} commands are decided");
    }

    async fn has_something_left(&self) {
        let backlog = self.instance.backlog().await;
        let left = backlog.commands + backlog.outbox + backlog.events + backlog.documents;
        assert!(left > 0, "it was in mid-load: {backlog:?}");
    }

    async fn ends_as_if_undisturbed(mut self) {
        let instance = &self.instance;
        recovers(instance).await;
        instance.settle().await;
        assert!(self.process.lives(), "the process has waited");
        self.process.has_counted_no_faults().await;
        instance.snapshot().await.assert_same(undisturbed().await);
        instance.assert_both_read_models_agree().await;
        instance.assert_topics_carry_the_outbox(true).await;
    }
}

/// `millrace status` finds nothing wrong any more, and soon everything level.
async fn recovers(instance: &Instance) {
    let back = Instant::now();
    eventually("`millrace status` succeeds", async || match instance.millrace(&["status"]).await {
        status if status.code == Some(0) => Ok(()),
        status => Err(status.stderr),
    })
    .await;
    let well = back.elapsed();
    instance.millrace(&["status", "--wait", "300s"]).await.expect_success();
    println!(
        "{}: status is well after {well:.1?}, everything level after {:.1?}",
        instance.name,
        back.elapsed()
    );
}

/// `millrace status` names the component that is away, and fails.
async fn status_names(instance: &Instance, away: &[&str]) {
    let status = instance.millrace(&["status"]).await;
    for service in away {
        let told = format!("{service} at ");
        assert!(status.expect_code(3).stdout.contains(&told), "{told}\n{}", status.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_killed_and_nothing_is_lost() {
    let slices = Load::STANDARD.slices(2);
    let story = MidLoad::with("connect_killed", &slices[0]).await;
    let outage = Outage::of("connect").await;
    story.instance.send(&slices[1]).await;
    eventually("every command is decided without Connect", async || match story.instance.backlog().await {
        backlog if backlog.commands == 0 => Ok(()),
        backlog => Err(format!("{backlog:?}")),
    })
    .await;
    let backlog = story.instance.backlog().await;
    assert!(backlog.outbox > 0, "the outbox fills while Connect is away: {backlog:?}");
    outage.ends().await;
    story.ends_as_if_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_crashes_and_comes_back() {
    let story = MidLoad::of("postgres_crash").await;
    let outage = Outage::of("postgres").await;
    story.reports_an_outage_of_postgres().await;
    outage.ends().await;
    story.has_something_left().await;
    story.ends_as_if_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_crashes_and_comes_back() {
    let story = MidLoad::of("kafka_crash").await;
    let outage = Outage::of("kafka").await;
    story.has_commands_left().await;
    outage.ends().await;
    story.ends_as_if_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_elasticsearch_are_away_at_once() {
    let story = MidLoad::of("two_stores_away").await;
    let outage = Outage::of_all(["postgres", "elasticsearch"]).await;
    story.reports_an_outage_of_postgres().await;
    status_names(&story.instance, &["the write database", "the read database", "Elasticsearch"]).await;
    outage.ends().await;
    story.has_something_left().await;
    story.ends_as_if_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_connect_are_away_at_once() {
    let story = MidLoad::of("two_carriers_away").await;
    let outage = Outage::of_all(["kafka", "connect"]).await;
    story.has_commands_left().await;
    status_names(&story.instance, &["Kafka", "Kafka Connect"]).await;
    outage.ends().await;
    story.ends_as_if_undisturbed().await;
}
