//! Commands that nobody has read yet, in Kafka.

use std::ops::ControlFlow;
use std::time::Duration;

use millrace_runtime::names::COMMANDS;
use millrace_schemas::Kind;
use rdkafka::message::Message as _;

use super::receipt::Receipt;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader};
use crate::layout;
use crate::postgres::Database;

/// A command that is not decided is looked for among this many records, and no longer than that.
const BACKLOG_RECORDS_MAX: usize = 200_000;
const BACKLOG_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the commands begin that are not decided yet.
pub(super) async fn backlog(config: &Config, ledger: &Database) -> Result<Vec<Position>, Failure> {
    let applied: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT topic, partition, applied FROM consumer_offset WHERE grp = $1")
            .bind(config.namespace.group(COMMANDS))
            .fetch_all(&ledger.pool)
            .await
            .map_err(|error| ledger.failure(error))?;
    let known = |topic: &str, partition: i32| {
        applied.iter().find(|(t, p, _)| t == topic && *p == partition).map(|(_, _, offset)| *offset)
    };
    tokio::task::block_in_place(|| {
        let reader = Reader::new(config)?;
        let (topics, mut waiting) = (reader.topics()?, Vec::new());
        let contexts = layout::contexts(config);
        for topic in contexts.iter().map(|context| config.namespace.topic(Kind::Command, context)) {
            for partition in 0..topics.get(&topic).copied().unwrap_or_default() {
                let (low, high) = reader.ends(&topic, partition)?;
                let offset = known(&topic, partition).unwrap_or(low);
                if offset < high {
                    waiting.push(Position { topic: topic.clone(), partition, offset });
                }
            }
        }
        Ok(waiting)
    })
}

/// The command among those that wait, as far as the search goes.
pub(super) fn pending(
    config: &Config,
    from: &[Position],
    id: &str,
    source: Option<&str>,
) -> Result<Vec<Receipt>, Failure> {
    let (mut found, mut left) = (Vec::new(), BACKLOG_RECORDS_MAX);
    if from.is_empty() {
        return Ok(found);
    }
    let mut ends: Vec<(Position, i64)> = Vec::new();
    let reader = Reader::new(config)?;
    for position in from {
        let (_, high) = reader.ends(&position.topic, position.partition)?;
        ends.push((position.clone(), high));
    }
    reader.visit(from, BACKLOG_TIME_MAX, |message| {
        left = left.saturating_sub(1);
        ends.retain(|(at, high)| {
            at.topic != message.topic() || at.partition != message.partition() || message.offset() + 1 < *high
        });
        let header = |name: &str| millrace_kafka::header_text(message, name).map(str::to_owned);
        let ours = header("ce_id").as_deref() == Some(id);
        if ours && source.is_none_or(|source| header("ce_source").as_deref() == Some(source)) {
            found.push(Receipt::pending(message, id, header("ce_source"), header("ce_type")));
            return ControlFlow::Break(());
        }
        if ends.is_empty() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}
