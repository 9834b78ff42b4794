//! The configuration of Kafka's clients: properties that can be tuned, and those that the guarantees depend on.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::release;

/// How to reach Kafka.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port`, comma separated.
    pub brokers: String,
    /// A member that sends no heartbeat for this long loses its partitions.
    pub session_timeout: Duration,
    /// How often a member sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// Further librdkafka properties, such as those for TLS, in which [`problem`] finds no problem.
    pub properties: HashMap<String, String>,
}

impl KafkaSettings {
    /// Sets a property unless it is configured.
    #[must_use]
    pub fn or(mut self, name: &str, value: &str) -> Self {
        self.properties.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        self
    }
}

/// A property with all of its names, and its value or the reason why it is refused.
pub type Property = (&'static [&'static str], &'static str);

/// Properties that cannot be configured, and why.
const REFUSED: &[Property] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "`kafka.brokers` names the brokers"),
    (&["group.id"], "groups are called after the namespace and their role"),
    (
        &["group.instance.id"],
        "every role of every process is a separate member, and static members with one id fence each other",
    ),
    (
        &["session.timeout.ms"],
        "`kafka.session_timeout` configures it, so that `postgres.transaction_timeout` can be compared with it",
    ),
    (&["heartbeat.interval.ms"], "`kafka.heartbeat_interval` configures it"),
    (
        &["partition.assignment.strategy"],
        "partitions are reassigned incrementally, and the others are processed meanwhile",
    ),
    (
        &["enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store"],
        "an offset is committed in Postgres, together with the rows that it guards",
    ),
    (
        &["auto.offset.reset"],
        "when an offset no longer exists an operator decides: nothing is skipped or read again silently",
    ),
    (&["isolation.level"], "records of an aborted transaction must not have an effect"),
    (&["enable.partition.eof"], "the end of a partition is no record"),
    (&["topic.blacklist"], "topics would not be read, and nothing would report it"),
    (&["allow.auto.create.topics"], "`millrace setup` creates topics, with their sizes"),
    (
        &["enable.idempotence", "acks", "request.required.acks"],
        "a copy counts once every replica in sync has it, and keeps its order",
    ),
    (
        &["transactional.id"],
        "copies for retries are not written in Kafka's transactions: those of Postgres decide",
    ),
    (&["partitioner"], "a key must have the same partition as with the clients in Java and Connect"),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        "a transaction in Postgres waits for the acknowledgement: `postgres.transaction_timeout` bounds it",
    ),
    (&["delivery.report.only.error"], "acknowledgements must be reported"),
    (&["message.max.bytes"], "every record that a topic has accepted must fit as a dead letter"),
];

/// The name of clients, unless it is configured. A member's client id also has the release.
const CLIENT: &str = "millrace";

/// The limit of a fetch response, and of the decompressed size of a zstd batch. librdkafka tries buffers that grow by a factor of
/// three, so up to a third of it always fits.
const RECEIVE_MAX: &str = "receive.message.max.bytes";

/// Properties of consumers, with their values unless they are configured.
const CONSUMER: &[Property] = &[
    // For each group of the process. Records that wait for their batch are bounded by `processing.buffer`.
    (&["queued.max.messages.kbytes"], "1024"),
    (&["queued.min.messages"], "5000"),
    // For each partition: 1 MiB of one partition takes most of the buffer once it is decompressed, and the other partitions would
    // wait. The first batch of a response is always returned, however large it is (KIP-74).
    (&["fetch.message.max.bytes", "max.partition.fetch.bytes"], "262144"),
    // The default of one second would add to the latency after each full queue.
    (&["fetch.queue.backoff.ms"], "2"),
    // More than the record limit of Millrace's topics. Each group of a process decompresses separately, and all share 256 MB.
    (&[RECEIVE_MAX], "33554432"),
    // A batch with a wrong checksum becomes a dead letter instead of garbage that may decode as a record.
    (&["check.crcs"], "true"),
];

/// Properties of the producer of copies, with their values unless they are configured.
pub(crate) const COPIES: &[Property] =
    &[(&["linger.ms", "queue.buffering.max.ms"], "0"), (&["compression.type", "compression.codec"], "lz4")];

/// KIP-848: the coordinator assigns partitions, and the broker's configuration has the timeouts.
const PROTOCOL: &str = "group.protocol";
const BY_THE_COORDINATOR: &str = "consumer";

/// Why these properties cannot be set; never with a value, which may be a secret.
pub fn problem(properties: &HashMap<String, String>) -> Option<String> {
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort();
    let refused = names.iter().find_map(|name| {
        let (_, why) = REFUSED.iter().find(|(refused, _)| refused.contains(&name.as_str()))?;
        Some(format!("`{name}` cannot be set: {why}"))
    });
    refused.or_else(|| names.into_iter().find_map(|name| unknown(name, properties.get(name)?)))
}

/// Why librdkafka refuses a property.
fn unknown(name: &str, value: &str) -> Option<String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Some(format!("librdkafka knows no property `{name}`"))
        }
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_INVALID, ..)) => {
            Some(format!("`{name}` cannot have the value that it is given"))
        }
        Err(error) => Some(format!("`{name}`: {error}")),
        Ok(_) => None,
    }
}

