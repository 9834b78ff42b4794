//! A peer: Debezium's JDBC sink, which Kafka Connect runs, on a topic with the state of a row in each record.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millrace_testkit::Stack;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::cpu;
use crate::instance::Instance;
use crate::stack::observer;

/// How long Connect may refuse requests during a rebalance.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(250);
const CLASS: &str = "io.debezium.connector.jdbc.JdbcSinkConnector";
/// As much at once as Millrace takes.
const BATCH_RECORDS: &str = "2000";

/// A connector that runs.
pub(super) struct Sink {
    stack: Stack,
    name: String,
    group: String,
    connection: PgConnection,
    backend: u32,
    pid: u32,
    versions: String,
}

/// The topic with the state of a row in each record.
pub(super) fn topic(instance: &Instance) -> String {
    instance.topic("row", "customers")
}

/// Creates that topic.
pub(super) async fn create_topic(instance: &Instance, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = instance.stack.kafka().create()?;
    let topic = topic(instance);
    let wanted = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    for answer in admin.create_topics([&wanted], &AdminOptions::new()).await? {
        answer.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

impl Sink {
    /// Gives the connector to Connect.
    pub(super) async fn start(instance: &Instance, partitions: i32, tuned: bool) -> Result<Self> {
        let stack = instance.stack.clone();
        let port = Stack::port(stack.connect_url()).context("Connect's address has no port")?;
        let pid = cpu::listener(port).context("Connect runs on another machine")?;
        let (connection, backend) = observer(stack.read_database_url()).await?;
        // Every event raises the version of its row by one, so that versions count events, folded together or not.
        let versions =
            format!("SELECT coalesce(sum(version), 0)::bigint FROM \"{}\".customers_g1", instance.name);
        let (name, group) = (format!("{}_sink", instance.name), instance.group("sink"));
        let sink = Self { stack, name, group, connection, backend, pid, versions };
        let _ = sink.ask(Method::DELETE, "", None).await;
        let config = sink.config(instance, partitions, tuned)?;
        sink.patiently(Method::PUT, "/config", Some(&config)).await?;
        Ok(sink)
    }

    fn config(&self, instance: &Instance, partitions: i32, tuned: bool) -> Result<Value> {
        let url = Url::parse(self.stack.read_database_url())?;
        let mut place = format!(
            "jdbc:postgresql://{}:{}{}?currentSchema={}",
            url.host_str().context("a database without host")?,
            url.port().unwrap_or(5432),
            url.path(),
            instance.name
        );
        if tuned {
            place.push_str("&reWriteBatchedInserts=true");
        }
        let mut config = json!({
            "connector.class": CLASS, "topics": topic(instance), "consumer.override.group.id": self.group,
            "connection.url": place, "connection.username": url.username(),
            "connection.password": url.password().unwrap_or_default(),
            "collection.name.format": "customers_g1", "insert.mode": "upsert",
            "primary.key.mode": "record_value", "primary.key.fields": "customer_id",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true", "value.converter.schema.content": schema().to_string(),
        });
        if let (true, Some(config)) = (tuned, config.as_object_mut()) {
            config.extend(tuning(partitions));
        }
        Ok(config)
    }

    async fn patiently(&self, method: Method, what: &str, body: Option<&Value>) -> Result<()> {
        let until = Instant::now() + ACCEPTS_WITHIN;
        loop {
            match self.ask(method.clone(), what, body).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn ask(&self, method: Method, what: &str, body: Option<&Value>) -> Result<Value> {
        self.stack.connect(method, &format!("connectors/{}{what}", self.name), body).await
    }

    /// The process whose CPU time is the writer's: Connect, where nothing else is at work.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The measurement's own process in Postgres.
    pub(super) fn backend(&self) -> u32 {
        self.backend
    }

    /// How many events the rows hold. Fails when a task has failed.
    pub(super) async fn committed(&mut self) -> Result<u64> {
        let versions = AssertSqlSafe(self.versions.as_str());
        let committed: i64 = sqlx::query_scalar(versions).fetch_one(&mut self.connection).await?;
        Ok(u64::try_from(committed)?)
    }

    /// Connect's status of it, for error messages.
    pub(super) async fn status(&self) -> String {
        self.ask(Method::GET, "/status", None).await.map_or_else(|error| error.to_string(), |v| v.to_string())
    }

    /// Removes the connector and its group.
    pub(super) async fn stop(self) -> Result<()> {
        self.patiently(Method::DELETE, "", None).await?;
        let admin: AdminClient<DefaultClientContext> = self.stack.kafka().create()?;
        let until = Instant::now() + ACCEPTS_WITHIN;
        loop {
            let answers = admin.delete_groups(&[&self.group], &AdminOptions::new()).await?;
            if answers.iter().all(Result::is_ok) || Instant::now() > until {
                return Ok(());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// The settings for speed from its manual.
fn tuning(partitions: i32) -> [(String, Value); 5] {
    [
        ("tasks.max", partitions.to_string()),
        ("batch.size", BATCH_RECORDS.to_owned()),
        ("consumer.override.max.poll.records", BATCH_RECORDS.to_owned()),
        ("use.reduction.buffer", "true".to_owned()),
        ("dialect.postgres.unnest.insert.enabled", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), Value::from(value)))
}

/// The schema of every record: given once, so that records need not carry it.
fn schema() -> Value {
    let text = |field: &str| json!({"field": field, "type": "string", "optional": true});
    json!({"type": "struct", "optional": false, "name": "customer", "fields": [
        {"field": "customer_id", "type": "string", "optional": false},
        text("name"), text("contact_name"), text("email"), text("phone"), text("city"), text("country"),
        {"field": "version", "type": "int64", "optional": false},
        {"field": "updated_at", "type": "string", "optional": false, "name": "io.debezium.time.ZonedTimestamp"},
    ]})
}
