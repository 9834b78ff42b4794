//! Copies that say what none of ours says, and records of which Postgres takes next to nothing: neither goes on for ever, and
//! neither holds up the others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_engine::database::Pool;
use millrace_engine::retry::Retries;
use millrace_engine::{Fault, Folded, Header, Record, Refusal, Role, WorkError, dead_letters};
use millrace_store::{Group, Place, names};
use sqlx::{PgConnection, PgPool};

use super::model::in_a_schema;
use super::world::{GROUP, Order, RETRIES, SOURCE, Topics, Writer, claimed, end};
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
        let settled = retries.settle_wake_ups(&mut transaction, &end(&batch), &records).await;
        drop(settled.expect("whatever a copy says, the batch is settled"));
        transaction.commit().await.expect("a commit");
        from += batch.len() as i64;
        assert!(from <= 10 * MET, "for ever");
    }
}

/// How many records a retry topic has once copies that name these sources were worked off.
async fn left_of_copies(schema: &PgPool, named: &[&str]) -> i64 {
    let (pool, topics) = (Pool::new(schema.clone(), ANSWER_TIMEOUT), Arc::new(Topics::default()));
    let writer = Writer::new(pool.clone(), Order::Offset);
    claimed(&pool, &writer.group, SOURCE).await;
    let topic = names::retry_topic(SOURCE, GROUP, 1);
    for named in named {
        topics.append(&topic, Some(b"a"[..].into()), ours(named, 1_000));
    }
    work_off(&pool, &retries(writer, &topics), &topics, &topic).await;
    topics.len(&topic)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_names_what_never_comes_goes_round_for_a_while_and_is_left() {
    let _turn = beside_others().await;
    in_a_schema(async |schema: &PgPool| assert_eq!(left_of_copies(schema, &[SOURCE]).await, MET)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_names_what_is_not_its_topics_is_left_and_the_others_go_on() {
    let _turn = beside_others().await;
    let named = ["so\0urce", "another", ""];
    in_a_schema(async |schema: &PgPool| assert_eq!(left_of_copies(schema, &named).await, 3)).await;
}

/// Offset, key, code, message, offset of the copy.
type Letter = (i64, Option<Vec<u8>>, String, String, i64);

/// Leaves a trace of dead records that Postgres refuses, or panics at them, unless they are only places.
struct Stumbles {
    pool: Pool,
    group: Group,
}

#[async_trait]
impl Role for Stumbles {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.pool
    }

    async fn fold(&self, _: &mut PgConnection, _: &[&Record]) -> Result<Folded, WorkError> {
        panic!("at whatever it is shown")
    }

    async fn dead_lettered(
        &self,
        connection: &mut PgConnection,
        record: &Record,
        _: &Fault,
    ) -> Result<(), WorkError> {
        let trace = record.key_text().unwrap_or_default();
        assert_ne!(trace, "panics");
        let refused = sqlx::query_scalar::<_, String>("SELECT $1::text").bind(trace);
        Ok(refused.fetch_one(connection).await.map(drop)?)
    }

    fn forget(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_written_whatever_postgres_refuses_of_its_record() {
    let _turn = beside_others().await;
    let world = async |schema: &PgPool| {
        let (pool, topics) = (Pool::new(schema.clone(), ANSWER_TIMEOUT), Arc::new(Topics::default()));
        let group = Group { id: GROUP.to_owned(), generation: 1 };
        let retries = retries(Arc::new(Stumbles { pool: pool.clone(), group }), &topics);
        let mut transaction = pool.begin().await.expect("a transaction");
        for (offset, key) in ["taken", "n\0l", "panics"].into_iter().enumerate() {
            let record = Record::at(SOURCE, 0, offset as i64, Some(key.into()), None, Vec::new());
            let (at, fault) = (record.place(), Fault::hopeless("test", "never"));
            let settled = retries.settle(&mut transaction, &at, &[&record], Some(&fault)).await;
            drop(settled.expect("a letter"));
        }
        transaction.commit().await.expect("a commit");
        let letters: Vec<Letter> =
            sqlx::query_as("SELECT \"offset\", key, code, message, copy_offset FROM dead_letter ORDER BY id")
                .fetch_all(schema)
                .await
                .expect("letters");
        let letter = |offset, key: Option<&str>| {
            (offset, key.map(Into::into), "test".to_owned(), "never".to_owned(), offset)
        };
        assert_eq!(letters, [letter(0, Some("taken")), letter(1, None), letter(2, None)]);
        assert_eq!(topics.len(&names::dead_letter_topic(SOURCE, GROUP)), 3, "their bytes are kept");
    };
    in_a_schema(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letter_of_a_refused_document_is_written_whatever_its_stream_is_called() {
    let _turn = beside_others().await;
    let world = async |pool: &PgPool| {
        let (group, at) = (
            Group { id: GROUP.to_owned(), generation: 1 },
            Place { topic: SOURCE.to_owned(), partition: 0, offset: 7 },
        );
        let refusal = Refusal {
            id: "i\0".to_owned(),
            version: 1,
            stream: Some("customers/n\0l".to_owned()),
            reason: "r\0".to_owned(),
        };
        let mut connection = pool.acquire().await.expect("a connection");
        dead_letters::refused(&mut connection, &group, &at, "log", &refusal).await.expect("a letter");
        let stream: String = sqlx::query_scalar("SELECT stream FROM dead_letter")
            .fetch_one(&mut *connection)
            .await
            .expect("its stream");
        assert_eq!(stream, "customers/n\u{fffd}l");
    };
    in_a_schema(world).await;
}
