//! Random failures, crashes at every step, lost copies, duplicates and gaps: per key strictly in order, nothing lost,
//! nothing twice, no key left blocked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::database::Pool;
use millrace_engine::offsets::Claim;
use millrace_engine::retry::Retries;
use millrace_engine::{Record, Role as _, failpoints};
use millrace_store::migrations;
use millrace_tests::instance::pool;
use sqlx::{AssertSqlSafe, PgPool};

use super::world::{Order, RETRIES, SOURCE, Topics, Writer, claimed, end, retry_topics};

const KEYS: [&str; 3] = ["a", "b", "c"];
const PER_KEY: i64 = 12;
const STEPS_MAX: usize = 3_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

struct Model {
    dice: fastrand::Rng,
    topics: Arc<Topics>,
    writer: Arc<Writer>,
    retries: Retries,
    claims: BTreeMap<String, Claim>,
    /// What is still to be written to the source, in this order.
    coming: Vec<(&'static str, i64)>,
}

pub(super) async fn holds_for_all_seeds(order: Order, seeds: u64) {
    let _armed = failpoints::arm();
    let all = async |pool: &PgPool| {
        for seed in 0..seeds {
            run(pool, "TRUNCATE written, consumer_offset, blocked_key, parked, dead_letter".to_owned()).await;
            Model::new(seed, pool.clone(), order).await.run(seed).await;
        }
    };
    in_a_schema(all).await;
}

/// A world needs the tables of retries, and one to write to.
pub(super) async fn in_a_schema(world: impl AsyncFnOnce(&PgPool)) {
    let schema = format!("m_{}", uuid::Uuid::now_v7().simple());
    let pool = pool("WRITE_DATABASE_URL", &schema);
    run(&pool, format!("CREATE SCHEMA {schema}")).await;
    let mut connection = pool.acquire().await.expect("a connection");
    migrations::WRITE.apply(&mut connection).await.expect("tables");
    drop(connection);
    let written = "CREATE TABLE written (place bigint GENERATED ALWAYS AS IDENTITY, key text, number bigint)";
    run(&pool, written.to_owned()).await;
    world(&pool).await;
    run(&pool, format!("DROP SCHEMA {schema} CASCADE")).await;
}

async fn run(pool: &PgPool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("SQL of the model");
}

impl Model {
    async fn new(seed: u64, pool: PgPool, order: Order) -> Self {
        let (topics, writer) =
            (Arc::new(Topics::default()), Writer::new(Pool::new(pool, ANSWER_TIMEOUT), order));
        let delays = vec![Duration::ZERO; RETRIES].into();
        let retries = Retries { role: writer.clone(), copier: topics.clone(), delays };
        let mut model = Self {
            dice: fastrand::Rng::with_seed(seed),
            topics,
            writer,
            retries,
            claims: BTreeMap::new(),
            coming: Vec::new(),
        };
        for topic in retry_topics().chain([SOURCE.to_owned()]) {
            let claim = claimed(&model.writer.pool, &model.writer.group, &topic).await;
            model.claims.insert(topic, claim);
        }
        model.plan();
        model
    }

    /// What arrives: every key in its order, some records twice, some late, some that fail once, twice or always.
    fn plan(&mut self) {
        let mut next: BTreeMap<&str, i64> = BTreeMap::new();
        while next.values().sum::<i64>() < PER_KEY * KEYS.len() as i64 {
            let key = KEYS[self.dice.usize(..KEYS.len())];
            let number = next.entry(key).or_default();
            if *number < PER_KEY {
                *number += 1;
                self.arrives(key, *number);
            }
        }
        let (dice, coming) = (&mut self.dice, &mut self.coming);
        if self.writer.versioned() {
            // Late: its followers wait at a gap.
            let late: Vec<usize> = (0..coming.len()).filter(|_| dice.u8(..12) == 0).collect();
            for place in late.into_iter().rev() {
                let record = coming.remove(place);
                coming.insert((place + 4).min(coming.len()), record);
            }
        }
    }

