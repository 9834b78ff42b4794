//! Copies that say what none of ours says: none goes on for ever, and none holds up the others.

use std::sync::Arc;
use std::time::Duration;

use millrace_runtime::database::Pool;
use millrace_runtime::offsets::Claim;
use millrace_runtime::retry::Retries;
use millrace_runtime::{Header, Record, Role, names};
use sqlx::PgPool;

use super::model::in_a_schema;
use super::world::{GROUP, Order, RETRIES, SOURCE, Topics, Writer, end};
use crate::beside_others;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a copy is met that goes round as often as it may.
const MET: i64 = 101;

fn retries(role: Arc<dyn Role>, topics: &Arc<Topics>) -> Retries {
    Retries { role, copier: topics.clone(), delays: vec![Duration::ZERO; RETRIES].into() }
}

/// What a copy of the record at this place has behind its own headers.
fn ours(topic: &str, offset: i64) -> Vec<Header> {
    let place = offset.to_string();
    let headers = [
        ("x-error-code", "forged"),
        ("x-attempts", "1"),
        ("x-source-topic", topic),
        ("x-source-partition", "0"),
        ("x-source-offset", &place),
    ];
    headers.map(|(name, value)| Header::new(name, value)).to_vec()
}

/// Works off a retry topic.
async fn work_off(pool: &Pool, retries: &Retries, topics: &Topics, topic: &str) {
    let mut from = 0;
    while from < topics.len(topic) {
        let batch = topics.read(topic, from, 8);
        let records: Vec<&Record> = batch.iter().collect();
        let mut transaction = pool.begin().await.expect("a transaction");
        let settled = retries.settle_copies(&mut transaction, &end(&batch), &records).await;
        drop(settled.expect("whatever a copy says, the batch is settled"));
        transaction.commit().await.expect("a commit");
        from += batch.len() as i64;
        assert!(from <= 10 * MET, "for ever");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_names_what_never_comes_goes_round_for_a_while_and_is_left() {
    let _turn = beside_others().await;
    let world = async |pool: &PgPool| {
        let (pool, topics) = (Pool::new(pool.clone(), ANSWER_TIMEOUT), Arc::new(Topics::default()));
        let writer = Writer::new(pool.clone(), Order::Offset);
        Claim::take(&pool, &writer.group, SOURCE, 0, 0).await.expect("a claim");
        let topic = names::retry_topic(SOURCE, GROUP, 1);
        topics.append(&topic, Some(b"a".to_vec()), ours(SOURCE, 1_000));
        work_off(&pool, &retries(writer, &topics), &topics, &topic).await;
        assert_eq!(topics.len(&topic), MET);
    };
    in_a_schema(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_names_what_is_not_its_topics_is_left_and_the_others_go_on() {
    let _turn = beside_others().await;
    let world = async |pool: &PgPool| {
        let (pool, topics) = (Pool::new(pool.clone(), ANSWER_TIMEOUT), Arc::new(Topics::default()));
        let writer = Writer::new(pool.clone(), Order::Offset);
        Claim::take(&pool, &writer.group, SOURCE, 0, 0).await.expect("a claim");
        let topic = names::retry_topic(SOURCE, GROUP, 1);
        for named in ["so\0urce", "another", ""] {
            topics.append(&topic, Some(b"a".to_vec()), ours(named, 1_000));
        }
        work_off(&pool, &retries(writer, &topics), &topics, &topic).await;
        assert_eq!(topics.len(&topic), 3);
    };
    in_a_schema(world).await;
}
