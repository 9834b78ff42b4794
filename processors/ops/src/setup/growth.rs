//! Adding partitions to topics while the instance runs.
//!
//! A client computes the partition of a key modulo the number of partitions. With a multiple of that number, a key stays in its
//! partition or moves to a new one. New partitions are recorded before they are created, and held by the groups of the write side
//! that claim them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_engine::failpoints::{broken, mechanism};
use millrace_store::growth;
use rdkafka::admin::NewPartitions;
use rdkafka::types::RDKafkaErrorCode;

use super::steps::{Did, Steps};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Reader};
use crate::layout::{Side, Topic};
use crate::postgres::Database;

/// The timeout for new partitions to appear in the broker's metadata.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// A topic to be enlarged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Growth {
    topic: String,
    from: i32,
    to: i32,
}

/// The topics that have fewer partitions than wanted; refused unless the operator has `asked` to enlarge them.
pub(super) fn wanted(
    config: &Config,
    asked: bool,
    topics: &[Topic],
    there: &BTreeMap<String, i32>,
) -> Result<Vec<Growth>, Failure> {
    let mut smaller = Vec::new();
    for topic in topics {
        let to = topic.size(config);
        match there.get(&topic.name) {
            Some(from) if *from != to && topic.single => return Err(not_single(&topic.name, *from)),
            Some(from) if *from < to => {
                smaller.push(Growth { topic: topic.name.clone(), from: *from, to }.checked(asked)?);
            }
            _ => {}
        }
    }
    Ok(smaller)
}

fn not_single(topic: &str, partitions: i32) -> Failure {
    Failure::refused(format!(
        "the topic `{topic}` has {partitions} partitions and must have one: choose a new namespace."
    ))
}

impl Growth {
    fn checked(self, asked: bool) -> Result<Self, Failure> {
        let Self { topic, from, to } = &self;
        if to % from != 0 {
            return Err(Failure::refused(format!(
                "the topic `{topic}` has {from} partitions. With {to}, keys would move between existing partitions and lose \
                 their order: choose a multiple of {from}"
            )));
        }
        if !asked {
            return Err(Failure::refused(format!(
                "the topic `{topic}` has {from} partitions, and {to} are configured (topics.partitions): `millrace setup \
                 --partitions {to}` enlarges it"
            )));
        }
        Ok(self)
    }
}

/// Enlarges topics, and begins the hold time of their new partitions; also of topics that an interrupted setup has enlarged.
pub(super) async fn enlarge(
    config: &Config,
    growths: &[Growth],
    steps: &mut Steps<'_>,
) -> Result<(), Failure> {
    if !steps.dry {
        let write = Database::of(config, Side::Write)?;
        let fail = |error| write.failure(error);
        note(&write, growths).await.map_err(fail)?;
        if !growths.is_empty() {
            add_partitions(config, growths).await?;
        }
        let begun = growth::not_enlarged(&write.pool).await.map_err(fail)?;
        let there = await_told(config, growths).await?;
        for (topic, partitions) in begun.iter().filter_map(|topic| there.get_key_value(topic)) {
            let hold = config.topics.growth_hold;
            growth::enlarged(&write.pool, topic, *partitions, hold).await.map_err(fail)?;
        }
    }
    growths.iter().try_for_each(|Growth { topic, from, to }| {
        steps.report(Did::Updated, "topic", &format!("{topic}, from {from} to {to} partitions"))
    })
}

async fn note(write: &Database, growths: &[Growth]) -> sqlx::Result<()> {
    if broken(mechanism::GROWTH_HOLD) {
        return Ok(());
    }
    for Growth { topic, from, .. } in growths {
        growth::insert(&write.pool, topic, *from).await?;
    }
    Ok(())
}

async fn add_partitions(config: &Config, growths: &[Growth]) -> Result<(), Failure> {
    let new = |growth: &Growth| (growth.topic.clone(), usize::try_from(growth.to).unwrap_or_default());
    let new: Vec<(String, usize)> = growths.iter().map(new).collect();
    let new: Vec<NewPartitions<'_>> = new.iter().map(|(topic, to)| NewPartitions::new(topic, *to)).collect();
    let answers = kafka::admin(&config.kafka)?.create_partitions(&new, &kafka::admin_options()).await;
    for answer in answers.map_err(|error| kafka::failure(&config.kafka, &error))? {
        match answer {
            // Another setup has done it.
            Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => (),
            Err((topic, code)) => {
                return Err(Failure::refused(format!("the topic `{topic}` cannot be enlarged: {code}")));
            }
        }
    }
    Ok(())
}

/// Waits until the broker's metadata has the new partitions; returns the number of each topic.
async fn await_told(config: &Config, growths: &[Growth]) -> Result<BTreeMap<String, i32>, Failure> {
    let began = Instant::now();
    loop {
        let there = tokio::task::block_in_place(|| Reader::new(&config.kafka)?.topics())?;
        let lacks = |growth: &&Growth| there.get(&growth.topic).is_none_or(|count| *count < growth.to);
        let Some(Growth { topic, to, .. }) = growths.iter().find(lacks) else { return Ok(there) };
        if began.elapsed() > TOLD_WITHIN {
            let refused = format!(
                "the topic `{topic}` was enlarged and does not have {to} partitions yet: run setup again"
            );
            return Err(Failure::refused(refused));
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(from: i32, to: i32) -> Growth {
        Growth { topic: "shop.cmd.orders.v1".to_owned(), from, to }
    }

    #[test]
    fn topics_are_enlarged_when_that_is_asked_for_and_to_a_multiple_only() {
        assert_eq!(growth(4, 8).checked(true).ok(), Some(growth(4, 8)));
        let refused = growth(4, 8).checked(false).unwrap_err().to_string();
        assert!(refused.contains("`millrace setup --partitions 8`"), "{refused}");
        let refused = growth(4, 6).checked(true).unwrap_err().to_string();
        assert!(refused.contains("a multiple of 4"), "{refused}");
    }

    #[test]
    fn a_key_stays_or_moves_to_a_partition_that_is_new() {
        for hash in 0..1_000 {
            let (before, after) = (hash % 4, hash % 12);
            assert!(after == before || after >= 4, "{hash}");
        }
    }
}
