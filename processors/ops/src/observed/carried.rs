//! Rows of the outbox that Debezium has not carried to Kafka yet.
//!
//! They are found by the last records of the topics: rows written before one of these are carried, since Debezium keeps the
//! order. The slot's position is not used: Connect confirms it only every `offset.flush.interval.ms`, one minute by default.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_engine::envelope;
use millrace_kafka::header_text;
use millrace_store::outbox;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use sqlx::PgConnection;
use uuid::Uuid;

use super::family::seconds_since;
use crate::config::Config;
use crate::failure::{Failure, Service};
use crate::kafka::{Partition, Reader};
use crate::layout;
use crate::postgres::Database;

/// Rows that are counted, at most.
const ROWS_MAX: i64 = 10_000;
/// The timeout for reading the last records.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// Rows that are not in Kafka, by topic: their number, and when the first was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uncarried(BTreeMap<String, (i64, DateTime<Utc>)>);

impl Uncarried {
    #[cfg(test)]
    pub(super) fn of<const N: usize>(rows: [(&str, i64, DateTime<Utc>); N]) -> Self {
        Self(rows.map(|(topic, count, first)| (topic.to_owned(), (count, first))).into())
    }

    pub(super) fn rows(&self) -> i64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    pub(super) fn oldest(&self) -> Option<DateTime<Utc>> {
        self.0.values().map(|(_, first)| *first).min()
    }

    /// Age of the oldest row of a topic in seconds; 0 when there is none, `None` when there may be one after the counted rows.
    pub(super) fn seconds_of(&self, topic: &str, now: DateTime<Utc>) -> Option<f64> {
        match self.0.get(topic) {
            Some((_, first)) => Some(seconds_since(*first, now)),
            None => (self.rows() < ROWS_MAX).then_some(0.0),
        }
    }
}

/// The known time up to which all written rows are carried. A row has the start time of its transaction, so a row of a long
/// transaction may count as carried shortly before it is.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    carried: Option<DateTime<Utc>>,
}

impl Outbox {
    /// Finds the rows; `connection` has [`BY_INDEX`](super::BY_INDEX).
    pub(super) async fn look(
        &mut self,
        config: &Config,
        write: &Database,
        connection: &mut PgConnection,
    ) -> Result<Uncarried, Failure> {
        let topics: Vec<String> = match self.carried {
            Some(carried) => written_after(write, connection, carried).await?.0.into_keys().collect(),
            None => {
                let shared = layout::topics(config).into_iter().filter(|topic| !topic.single);
                shared.map(|topic| topic.name).collect()
            }
        };
        if topics.is_empty() {
            return Ok(Uncarried::default());
        }
        let last = tokio::task::block_in_place(|| Last::of(config, &topics))?;
        let found = async {
            let found = outbox::last_written(&mut *connection, &last.events, &last.others).await;
            found.map_err(|error| write.failure(error))
        };
        let carried = self.carried.max(write.in_time(found).await?).unwrap_or_default();
        self.carried = Some(carried);
        written_after(write, connection, carried).await
    }
}

async fn written_after(
    write: &Database,
    connection: &mut PgConnection,
    time: DateTime<Utc>,
) -> Result<Uncarried, Failure> {
    let rows = async {
        let rows = outbox::written_after(connection, time, ROWS_MAX).await;
        rows.map_err(|error| write.failure(error))
    };
    let rows = write.in_time(rows).await?;
    Ok(Uncarried(rows.into_iter().map(|(topic, count, first)| (topic, (count, first))).collect()))
}

/// The last records of topics.
#[derive(Debug, Default)]
struct Last {
    /// Context, stream and version.
    events: Vec<(String, String, i64)>,
    /// Ids of records without a version.
    others: Vec<Uuid>,
}

impl Last {
    fn of(config: &Config, topics: &[String]) -> Result<Self, Failure> {
        let reader = Reader::new(&config.kafka)?;
        let there = reader.topics()?;
        let partitions = topics.iter().flat_map(|topic| {
            let count = there.get(topic).copied().unwrap_or_default();
            (0..count).map(move |partition| (topic.clone(), partition))
        });
        let (partitions, mut last): (Vec<Partition>, _) = (partitions.collect(), Self::default());
        let whole = reader.visit_last(&partitions, LOOK_TIME_MAX, |record| last.add(config, record))?;
        let late = || {
            Failure::unreachable(
                Service::Kafka,
                &config.kafka.brokers,
                "the last records were not there in time",
            )
        };
        whole.then_some(last).ok_or_else(late)
    }

    /// Records of other producers are not in the outbox and are ignored.
    fn add(&mut self, config: &Config, record: &BorrowedMessage<'_>) {
        let header = |name: &str| header_text(record, name);
        let version = header(envelope::SEQUENCE).and_then(|text| text.parse().ok());
        let context = config.namespace.event_context(record.topic());
        let stream = record.key().and_then(|key| std::str::from_utf8(key).ok());
        match (context, stream, version) {
            (Some(context), Some(stream), Some(version)) => {
                self.events.push((context.to_owned(), stream.to_owned(), version));
            }
            _ => self.others.extend(header(envelope::ID).and_then(|id| Uuid::parse_str(id).ok())),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_topic_without_rows_is_known_to_have_none_only_when_all_rows_were_counted() {
        let now = Utc::now();
        let first = now - TimeDelta::seconds(9);
        let few = Uncarried::of([("a", 3, first)]);
        assert_eq!((few.seconds_of("a", now), few.seconds_of("b", now)), (Some(9.0), Some(0.0)));
        let many = Uncarried::of([("a", ROWS_MAX, first)]);
        assert_eq!((many.seconds_of("a", now), many.seconds_of("b", now)), (Some(9.0), None));
        assert_eq!((many.rows(), many.oldest()), (ROWS_MAX, Some(first)));
    }
}
