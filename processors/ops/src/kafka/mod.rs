//! Kafka, for the operator's commands.

mod commits;
mod reader;
mod sought;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_engine::{KafkaSettings, client};
use millrace_kafka::offsets;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResourceResult, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset};

pub use commits::{Commits, Committed};
pub use reader::{Reader, Seen};

use crate::config::Kafka;
use crate::failure::{Failure, Service};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// librdkafka requires a group id; it is not used, since nothing is subscribed or committed.
const NO_GROUP: &str = "millrace-operator";

/// How to reach Kafka.
pub fn settings(config: &Kafka) -> KafkaSettings {
    KafkaSettings {
        brokers: config.brokers.clone(),
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        properties: config.revealed(),
    }
}

/// The configuration of an administrator or a producer: brokers and further properties.
pub fn client_config(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    client.set("client.id", "millrace");
    client.extend(config.revealed());
    client
}

/// The configuration of a consumer of a group, as its members have it.
fn consumer_config(config: &Kafka, group: &str) -> ClientConfig {
    client::consumer(&settings(config), group)
}

/// The configuration of a consumer that joins no group.
pub fn groupless_config(config: &Kafka) -> ClientConfig {
    consumer_config(config, NO_GROUP)
}

/// A consumer that joins no group.
///
/// # Errors
/// [`Failure::Usage`] when a property is refused.
pub fn groupless(config: &Kafka) -> Result<BaseConsumer, Failure> {
    groupless_config(config).create().map_err(|error| failure(config, &error))
}

/// An admin client.
pub fn admin(config: &Kafka) -> Result<AdminClient<DefaultClientContext>, Failure> {
    client_config(config).create().map_err(|error| failure(config, &error))
}

/// The timeouts of admin requests.
pub fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// Converts an error of Kafka's client.
pub fn failure(config: &Kafka, error: &KafkaError) -> Failure {
    if let KafkaError::ClientConfig(_, reason, name, _) = error {
        let refused = Failure::usage(format!("kafka.properties: `{name}` is refused: {reason}"));
        return refused.with_source(error.clone());
    }
    Failure::unreachable(Service::Kafka, &config.brokers, error.to_string()).with_source(error.clone())
}

/// A place in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// The retention of topics in seconds; topics that keep records for ever, or whose configuration cannot be read, are left out.
///
/// # Errors
/// [`Failure::Unreachable`].
pub async fn retentions(config: &Kafka, topics: &[String]) -> Result<BTreeMap<String, f64>, Failure> {
    let fail = |error: KafkaError| failure(config, &error);
    let admin: AdminClient<DefaultClientContext> = client_config(config).create().map_err(fail)?;
    let resources: Vec<ResourceSpecifier<'_>> =
        topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let described =
        admin.describe_configs(&resources, &AdminOptions::new().request_timeout(Some(TIMEOUT))).await;
    let kept = |answer: ConfigResourceResult| -> Option<f64> {
        let text = answer.ok()?.get("retention.ms")?.value.clone()?;
        text.parse().ok().filter(|kept: &f64| *kept >= 0.0).map(|kept| kept / 1_000.0)
    };
    let answers = topics.iter().zip(described.map_err(fail)?);
    Ok(answers.filter_map(|(topic, answer)| Some((topic.clone(), kept(answer)?))).collect())
}

/// The end offsets of partitions, records of open transactions included. Blocks.
///
/// # Errors
/// [`Failure::Unreachable`].
pub fn written_ends(config: &Kafka, partitions: &[Partition]) -> Result<Offsets, Failure> {
    let fail = |error: KafkaError| failure(config, &error);
    let mut client = groupless_config(config);
    client.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = client.create().map_err(fail)?;
    offsets(&consumer, partitions, Offset::End, TIMEOUT).map_err(fail)
}

/// A topic and the number of a partition.
pub type Partition = (String, i32);
/// An offset of each partition.
pub type Offsets = BTreeMap<Partition, i64>;
