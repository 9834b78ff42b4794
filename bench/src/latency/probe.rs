//! Polling whether commands have arrived.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use hdrhistogram::Histogram;
use millrace_testkit::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::instance::Instance;
use crate::stack::observer;

const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// Searches cost more, and what they find changes only with a refresh.
const BETWEEN_SEARCHES: Duration = Duration::from_millis(100);
/// Elasticsearch gives no more hits at once.
const MOST_FOUND: usize = 10_000;
/// A query takes at most a quarter of the time: the longer it takes, the longer the pause after it.
const REST: u32 = 3;
/// A row that is not there by then is given up.
pub(crate) const LATEST: Duration = Duration::from_secs(30);

/// A command that is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) customer: String,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    /// False while warming up.
    pub(crate) counts: bool,
    /// Partition and offset of the command, and so of its only event.
    pub(crate) place: (i32, i64),
}

/// The results of a probe.
pub(crate) struct Watched {
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
    /// From one look to the next, in microseconds.
    pub(crate) period: Histogram<u64>,
    pub(crate) missing: usize,
    /// When each customer was seen, in milliseconds since 1970; without those of the warm-up.
    pub(crate) seen: HashMap<String, f64>,
}

/// A query for arrived commands.
pub(crate) trait Look: Send + 'static {
    /// For each command whether it has arrived.
    fn arrived(&mut self, sent: &[Sent]) -> impl Future<Output = Result<Vec<bool>>> + Send;

    /// How long to wait before the next look, at least.
    fn pause(&self) -> Duration {
        BETWEEN_LOOKS
    }
}

/// A task that looks.
pub(crate) struct Probe(JoinHandle<Result<Watched>>);

impl Probe {
    /// Starts looking for what is sent into the channel.
    pub(crate) fn start(look: impl Look) -> (UnboundedSender<Sent>, Self) {
        let (sender, sent) = unbounded_channel();
        (sender, Self(tokio::spawn(watch(look, sent))))
    }

    /// What was seen, once the channel is closed and everything has arrived or time is up.
    pub(crate) async fn finish(self) -> Result<Watched> {
        self.0.await?
    }
}

async fn watch(mut look: impl Look, mut sent: UnboundedReceiver<Sent>) -> Result<Watched> {
    let mut watched =
        Watched { latency: Histogram::new(3)?, period: Histogram::new(3)?, missing: 0, seen: HashMap::new() };
    let mut outstanding = Vec::new();
    loop {
        if outstanding.is_empty() {
            let Some(next) = sent.recv().await else { return Ok(watched) };
            outstanding.push(next);
        }
        while let Ok(next) = sent.try_recv() {
            outstanding.push(next);
        }
        let began = Instant::now();
        let arrived = look.arrived(&outstanding).await?;
        watched.take(&mut outstanding, &arrived)?;
        tokio::time::sleep(look.pause().max(REST * began.elapsed())).await;
        watched.period.record(microseconds(began.elapsed()))?;
    }
}

impl Watched {
    /// Records those that have arrived and gives up those that are too late.
    fn take(&mut self, outstanding: &mut Vec<Sent>, arrived: &[bool]) -> Result<()> {
        let mut arrived = arrived.iter().copied();
        let mut left = Vec::with_capacity(outstanding.len());
        for sent in outstanding.drain(..) {
            match arrived.next() {
                Some(true) if sent.counts => self.record(sent)?,
                Some(true) => {}
                _ if sent.intended.elapsed() > LATEST => self.missing += 1,
                _ => left.push(sent),
            }
        }
        *outstanding = left;
        Ok(())
    }

