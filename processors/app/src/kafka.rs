//! Kafka, for the operator's commands.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use crate::config::Config;
use crate::failure::{Failure, Service};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of any client: brokers and further properties.
pub fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.kafka_brokers);
    client.set("client.id", "millrace");
    for (name, value) in &config.kafka_properties {
        client.set(name, value);
    }
    client
}

/// What an error of Kafka's client means.
pub fn failure(config: &Config, error: &KafkaError) -> Failure {
    if let KafkaError::ClientConfig(_, reason, name, _) = error {
        return Failure::usage(format!("kafka_properties: `{name}` is refused: {reason}"));
    }
    let address = config.kafka_brokers.clone();
    Failure::Unreachable { service: Service::Kafka, address, reason: error.to_string() }
}

/// A consumer that belongs to no group: for metadata, offsets and single records.
pub struct Reader {
    consumer: BaseConsumer<DefaultClientContext2>,
}
