//! Copies on dead letter topics whose letters retention has removed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_store::dead_letter;
use millrace_store::names::dead_letter_topic;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Partition, Reader, admin, admin_options};
use crate::layout;
use crate::postgres::Database;

/// The offsets below which copies go.
type Bounds = BTreeMap<Partition, i64>;

/// Deletes the copies below the first one that a letter of this side still names, and that are older than `before`: a copy is on the
/// topic for a moment before its letter is committed. Returns how many there were.
///
/// # Errors
/// When the database or Kafka does not answer, or Kafka refuses it.
pub(super) async fn remove(
    config: &Config,
    database: &Database,
    before: DateTime<Utc>,
) -> Result<i64, Failure> {
    let named = dead_letter::first_copies(&database.pool).await.map_err(|error| database.failure(error))?;
    let of = |(topic, group, partition, offset): (String, String, _, _)| {
        ((dead_letter_topic(&topic, &group), partition), offset)
    };
    let named: Bounds = named.into_iter().map(of).collect();
    let topics = topics(config, database);
    let (bounds, copies) = tokio::task::block_in_place(|| bounds(config, topics, &named, before))?;
    delete(config, bounds).await?;
    Ok(copies)
}

/// The dead letter topics of a side's groups.
fn topics(config: &Config, database: &Database) -> Vec<String> {
    let groups = layout::groups(config).into_iter().filter(|group| group.side == database.side);
    let of = |group: layout::Group| {
        group.topics.into_iter().map(move |topic| dead_letter_topic(&topic, &group.id))
    };
    groups.flat_map(of).collect()
}

/// The bounds of partitions that have copies below them, and how many these are.
fn bounds(
    config: &Config,
    topics: Vec<String>,
    named: &Bounds,
    before: DateTime<Utc>,
) -> Result<(Bounds, i64), Failure> {
    let reader = Reader::new(&config.kafka)?;
    let ends = reader.ends_of_topics(topics)?;
    let some: Vec<Partition> =
        ends.iter().filter(|(_, (first, end))| first < end).map(|(partition, _)| partition.clone()).collect();
    let since = reader.first_since(&some, before)?;
    let (mut bounds, mut copies) = (Bounds::new(), 0);
    for partition in some {
        let Some((first, end)) = ends.get(&partition) else { continue };
        let bound =
            [named.get(&partition), since.get(&partition)].into_iter().flatten().fold(*end, |a, b| a.min(*b));
        if bound > *first {
            copies += bound - first;
            bounds.insert(partition, bound);
        }
    }
    Ok((bounds, copies))
}

async fn delete(config: &Config, bounds: Bounds) -> Result<(), Failure> {
    if bounds.is_empty() {
        return Ok(());
    }
    let fail = |error: KafkaError| kafka::failure(&config.kafka, &error);
    let mut list = TopicPartitionList::with_capacity(bounds.len());
    for ((topic, partition), bound) in &bounds {
        list.add_partition_offset(topic, *partition, Offset::Offset(*bound)).map_err(fail)?;
    }
    let deleted = admin(&config.kafka)?.delete_records(&list, &admin_options()).await.map_err(fail)?;
    deleted.elements().iter().try_for_each(|one| one.error()).map_err(fail)
}