    fn record(&mut self, sent: Sent) -> Result<()> {
        self.latency.record(microseconds(sent.intended.elapsed()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1_000.0;
        self.seen.insert(sent.customer, now);
        Ok(())
    }
}

/// A duration as histograms hold it.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Rows of the view in Postgres.
pub(crate) struct Rows(Questions);

impl Rows {
    /// Opens a separate connection.
    pub(crate) async fn connect(instance: &Instance) -> Result<Self> {
        let sql =
            format!("SELECT customer_id FROM \"{}\".customers WHERE customer_id = ANY($1)", instance.name);
        Questions::connect(instance, sql).await.map(Self)
    }

    /// The process in Postgres that answers.
    pub(crate) fn backend(&self) -> u32 {
        self.0.backend
    }
}

impl Look for Rows {
    async fn arrived(&mut self, sent: &[Sent]) -> Result<Vec<bool>> {
        let ids: Vec<&str> = sent.iter().map(|sent| sent.customer.as_str()).collect();
        let query = sqlx::query_scalar(AssertSqlSafe(self.0.sql.as_str())).bind(ids);
        let found: Vec<String> = query.fetch_all(&mut self.0.connection).await?;
        let found: HashSet<String> = found.into_iter().collect();
        Ok(sent.iter().map(|sent| found.contains(&sent.customer)).collect())
    }
}

/// A mark that a group commits: what lies below it is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// Its row is written, in the transaction that moves the mark.
    Applied,
    /// Elasticsearch has acknowledged its document; committed after its answer was read.
    Published,
}

/// The marks of a group of the view of customers. Looking costs the same however many commands are on their way.
pub(crate) struct Marks {
    questions: Questions,
    group: String,
    topic: String,
}

impl Marks {
    /// Opens a separate connection.
    pub(crate) async fn connect(instance: &Instance, role: &str, mark: Mark) -> Result<Self> {
        let column = match mark {
            Mark::Applied => "applied",
            Mark::Published => "published",
        };
        let sql = format!(
            "SELECT partition, {column} FROM \"{}\".consumer_offset WHERE grp = $1 AND topic = $2",
            instance.name
        );
        let (group, topic) = (instance.group(role), instance.topic("evt", "customers"));
        Ok(Self { questions: Questions::connect(instance, sql).await?, group, topic })
    }

    /// The process in Postgres that answers.
    pub(crate) fn backend(&self) -> u32 {
        self.questions.backend
    }
}

impl Look for Marks {
    async fn arrived(&mut self, sent: &[Sent]) -> Result<Vec<bool>> {
        let query =
            sqlx::query_as(AssertSqlSafe(self.questions.sql.as_str())).bind(&self.group).bind(&self.topic);
        let marks: Vec<(i32, i64)> = query.fetch_all(&mut self.questions.connection).await?;
        let passed =
            |(partition, offset): (i32, i64)| marks.iter().any(|mark| mark.0 == partition && mark.1 > offset);
        Ok(sent.iter().map(|sent| passed(sent.place)).collect())
    }
}

struct Questions {
    connection: PgConnection,
    backend: u32,
    sql: String,
}

impl Questions {
    async fn connect(instance: &Instance, sql: String) -> Result<Self> {
        let (mut connection, backend) = observer(instance.stack.read_database_url()).await?;
        // A table that was just made looks small to the planner, and reading all of it at each look would be the load.
        sqlx::raw_sql("SET enable_seqscan = off").execute(&mut connection).await?;
        Ok(Self { connection, backend, sql })
    }
}

/// Documents, by a GET that does not wait for a refresh.
pub(crate) struct Documents {
    stack: Stack,
    path: String,
}

impl Documents {
    /// Of the view of customers.
    pub(crate) fn new(instance: &Instance) -> Self {
        let path = format!(
            "{}/_mget?realtime=true&_source=false&filter_path=docs.found",
            instance.alias("customers")
        );
        Self { stack: instance.stack.clone(), path }
    }
}

impl Look for Documents {
    async fn arrived(&mut self, sent: &[Sent]) -> Result<Vec<bool>> {
        let ids: Vec<&str> = sent.iter().map(|sent| sent.customer.as_str()).collect();
        let found = self.stack.elasticsearch(Method::POST, &self.path, Some(&json!({"ids": ids}))).await?;
        let documents = found.get("docs").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(documents.iter().map(|document| document.get("found") == Some(&Value::Bool(true))).collect())
    }
}

/// Documents, by a search: what a refresh has made visible.
pub(crate) struct Found {
    stack: Stack,
    path: String,
}

impl Found {
    /// Of the view of customers.
    pub(crate) fn new(instance: &Instance) -> Self {
        let path = format!("{}/_search?filter_path=hits.hits._id", instance.alias("customers"));
        Self { stack: instance.stack.clone(), path }
    }
}

impl Look for Found {
    async fn arrived(&mut self, sent: &[Sent]) -> Result<Vec<bool>> {
        // Those that were sent first are found first; a search gives no more than so many.
        let asked: Vec<&str> = sent.iter().take(MOST_FOUND).map(|sent| sent.customer.as_str()).collect();
        let query = json!({"size": asked.len(), "_source": false, "query": {"ids": {"values": asked}}});
        let answer = self.stack.elasticsearch(Method::POST, &self.path, Some(&query)).await?;
        let hits = answer.pointer("/hits/hits").and_then(Value::as_array).cloned().unwrap_or_default();
        let found: HashSet<&str> = hits.iter().filter_map(|hit| hit.get("_id")?.as_str()).collect();
        Ok(sent.iter().map(|sent| found.contains(sent.customer.as_str())).collect())
    }

    fn pause(&self) -> Duration {
        BETWEEN_SEARCHES
    }
}