/// Checks whether a consumer can be created with these settings: some properties contradict each other.
///
/// # Errors
/// Why librdkafka refuses them; never with a value.
pub fn check(kafka: &KafkaSettings) -> Result<(), String> {
    match consumer(kafka, "millrace").create::<BaseConsumer>() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, reason, name, _)) => Err(format!("`{name}`: {reason}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The configuration of a member of a group.
pub fn consumer(kafka: &KafkaSettings, group: &str) -> ClientConfig {
    let mut config = configured(kafka, CONSUMER);
    let name = kafka.properties.get("client.id").cloned().unwrap_or_else(member_name);
    let client = release::client_id(&name);
    config
        .set("group.id", group)
        .set("client.id", client)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    if kafka.properties.get(PROTOCOL).is_none_or(|protocol| protocol != BY_THE_COORDINATOR) {
        config
            .set("session.timeout.ms", kafka.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", kafka.heartbeat_interval.as_millis().to_string())
            .set("partition.assignment.strategy", "cooperative-sticky");
    }
    config
}

/// The name of a member, unless it is configured: `millrace-<host>-<process>`, so that Kafka's tools show whose partition it is.
fn member_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{CLIENT}-{}-{}", host.trim(), std::process::id())
}

/// The largest fetch response of a member in bytes, which is also the largest decompressed zstd batch.
pub fn answer_bytes_max(kafka: &KafkaSettings) -> i64 {
    let set = configured(kafka, CONSUMER).get(RECEIVE_MAX).and_then(|bytes| bytes.parse().ok());
    set.unwrap_or(i64::MAX)
}

/// The configuration of a producer, with the values `chosen` for properties that are not configured. A record that is not
/// acknowledged within `delivery_timeout` is given up.
pub fn producer(kafka: &KafkaSettings, chosen: &[Property], delivery_timeout: Duration) -> ClientConfig {
    let mut config = configured(kafka, chosen);
    config
        .set("enable.idempotence", "true")
        // The partitioner of the Java client (murmur2); librdkafka's default differs.
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", delivery_timeout.as_millis().to_string());
    config
}

/// The configured properties, and `chosen` for the rest.
fn configured(kafka: &KafkaSettings, chosen: &[Property]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers).set("client.id", CLIENT);
    for (names, value) in chosen {
        if let [name, ..] = names
            && !names.iter().any(|name| kafka.properties.contains_key(*name))
        {
            config.set(*name, *value);
        }
    }
    config.extend(kafka.properties.clone());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "127.0.0.1:1".to_owned(),
            session_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(3),
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn problem(name: &str, value: &str) -> Option<String> {
        super::problem(&settings(&[(name, value)]).properties)
    }

    #[test]
    fn a_property_on_which_a_guarantee_rests_is_refused_by_name_with_the_reason() {
        for (name, why) in REFUSED.iter().flat_map(|(names, why)| names.iter().map(move |name| (name, why))) {
            assert_eq!(problem(name, "x"), Some(format!("`{name}` cannot be set: {why}")));
        }
    }

    #[test]
    fn whatever_a_client_sets_that_cannot_be_tuned_is_in_the_table() {
        let tuned = |name: &str| {
            name == "client.id" || CONSUMER.iter().chain(COPIES).any(|(names, _)| names.contains(&name))
        };
        let kafka = settings(&[]);
        for client in [consumer(&kafka, "g"), producer(&kafka, COPIES, Duration::from_secs(1))] {
            for name in client.config_map().keys().filter(|name| !tuned(name)) {
                assert!(problem(name, "x").is_some(), "{name} is overwritten in silence");
            }
        }
    }

    #[test]
    fn what_may_be_tuned_is_tuned_under_each_of_its_names() {
        for (name, value) in
            CONSUMER.iter().flat_map(|(names, value)| names.iter().map(move |name| (name, value)))
        {
            let other = if *value == "true" { "false".to_owned() } else { format!("{value}7") };
            let config = consumer(&settings(&[(name, &other)]), "g");
            assert_eq!(
                (problem(name, &other), config.get(name)),
                (None, Some(&*other)),
                "{name} instead of {value}"
            );
        }
        let config = consumer(&settings(&[("max.partition.fetch.bytes", "17")]), "g");
        assert_eq!(config.get("fetch.message.max.bytes"), None);
        let linger =
            |kafka| producer(&kafka, COPIES, Duration::from_secs(1)).get("linger.ms").map(str::to_owned);
        assert_eq!(linger(settings(&[])), Some("0".to_owned()));
        assert_eq!(linger(settings(&[("queue.buffering.max.ms", "7")])), None);
        assert_eq!(
            consumer(&settings(&[("client.id", "x")]), "g").get("client.id"),
            Some(&*release::client_id("x"))
        );
        let name = member_name();
        assert_eq!(consumer(&settings(&[]), "g").get("client.id"), Some(&*release::client_id(&name)));
        assert!(name.ends_with(&format!("-{}", std::process::id())), "{name}");
    }

    #[test]
    fn unknown_names_and_values_are_refused_without_the_value() {
        assert_eq!(
            problem("no.such.property", "hunter2"),
            Some("librdkafka knows no property `no.such.property`".to_owned())
        );
        let reason = problem("security.protocol", "hunter2").unwrap();
        assert!(reason.contains("security.protocol") && !reason.contains("hunter2"), "{reason}");
        assert_eq!(problem("ssl.key.password", "hunter2"), None);
    }

    #[test]
    fn properties_that_contradict_each_other_are_refused() {
        assert_eq!(check(&settings(&[])), Ok(()));
        let reason = check(&settings(&[("max.poll.interval.ms", "1000")])).unwrap_err();
        assert!(reason.contains("max.poll.interval.ms"), "{reason}");
    }

    #[test]
    fn the_coordinators_protocol_has_its_timeouts_from_the_broker() {
        let config = consumer(&settings(&[(PROTOCOL, BY_THE_COORDINATOR)]), "g");
        for name in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            assert_eq!(config.get(name), None, "{name}");
        }
        assert_eq!(consumer(&settings(&[]), "g").get("session.timeout.ms"), Some("30000"));
    }
}