    fn arrives(&mut self, key: &'static str, number: i64) {
        self.coming.push((key, number));
        if self.dice.u8(..10) == 0 {
            self.coming.push((key, number));
        }
        let times = match self.dice.u8(..12) {
            0 => 1,
            1 => RETRIES as u32,
            2 => u32::MAX,
            _ => return,
        };
        // A dead record that nothing waits for must not be the last of its key, to see that it goes on.
        if self.writer.waits_behind_dead() || number < PER_KEY {
            self.failures().insert((key.to_owned(), number), times);
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, i64), u32>> {
        self.writer.failures.lock().expect("no test panics with it")
    }

    async fn run(mut self, seed: u64) {
        for _ in 0..STEPS_MAX {
            if self.is_quiet().await {
                self.everything_is_in_its_place(seed).await;
                self.each_dies_once(seed).await;
                return;
            }
            self.step().await;
        }
        panic!("seed {seed}: some key is blocked for ever");
    }

    async fn step(&mut self) {
        match self.dice.u8(..10) {
            0..=2 if !self.coming.is_empty() => {
                let (key, number) = self.coming.remove(0);
                self.topics.write(key, number, self.writer.order);
            }
            0..=5 => self.work(SOURCE.to_owned()).await,
            6..=8 => {
                let level = self.dice.usize(..RETRIES);
                let topic = retry_topics().nth(level).expect("a level");
                self.work(topic).await;
            }
            _ => self.long_after().await,
        }
    }

    /// A worker's batch of a topic, which may crash before its commit, or after it without knowing.
    async fn work(&mut self, topic: String) {
        let claim = self.claims.get(&topic).expect("a claim of every topic").clone();
        let most = self.dice.usize(1..=8);
        let batch = self.topics.read(&topic, claim.applied, most);
        if batch.is_empty() {
            return;
        }
        let copies: i64 = retry_topics().map(|topic| self.topics.len(&topic)).sum();
        let crashes = self.dice.u8(..6) == 0;
        if self.attempt(&claim, &batch, crashes).await && self.dice.u8(..15) == 0 {
            self.lose_a_copy(copies);
        }
        let claim = claim.take_again(&self.writer.pool).await.expect("a claim");
        self.claims.insert(topic, claim);
    }

    /// Now and then Kafka's retention takes a copy before anybody reads it.
    fn lose_a_copy(&mut self, before: i64) {
        let after: i64 = retry_topics().map(|topic| self.topics.len(&topic)).sum();
        let unread = retry_topics()
            .find(|topic| self.claims.get(topic).is_some_and(|claim| claim.applied < self.topics.len(topic)));
        if let Some(topic) = unread.filter(|_| after > before) {
            self.topics.lose_last(&topic);
        }
    }

    async fn attempt(&self, claim: &Claim, batch: &[Record], crashes: bool) -> bool {
        let (at, records) = (end(batch), batch.iter().collect::<Vec<_>>());
        let mut transaction = self.writer.pool.begin().await.expect("a transaction");
        claim.advance(&mut transaction, at.offset + 1, None).await.expect("our own claim");
        let settled = if claim.topic == SOURCE {
            self.retries.settle(&mut transaction, &at, &records, None).await
        } else {
            self.retries.settle_wake_ups(&mut transaction, &at, &records).await
        };
        drop(settled.expect("a batch that can be settled"));
        if crashes {
            transaction.rollback().await.expect("a rollback");
        } else {
            transaction.commit().await.expect("a commit");
        }
        !crashes
    }

    /// Time passes: blocking records whose wake-up copy was lost are overdue.
    async fn long_after(&mut self) {
        run(&self.writer.pool, "UPDATE blocked_key SET due_at = now() - interval '1 hour'".to_owned()).await;
        self.retries.sweep().await.expect("a sweep");
    }

    /// All has arrived and was read, and nothing is left to be tried.
    async fn is_quiet(&self) -> bool {
        let read = self.claims.iter().all(|(topic, claim)| claim.applied >= self.topics.len(topic));
        let retrying = "SELECT count(*) FROM blocked_key WHERE status = 'retrying'";
        self.coming.is_empty() && read && self.count(retrying).await == 0
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&*self.writer.pool).await.expect("a count")
    }

    async fn everything_is_in_its_place(&self, seed: u64) {
        for key in KEYS {
            let written = self.written(key).await;
            let expected = self.expected(key);
            assert_eq!(written, expected, "seed {seed}, key {key}");
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(DISTINCT headers) FROM parked WHERE convert_from(key, 'UTF8') = $1",
            )
            .bind(key)
            .fetch_one(&*self.writer.pool)
            .await
            .expect("a count");
            let missing = if self.writer.waits_behind_dead() { PER_KEY - expected.len() as i64 } else { 0 };
            assert_eq!(
                waiting, missing,
                "seed {seed}: what is behind a dead letter of {key} is kept, all else is removed"
            );
        }
        if !self.writer.waits_behind_dead() {
            let dead = self.failures().values().filter(|times| **times == u32::MAX).count();
            let letters =
                self.count("SELECT count(DISTINCT (topic, partition, \"offset\")) FROM dead_letter").await;
            assert!(
                letters >= dead as i64,
                "seed {seed}: {dead} records always fail, {letters} are dead letters"
            );
        }
        assert_eq!(
            self.count("SELECT count(*) FROM blocked_key WHERE status = 'gap'").await,
            0,
            "seed {seed}"
        );
    }

    /// What is tried once more after its death dies once more.
    async fn each_dies_once(&self, seed: u64) {
        let letters = "SELECT count(*) - count(DISTINCT (topic, partition, \"offset\")) FROM dead_letter";
        assert_eq!(self.count(letters).await, 0, "seed {seed}: a record has one dead letter at most");
    }

    async fn written(&self, key: &str) -> Vec<i64> {
        sqlx::query_scalar("SELECT number FROM written WHERE key = $1 ORDER BY place")
            .bind(key)
            .fetch_all(&*self.writer.pool)
            .await
            .expect("what was written")
    }

    /// A key ends before its first dead record, or leaves it out.
    fn expected(&self, key: &str) -> Vec<i64> {
        let failures = self.failures();
        let dead = |number: &i64| failures.get(&(key.to_owned(), *number)) == Some(&u32::MAX);
        if self.writer.waits_behind_dead() {
            (1..=PER_KEY).take_while(|number| !dead(number)).collect()
        } else {
            (1..=PER_KEY).filter(|number| !dead(number)).collect()
        }
    }
}
