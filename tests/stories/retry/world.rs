//! A world in which a batch can crash anywhere: topics are lists, the database is Postgres, the code is the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_engine::database::Pool;
use millrace_engine::offsets::Claim;
use millrace_engine::{Copier, Delivery, Fault, Folded, Header, Outcome, Record, Role, WorkError};
use millrace_store::consumer_offset::Claiming;
use millrace_store::{Group, Place, names};
use sqlx::PgConnection;

/// What a record carries: whose it is, and the place among those, 1, 2, 3, …
const OWNER: &str = "owner";
const NUMBER: &str = "ce_sequence";
pub(super) const SOURCE: &str = "source";
pub(super) const GROUP: &str = "model";
pub(super) const RETRIES: usize = 3;

/// What tells the order of a key's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Their versions, as those of a view's events; what is behind a dead one waits.
    Version,
    /// Their offsets, as those of commands; a dead one is passed over.
    Offset,
    /// Their offsets among those of an instance, whatever their own keys, as of what a saga receives; what is behind a
    /// dead one waits.
    Instance,
}

/// Every topic as a list; an offset is a place in it.
#[derive(Default)]
pub(super) struct Topics(Mutex<BTreeMap<String, Vec<Kept>>>);

type Kept = (Option<Bytes>, Vec<Header>);

impl Topics {
    fn lists(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Kept>>> {
        self.0.lock().expect("no test panics with it")
    }

    pub(super) fn append(&self, topic: &str, key: Option<Bytes>, headers: Vec<Header>) -> i64 {
        let mut lists = self.lists();
        let list = lists.entry(topic.to_owned()).or_default();
        list.push((key, headers));
        list.len() as i64 - 1
    }

    pub(super) fn write(&self, owner: &str, number: i64, order: Order) {
        let headers = vec![Header::new(OWNER, owner), Header::new(NUMBER, number.to_string())];
        // All instances hear of the same product.
        let key = if order == Order::Instance { "product" } else { owner };
        self.append(SOURCE, Some(key.as_bytes().to_vec().into()), headers);
    }

    /// A copy that never arrives.
    pub(super) fn lose_last(&self, topic: &str) {
        self.lists().entry(topic.to_owned()).or_default().pop();
    }

    pub(super) fn read(&self, topic: &str, from: i64, most: usize) -> Vec<Record> {
        let lists = self.lists();
        let records = lists.get(topic).into_iter().flatten().enumerate().skip(from as usize).take(most);
        records
            .map(|(offset, (key, headers))| record(topic, offset as i64, key.clone(), headers.clone()))
            .collect()
    }

    pub(super) fn len(&self, topic: &str) -> i64 {
        self.lists().get(topic).map_or(0, Vec::len) as i64
    }
}

fn record(topic: &str, offset: i64, key: Option<Bytes>, headers: Vec<Header>) -> Record {
    Record::at(topic, 0, offset, key, None, headers)
}

#[async_trait]
impl Copier for Topics {
    async fn copy(&self, record: &Record, topic: &str, more: &[Header]) -> Result<Delivery, WorkError> {
        let headers = record.headers.iter().chain(more).cloned().collect();
        Ok(Delivery { partition: 0, offset: self.append(topic, record.key.clone(), headers) })
    }
}

pub(super) fn retry_topics() -> impl Iterator<Item = String> {
    (1..=RETRIES).map(|level| names::retry_topic(SOURCE, GROUP, level))
}

/// Writes down the numbers of each key in the order in which they come; some fail as often as they are told to.
pub(super) struct Writer {
    pub(super) pool: Pool,
    pub(super) group: Group,
    pub(super) order: Order,
    /// How often a number of a key still fails.
    pub(super) failures: Mutex<BTreeMap<(String, i64), u32>>,
}

impl Writer {
    pub(super) fn new(pool: Pool, order: Order) -> Arc<Self> {
        let group = Group { id: GROUP.to_owned(), generation: 1 };
        Arc::new(Self { pool, group, order, failures: Mutex::default() })
    }

    fn fails(&self, key: &str, number: i64) -> bool {
        let mut failures = self.failures.lock().expect("no test panics with it");
        match failures.get_mut(&(key.to_owned(), number)) {
            Some(0) | None => false,
            Some(&mut u32::MAX) => true,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    async fn one(
        &self,
        connection: &mut PgConnection,
        stuck: &mut BTreeSet<String>,
        record: &Record,
    ) -> Result<Outcome, WorkError> {
        let (key, number) = (owner(record), number(record));
        if stuck.contains(key) {
            return Ok(Outcome::Waits);
        }
        let known: Vec<i64> = sqlx::query_scalar("SELECT number FROM written WHERE key = $1 ORDER BY place")
            .bind(key)
            .fetch_all(&mut *connection)
            .await?;
        let last = known.last().copied().unwrap_or(0);
        if known.contains(&number) || self.versioned() && number <= last {
            return Ok(Outcome::Duplicate);
        }
        if self.versioned() && number > last + 1 {
            return Ok(Outcome::Waits);
        }
        if self.fails(key, number) {
            stuck.insert(key.to_owned());
            return Ok(Outcome::Failed(Fault::new("told-to", "it was told to fail")));
        }
        write(connection, key, number).await?;
        Ok(Outcome::Applied)
    }
}

async fn write(connection: &mut PgConnection, key: &str, number: i64) -> Result<(), WorkError> {
    let insert = sqlx::query("INSERT INTO written (key, number) VALUES ($1, $2)").bind(key).bind(number);
    insert.execute(connection).await?;
    Ok(())
}

fn owner(record: &Record) -> &str {
    record.header(OWNER).expect("an owner")
}

pub(super) fn number(record: &Record) -> i64 {
    record.header(NUMBER).and_then(|number| number.parse().ok()).expect("a number")
}

#[async_trait]
impl Role for Writer {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.pool
    }

    fn versioned(&self) -> bool {
        self.order == Order::Version
    }

    fn waits_behind_dead(&self) -> bool {
        self.order != Order::Offset
    }

    async fn assign_ordering_keys(&self, batch: &[&Record]) -> Result<(), WorkError> {
        for record in batch.iter().filter(|_| self.order == Order::Instance) {
            record.set_ordering_key(owner(record).as_bytes().to_vec());
        }
        Ok(())
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let (mut outcomes, mut stuck) = (Vec::new(), BTreeSet::new());
        for record in batch {
            outcomes.push(self.one(connection, &mut stuck, record).await?);
        }
        Ok(Folded { outcomes, ..Folded::default() })
    }

    async fn skip(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        if self.versioned() {
            write(connection, owner(record), number(record)).await?;
        }
        Ok(())
    }

    fn forget(&self) {}
}

/// The last record of a batch.
pub(super) fn end(batch: &[Record]) -> Place {
    batch.last().expect("a batch has records").place()
}

/// The claim of a group on the only partition of a topic.
pub(super) async fn claimed(pool: &Pool, group: &Group, topic: &str) -> Claim {
    let partition = Claiming { topic, partition: 0, first: 0, topic_id: None };
    Claim::take(pool, group, &[partition]).await.expect("a claim").remove(0)
}
