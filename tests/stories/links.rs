//! The links between a process and its dependencies fail under load in every way. Millrace is not restarted.

use std::time::{Duration, Instant};

use millrace_tests::link::{Link, State};
use millrace_tests::{Instance, Load, Process, eventually};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

/// Small batches, and the shortest times after which silence counts as an outage.
const SETTINGS: [(&str, &str); 6] = [
    ("processing.commands_batch_max", "20"),
    ("processing.events_batch_max", "40"),
    ("postgres.transaction_timeout", "4s"),
    ("postgres.answer_timeout", "8s"),
    ("elasticsearch.timeout", "5s"),
    ("kafka.properties", r#"{"socket.timeout.ms" = "4000"}"#),
];
/// Batches sleep before their commit, so that the link fails before all is done.
const SLOW: (&str, &str) = ("FAILPOINTS", "before-commit=sleep(60)");
/// How long the process may take to resume after a link works again: broken connections are detected by timeouts, one after the
/// other.
const RECOVERY: Duration = Duration::from_secs(60);
const A_SLOW_LINK: State = State::Slow(Duration::from_millis(10));
const FAILURES: [State; 3] = [State::Cut, State::Silent, A_SLOW_LINK];

/// A link, and a check that the process makes progress over it.
struct Trial {
    story: &'static str,
    variable: &'static str,
    dependency: &'static str,
    progress: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_the_write_database_fails_and_nothing_is_lost() {
    let _turn = beside_others().await;
    let (variable, progress) = ("WRITE_DATABASE_URL", "millrace_decisions_total");
    Trial { story: "link_write", variable, dependency: "postgres", progress }.fails_in_every_way().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_the_read_database_fails_and_nothing_is_lost() {
    let _turn = beside_others().await;
    let (variable, progress) = ("READ_DATABASE_URL", "millrace_documents_published_total");
    Trial { story: "link_read", variable, dependency: "postgres", progress }.fails_in_every_way().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_kafka_fails_and_nothing_is_lost() {
    let _turn = beside_others().await;
    let (variable, progress) = ("KAFKA_BROKERS", "millrace_decisions_total");
    Trial { story: "link_kafka", variable, dependency: "kafka", progress }.fails_in_every_way().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_elasticsearch_fails_and_nothing_is_lost() {
    let _turn = beside_others().await;
    let (variable, progress) = ("ELASTICSEARCH_URL", "millrace_documents_published_total");
    Trial { story: "link_elastic", variable, dependency: "elasticsearch", progress }
        .fails_in_every_way()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_the_registry_fails_and_nothing_is_lost() {
    let _turn = beside_others().await;
    let expected = undisturbed().await;
    let instance = instance_with("link_registry", &SETTINGS).await;
    let link = Link::to("SCHEMA_REGISTRY_URL").await;
    instance.send(&Load::STANDARD.basics()).await;
    basics_are_worked_off(&instance).await;
    for (state, slice) in FAILURES.into_iter().zip(Load::STANDARD.slices(FAILURES.len())) {
        instance.send(&slice).await;
        link.becomes(state);
        // A schema is asked for once, so each failure needs a process that knows none.
        let mut process = instance.start_with(&[], &[link.variable()]);
        if state != A_SLOW_LINK {
            process.reports("millrace_outage", &[("dependency", "registry")], 1.0).await;
            if state == State::Cut {
                let status = instance.millrace_with(&["status"], &[link.variable()]).await;
                status.expect_code(3).expect_told("the schema registry at ");
            }
            link.becomes(State::Well);
        }
        goes_on(&process, "millrace_decisions_total", 0.0).await;
        instance.settle().await;
        process.has_counted_no_faults().await;
        process.stops().await;
    }
    instance.snapshot().await.assert_same(expected);
}

async fn basics_are_worked_off(instance: &Instance) {
    let mut process = instance.start();
    instance.settle().await;
    process.stops().await;
}

impl Trial {
    async fn fails_in_every_way(&self) {
        let expected = undisturbed().await;
        let instance = instance_with(self.story, &SETTINGS).await;
        let link = Link::to(self.variable).await;
        let mut process = instance.start_with(&[], &[link.variable(), SLOW]);
        instance.send(&Load::STANDARD.basics()).await;
        instance.settle().await;
        for (state, slice) in FAILURES.into_iter().zip(Load::STANDARD.slices(FAILURES.len())) {
            let before = instance.count("SELECT count(*) FROM command").await.expect("receipts");
            let (early, late) = slice.split_at(slice.len() / 2);
            instance.send(early).await;
            instance.decided(before + 20).await;
            self.fails(&link, state, &process).await;
            let before = process.metrics().await.expect("figures").sum(self.progress, &[]);
            instance.send(late).await;
            if self.dependency == "elasticsearch" && state != A_SLOW_LINK {
                postgres_goes_on(&instance).await;
            }
            // A link that is only slow stays so.
            if state != A_SLOW_LINK {
                link.becomes(State::Well);
            }
            goes_on(&process, self.progress, before).await;
            process.shows("Kafka", "answers").await;
            instance.settle().await;
        }
        assert!(process.lives(), "nobody restarts it");
        process.has_counted_no_faults().await;
        instance.snapshot().await.assert_same(expected);
        instance.assert_both_read_models_agree().await;
    }

    /// Until the process has noticed.
    async fn fails(&self, link: &Link, state: State, process: &Process) {
        let complaints = complaints(process);
        link.becomes(state);
        match self.dependency {
            _ if state == A_SLOW_LINK => {}
            // A consumer that gets nothing has no batch that could fail.
            "kafka" => {
                complains(process, complaints + 1).await;
                process.shows("Kafka", "away").await;
            }
            dependency => process.reports("millrace_outage", &[("dependency", dependency)], 1.0).await,
        }
    }
}

/// Everything is decided and folded, and documents wait.
async fn postgres_goes_on(instance: &Instance) {
    instance.settle_commands().await;
    let backlog = instance.backlog().await;
    assert!(backlog.documents > 0, "documents wait: {backlog:?}");
}

/// The number of errors that a consumer has reported.
fn complaints(process: &Process) -> usize {
    process.log().matches("the consumer reports an error").count()
}

async fn complains(process: &Process, times: usize) {
    eventually("the consumers complain", async || match complaints(process) {
        complaints if complaints >= times => Ok(()),
        complaints => Err(complaints.to_string()),
    })
    .await;
}

/// Waits until the process makes progress.
async fn goes_on(process: &Process, progress: &str, before: f64) {
    let began = Instant::now();
    process.reports(progress, &[], before + 1.0).await;
    assert!(began.elapsed() < RECOVERY, "it went on only after {:?}", began.elapsed());
}
