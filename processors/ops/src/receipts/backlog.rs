//! Commands in Kafka that no process has read yet.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use millrace_schemas::Kind;
use millrace_store::consumer_offset;
use millrace_store::names::COMMANDS;
use rdkafka::message::{BorrowedMessage, Message as _};

use super::receipt::Receipt;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader, Seen};
use crate::layout;
use crate::postgres::Database;

/// Records that are searched for an undecided command, at most.
const BACKLOG_RECORDS_MAX: usize = 200_000;
const BACKLOG_TIME_MAX: Duration = Duration::from_secs(5);

/// The range of commands that are not decided yet, by topic and partition.
pub(super) async fn backlog(config: &Config, ledger: &Database) -> Result<Vec<(Position, i64)>, Failure> {
    let applied = consumer_offset::stands_of_all(&ledger.pool, &config.namespace.group(COMMANDS)).await;
    let applied = applied.map_err(|error| ledger.failure(error))?;
    let known = |topic: &str, partition: i32| {
        applied.iter().find(|(t, p, _)| t == topic && *p == partition).map(|(_, _, offset)| *offset)
    };
    tokio::task::block_in_place(|| {
        let reader = Reader::new(&config.kafka)?;
        let contexts = layout::contexts(config);
        let topics = contexts.iter().map(|context| config.namespace.topic(Kind::Command, context));
        let ends = reader.ends_of_topics(topics)?.into_iter();
        Ok(ends
            .filter_map(|((topic, partition), (low, high))| {
                let offset = known(&topic, partition).unwrap_or(low);
                (offset < high).then_some((Position { topic, partition, offset }, high))
            })
            .collect())
    })
}

/// The command among the undecided ones, within the limit of the search.
pub(super) fn pending(
    config: &Config,
    from: &[(Position, i64)],
    id: &str,
    source: Option<&str>,
) -> Result<Vec<Receipt>, Failure> {
    let (mut found, mut left) = (Vec::new(), BACKLOG_RECORDS_MAX);
    if from.is_empty() {
        return Ok(found);
    }
    let (reader, until) = (Reader::new(&config.kafka)?, Instant::now() + BACKLOG_TIME_MAX);
    for waiting in from.chunk_by(|(one, _), (other, _)| one.topic == other.topic) {
        let Some((Position { topic, .. }, _)) = waiting.first() else { continue };
        let mut open: BTreeMap<i32, i64> = waiting.iter().map(|(at, end)| (at.partition, *end)).collect();
        let from = waiting.iter().map(|(at, _)| (at.partition, at.offset));
        reader.visit(topic, from, until.saturating_duration_since(Instant::now()), |seen| {
            match seen {
                Seen::End(partition) => {
                    open.remove(&partition);
                }
                Seen::Unfetchable(partition, offsets, _) => {
                    open.retain(|open, end| *open != partition || offsets.end < *end);
                }
                Seen::Record(message) => {
                    left = left.saturating_sub(1);
                    open.retain(|partition, end| {
                        *partition != message.partition() || message.offset() + 1 < *end
                    });
                    found.extend(receipt_of(message, id, source));
                }
            }
            let enough = !found.is_empty() || left == 0 || open.is_empty();
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !found.is_empty() || left == 0 {
            break;
        }
    }
    Ok(found)
}

/// The receipt of an undecided command, if it is the one with this identity.
fn receipt_of(message: &BorrowedMessage<'_>, id: &str, source: Option<&str>) -> Option<Receipt> {
    let header = |name: &str| millrace_kafka::header_text(message, name).map(str::to_owned);
    let ours = header("ce_id").as_deref() == Some(id)
        && source.is_none_or(|source| header("ce_source").as_deref() == Some(source));
    ours.then(|| Receipt::pending(message, id, header("ce_source"), header("ce_type")))
}
