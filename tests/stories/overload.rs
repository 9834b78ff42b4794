//! Faulty answers of Elasticsearch to `_bulk`: 429 for the request, 429 for some documents, or no answer although it was
//! executed.

use millrace_tests::facade::{Facade, Manner};
use millrace_tests::{Instance, Load, Process, eventually};

use crate::undisturbed::undisturbed;
use crate::{beside_others, instance_with};

const SETTINGS: [(&str, &str); 2] = [("processing.events_batch_max", "40"), ("elasticsearch.timeout", "5s")];
/// So many bad answers in mid-load each time.
const ENOUGH: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_elasticsearch_gets_every_document_once_more_and_no_letter_is_dead() {
    let _turn = beside_others().await;
    answered_badly("busy_elastic", &[Manner::Busy, Manner::InPart]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_that_is_done_and_never_answered_is_sent_again_and_changes_nothing() {
    let _turn = beside_others().await;
    answered_badly("mute_elastic", &[Manner::Mute]).await;
}

async fn answered_badly(story: &str, manners: &[Manner]) {
    let expected = undisturbed().await;
    let instance = instance_with(story, &SETTINGS).await;
    let facade = Facade::start().await;
    let process = instance.start_with(&[], &[facade.variable()]);
    instance.send(&Load::STANDARD.basics()).await;
    instance.settle().await;
    for (manner, slice) in manners.iter().zip(Load::STANDARD.slices(manners.len())) {
        facade.answers(*manner);
        instance.send(&slice).await;
        documents_wait(&instance, &process, &facade).await;
        facade.answers(Manner::Well);
        instance.settle().await;
    }
    instance.snapshot().await.assert_same(expected);
    instance.assert_both_read_models_agree().await;
    for pool in [&instance.write, &instance.read] {
        let dead = sqlx::query_scalar("SELECT count(*) FROM dead_letter").fetch_one(pool).await;
        assert_eq!(dead.ok(), Some(0_i64), "an overload is no fault of a document");
    }
}

/// Until the cluster has answered badly often enough; the rows are folded meanwhile.
async fn documents_wait(instance: &Instance, process: &Process, facade: &Facade) {
    process.reports("millrace_outage", &[("dependency", "elasticsearch")], 1.0).await;
    eventually("enough requests are answered badly", async || match facade.badly_answered() {
        answered if answered >= ENOUGH => Ok(()),
        answered => Err(answered.to_string()),
    })
    .await;
    instance.settle_commands().await;
    let backlog = instance.backlog().await;
    assert!(backlog.documents > 0, "documents wait: {backlog:?}");
}
