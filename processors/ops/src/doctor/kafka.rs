//! Brokers, replicas of the instance's topics, and the brokers' settings.

mod versions;

use std::collections::BTreeSet;

use rdkafka::admin::{ConfigResource, ResourceSpecifier};
use rdkafka::metadata::Metadata;

use super::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, TIMEOUT};
use crate::layout;

pub(super) const PART: &str = "kafka";

/// Minutes: seven days, Kafka's default.
const OFFSETS_RETENTION_MIN: i64 = 7 * 24 * 60;

pub(super) async fn check(config: &Config) -> Result<Vec<Finding>, Failure> {
    let admin = kafka::admin(&config.kafka)?;
    let fail = |error| kafka::failure(&config.kafka, &error);
    let metadata =
        tokio::task::block_in_place(|| admin.inner().fetch_metadata(None, TIMEOUT)).map_err(fail)?;
    let mut found = replicas(config, &metadata);
    found.extend(versions::all(config, &metadata).await);
    let brokers: Vec<i32> = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
    let asked: Vec<ResourceSpecifier<'_>> = brokers.iter().map(|id| ResourceSpecifier::Broker(*id)).collect();
    for (id, described) in
        brokers.iter().zip(admin.describe_configs(&asked, &kafka::admin_options()).await.map_err(fail)?)
    {
        match described {
            Ok(settings) => found.extend(of_broker(*id, &|name| value(&settings, name))),
            Err(code) => found.push(Finding::advice(
                PART,
                format!("the settings of broker {id} cannot be read: {code}"),
                "grant DescribeConfigs on the cluster to check them",
            )),
        }
    }
    Ok(found)
}

fn value(settings: &ConfigResource, name: &str) -> Option<String> {
    settings.get(name).and_then(|entry| entry.value.clone())
}

/// Partitions of this instance whose replicas are not in sync, and topics with one replica on several brokers.
fn replicas(config: &Config, metadata: &Metadata) -> Vec<Finding> {
    let brokers = metadata.brokers().len();
    let ours: BTreeSet<String> = layout::topics(config).into_iter().map(|topic| topic.name).collect();
    let topics = metadata.topics().iter().filter(|topic| ours.contains(topic.name()));
    let partitions: Vec<(usize, usize)> = topics
        .flat_map(|topic| topic.partitions())
        .map(|partition| (partition.replicas().len(), partition.isr().len()))
        .collect();
    of_replicas(brokers, &partitions)
}

/// By the number of replicas, and of those in sync, of each partition.
fn of_replicas(brokers: usize, partitions: &[(usize, usize)]) -> Vec<Finding> {
    let mut found = vec![Finding::fine(PART, format!("{brokers} brokers, {} partitions", partitions.len()))];
    let behind = partitions.iter().filter(|(replicas, in_sync)| in_sync < replicas).count();
    if behind > 0 {
        let what = format!("{behind} partitions have replicas that are not in sync");
        found.push(Finding::wrong(
            PART,
            what,
            "kafka-topics --describe --under-replicated-partitions; mend the broker",
        ));
    }
    let alone = partitions.iter().filter(|(replicas, _)| *replicas < 2).count();
    if brokers > 1 && alone > 0 {
        let what = format!(
            "{alone} partitions have one replica on {brokers} brokers: one lost disk loses their records"
        );
        found.push(Finding::advice(
            PART,
            what,
            "kafka-reassign-partitions; topics.replication_factor for new topics",
        ));
    }
    found
}

fn of_broker(id: i32, setting: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let request = setting("socket.request.max.bytes").and_then(|value| value.parse::<u32>().ok());
    if let Some(bytes) = request.filter(|bytes| *bytes < layout::COPY_BYTES_MAX) {
        let what = format!(
            "broker {id} takes requests of {bytes} bytes at most: copies of large records are refused"
        );
        let mend = format!("socket.request.max.bytes={} or more", layout::COPY_BYTES_MAX);
        found.push(Finding::wrong(PART, what, mend));
    }
    if setting("unclean.leader.election.enable").is_some_and(|value| value == "true") {
        let what = format!(
            "broker {id} may elect a leader that lacks acknowledged records (unclean.leader.election.enable)"
        );
        let mend = "kafka-configs --alter --entity-type brokers --entity-default --add-config unclean.leader.election.enable=false";
        found.push(Finding::wrong(PART, what, mend));
    }
    let minutes = setting("offsets.retention.minutes").and_then(|value| value.parse::<i64>().ok());
    if let Some(minutes) = minutes.filter(|minutes| *minutes < OFFSETS_RETENTION_MIN) {
        let what =
            format!("broker {id} forgets offsets of groups after {minutes} minutes: tools then show no lag");
        found.push(Finding::advice(
            PART,
            what,
            format!("offsets.retention.minutes={OFFSETS_RETENTION_MIN} or more"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn replicas_that_are_behind_are_wrong_and_single_ones_on_several_brokers_a_risk() {
        let worst = |brokers, partitions: &[(usize, usize)]| {
            of_replicas(brokers, partitions).iter().map(|finding| finding.level).max().unwrap()
        };
        assert_eq!(worst(1, &[(1, 1)]), Level::Fine);
        assert_eq!(worst(3, &[(3, 3)]), Level::Fine);
        assert_eq!(worst(3, &[(1, 1)]), Level::Advice);
        assert_eq!(worst(3, &[(3, 2)]), Level::Wrong);
    }

    #[test]
    fn a_broker_that_loses_acknowledged_records_is_wrong() {
        let unclean = |name: &str| (name == "unclean.leader.election.enable").then(|| "true".to_owned());
        assert_eq!(of_broker(1, &unclean)[0].level, Level::Wrong);
        let forgetful = |name: &str| (name == "offsets.retention.minutes").then(|| "60".to_owned());
        assert_eq!(of_broker(1, &forgetful)[0].level, Level::Advice);
        let narrow = |name: &str| (name == "socket.request.max.bytes").then(|| "1048576".to_owned());
        assert_eq!(of_broker(1, &narrow)[0].level, Level::Wrong);
        let usual = |name: &str| (name == "socket.request.max.bytes").then(|| "104857600".to_owned());
        assert!(of_broker(1, &|_| None).is_empty() && of_broker(1, &usual).is_empty());
    }
}
