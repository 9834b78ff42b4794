//! Copies on dead letter topics whose letters retention has removed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_store::dead_letter::{self, CopiesOf};
use millrace_store::names::dead_letter_topic;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Reader, admin, admin_options};
use crate::layout;
use crate::postgres::Database;

/// Copies that are old enough to go.
struct Old {
    of: CopiesOf,
    /// The first one, and the one behind the last.
    first: i64,
    end: i64,
}

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
    let mut old = tokio::task::block_in_place(|| old(config, groups(config, database), before))?;
    let asked: Vec<&CopiesOf> = old.iter().map(|old| &old.of).collect();
    let named = dead_letter::first_copies(&database.pool, &asked).await;
    let named: BTreeMap<CopiesOf, i64> =
        named.map_err(|error| database.failure(error))?.into_iter().collect();
    for Old { of, end, .. } in &mut old {
        *end = named.get(of).map_or(*end, |first| (*end).min(*first));
    }
    old.retain(|old| old.first < old.end);
    delete(config, &old).await?;
    Ok(old.iter().map(|old| old.end - old.first).sum())
}

/// The topics and groups of a side.
fn groups(config: &Config, database: &Database) -> Vec<(String, String)> {
    let groups = layout::groups(config).into_iter().filter(|group| group.side == database.side);
    groups.flat_map(|group| group.topics.into_iter().map(move |topic| (topic, group.id.clone()))).collect()
}

fn old(config: &Config, groups: Vec<(String, String)>, before: DateTime<Utc>) -> Result<Vec<Old>, Failure> {
    let reader = Reader::new(&config.kafka)?;
    let by_topic: BTreeMap<String, (String, String)> = groups
        .into_iter()
        .map(|(topic, group)| (dead_letter_topic(&topic, &group), (topic, group)))
        .collect();
    let mut ends = reader.ends_of_topics(by_topic.keys().cloned())?;
    ends.retain(|_, (first, end)| first < end);
    let since = reader.first_since(&ends.keys().cloned().collect::<Vec<_>>(), before)?;
    let old = ends.into_iter().filter_map(|(place, (first, end))| {
        let (topic, group) = by_topic.get(&place.0)?.clone();
        let end = since.get(&place).map_or(end, |since| end.min(*since));
        Some(Old { of: CopiesOf { topic, group, partition: place.1 }, first, end })
    });
    Ok(old.filter(|old| old.first < old.end).collect())
}

async fn delete(config: &Config, old: &[Old]) -> Result<(), Failure> {
    if old.is_empty() {
        return Ok(());
    }
    let fail = |error: KafkaError| kafka::failure(&config.kafka, &error);
    let mut list = TopicPartitionList::with_capacity(old.len());
    for Old { of: CopiesOf { topic, group, partition }, end, .. } in old {
        let topic = dead_letter_topic(topic, group);
        list.add_partition_offset(&topic, *partition, Offset::Offset(*end)).map_err(fail)?;
    }
    let deleted = admin(&config.kafka)?.delete_records(&list, &admin_options()).await.map_err(fail)?;
    deleted.elements().iter().try_for_each(|one| one.error()).map_err(fail)
}
