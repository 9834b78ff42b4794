//! The time of each stage, by the timestamps in receipts and records: less exact than the probes, but enough to find the
//! bottleneck.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use sqlx::AssertSqlSafe;

use crate::instance::Instance;
use crate::stack::database;

const READ_WITHIN: Duration = Duration::from_secs(30);

/// Milliseconds since 1970, by customer.
type Times = HashMap<String, f64>;

/// A stage and its p50, p99 and maximum in milliseconds.
pub(super) type Stage = (&'static str, [f64; 3]);

/// Lets the broker stamp events when it appends them; Millrace goes by their own time.
pub(super) async fn stamp_when_appended(instance: &Instance) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = instance.stack.kafka().create()?;
    let topic = instance.topic("evt", "customers");
    // Replaces the topic's whole configuration: what setup has set comes again.
    let config = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("message.timestamp.type", "LogAppendTime")
        .set("retention.ms", "-1");
    for answer in admin.alter_configs([&config], &AdminOptions::new()).await? {
        answer.map_err(|(_, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// The stages of the commands whose rows and documents were seen.
pub(super) async fn of(instance: &Instance, rows: &Times, documents: &Times) -> Result<Vec<Stage>> {
    let [produced, received, decided] = receipts(instance).await?;
    let appended = tokio::task::block_in_place(|| events(instance))?;
    let between = |from: &Times, to: &Times| {
        let customers = rows.keys();
        quantiles(customers.filter_map(|customer| Some(to.get(customer)? - from.get(customer)?)))
    };
    Ok(vec![
        ("command stamped by its producer, until a worker has it", between(&produced, &received)),
        ("until its receipt is written, before the commit", between(&received, &decided)),
        ("until Kafka has its event: commit and Debezium", between(&decided, &appended)),
        ("until its row is readable: fold and commit", between(&appended, rows)),
        ("until its document is readable", between(rows, documents)),
    ])
}

/// When each customer's command was produced, received and decided.
async fn receipts(instance: &Instance) -> Result<[Times; 3]> {
    let sql = format!(
        "SELECT stream, (extract(epoch FROM produced_at) * 1000)::float8, (extract(epoch FROM received_at) * 1000)::float8,
                (extract(epoch FROM decided_at) * 1000)::float8 FROM \"{}\".command",
        instance.name
    );
    let mut connection = database(instance.stack.write_database_url()).await?;
    let receipts: Vec<(String, f64, f64, f64)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
    let times =
        |get: fn(&(String, f64, f64, f64)) -> f64| receipts.iter().map(|r| (r.0.clone(), get(r))).collect();
    Ok([times(|r| r.1), times(|r| r.2), times(|r| r.3)])
}

/// When each customer's event was appended to its topic.
fn events(instance: &Instance) -> Result<Times> {
    let mut config = instance.stack.kafka();
    config.set("group.id", "bench-reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let wanted = assign(&consumer, &instance.topic("evt", "customers"))?;
    let (mut events, until) = (Times::new(), Instant::now() + READ_WITHIN);
    while (events.len() as i64) < wanted && Instant::now() < until {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message?;
        let customer = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        events.insert(customer, message.timestamp().to_millis().unwrap_or(0) as f64);
    }
    Ok(events)
}

/// All partitions from their beginning; returns how many records they have.
fn assign(consumer: &BaseConsumer, topic: &str) -> Result<i64> {
    let metadata = consumer.fetch_metadata(Some(topic), READ_WITHIN)?;
    let partitions =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
    let (mut list, mut records) = (TopicPartitionList::new(), 0);
    for partition in partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
        records += consumer.fetch_watermarks(topic, partition, READ_WITHIN)?.1;
    }
    consumer.assign(&list)?;
    Ok(records)
}

fn quantiles(milliseconds: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = milliseconds.collect();
    sorted.sort_by(f64::total_cmp);
    let place = |share: f64| (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    let at = |share: f64| sorted.get(place(share)).copied().unwrap_or(f64::NAN);
    [at(0.5), at(0.99), at(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_figures_that_occurred() {
        assert_eq!(quantiles((1..=101).map(f64::from)), [51.0, 100.0, 101.0]);
    }
}
