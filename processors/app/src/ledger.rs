//! `millrace receipt` and `millrace commands`: what became of commands.

use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_runtime::names::COMMANDS;
use millrace_schemas::{Kind, short_name};
use rdkafka::message::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json;

use crate::cli::{self, Format};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader};
use crate::layout::{self, Side};
use crate::moment;
use crate::output::{self, Table};
use crate::postgres::Database;

/// A command that is not decided is looked for among this many records, and no longer than that.
const BACKLOG_RECORDS_MAX: usize = 200_000;
const BACKLOG_TIME_MAX: Duration = Duration::from_secs(5);

/// A command's row in the ledger.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Receipt {
    id: String,
    source: String,
    #[serde(rename = "type")]
    type_: String,
    context: String,
    stream: String,
    status: String,
    code: Option<String>,
    message: Option<String>,
    versions: Option<Value>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    produced_at: Option<DateTime<Utc>>,
    received_at: Option<DateTime<Utc>>,
    decided_at: Option<DateTime<Utc>>,
}

/// Shows what became of a command.
///
/// # Errors
/// [`Failure::NotFound`] when it is neither in the ledger nor among the records that wait to be decided.
pub async fn receipt(config: &Config, format: Format, id: &str, source: Option<&str>) -> Result<(), Failure> {
    let ledger = Database::of(config, Side::Write)?;
    let mut found = receipts(&ledger, id, source).await?;
    if found.is_empty() {
        let waiting = backlog(config, &ledger).await?;
        found = tokio::task::block_in_place(|| pending(config, &waiting, id, source))?;
    }
    if found.is_empty() {
        let of = source.map(|source| format!(" of the source `{source}`")).unwrap_or_default();
        return Err(Failure::NotFound(format!(
            "no command `{id}`{of} is in the ledger of `{}` or waits to be decided",
            config.namespace
        )));
    }
    let text: Vec<String> = found.iter().map(shown).collect();
    output::print(format, &text.join("\n"), &json!(found))
}

async fn receipts(ledger: &Database, id: &str, source: Option<&str>) -> Result<Vec<Receipt>, Failure> {
    let found: Vec<Json<Receipt>> = sqlx::query_scalar(
        "SELECT to_jsonb(command) FROM command
         WHERE id = $1 AND ($2::text IS NULL OR source = $2) ORDER BY source",
    )
    .bind(id)
    .bind(source)
    .fetch_all(&ledger.pool)
    .await
    .map_err(|error| ledger.failure(error))?;
    Ok(found.into_iter().map(|Json(receipt)| receipt).collect())
}

/// Where the commands begin that are not decided yet.
async fn backlog(config: &Config, ledger: &Database) -> Result<Vec<Position>, Failure> {
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
fn pending(
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
            found.push(waiting(message, id, header("ce_source"), header("ce_type")));
            return ControlFlow::Break(());
        }
        if ends.is_empty() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

fn waiting(
    message: &rdkafka::message::BorrowedMessage<'_>,
    id: &str,
    source: Option<String>,
    type_: Option<String>,
) -> Receipt {
    let type_ = type_.unwrap_or_default();
    Receipt {
        id: id.to_owned(),
        source: source.unwrap_or_default(),
        context: type_.split('.').nth(1).unwrap_or_default().to_owned(),
        type_,
        stream: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        status: "pending".to_owned(),
        topic: Some(message.topic().to_owned()),
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        produced_at: message.timestamp().to_millis().and_then(DateTime::from_timestamp_millis),
        code: None,
        message: None,
        versions: None,
        received_at: None,
        decided_at: None,
    }
}

/// A receipt for people: a line for each thing that it knows.
fn shown(receipt: &Receipt) -> String {
    let mut table = Table::new(&[]);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name.to_owned(), value]);
        }
    };
    let reason = receipt
        .code
        .as_ref()
        .map(|code| format!("{code}: {}", receipt.message.as_deref().unwrap_or_default()));
    let place = receipt.topic.as_ref().zip(receipt.partition).zip(receipt.offset);
    let since = |earlier: Option<DateTime<Utc>>, later: DateTime<Utc>| {
        let span = earlier.and_then(|earlier| (later - earlier).to_std().ok());
        span.map(|span| format!("  (+{})", moment::shown(span))).unwrap_or_default()
    };
    let after =
        |later: Option<DateTime<Utc>>, earlier| later.map(|at| output::time(at) + &since(earlier, at));
    line("command", Some(receipt.id.clone()));
    line("source", Some(receipt.source.clone()));
    line("type", Some(receipt.type_.clone()));
    line("stream", Some(format!("{}/{}", receipt.context, receipt.stream)));
    line("status", Some(receipt.status.clone()));
    line("reason", reason);
    line("versions", receipt.versions.as_ref().map(Value::to_string));
    line(
        "place",
        place.map(|((topic, partition), offset)| format!("{topic} partition {partition} offset {offset}")),
    );
    line("produced", receipt.produced_at.map(output::time));
    line("received", after(receipt.received_at, receipt.produced_at));
    line("decided", after(receipt.decided_at, receipt.received_at));
    table.render()
}

/// Lists decided commands, the newest first.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn commands(config: &Config, format: Format, options: &cli::Commands) -> Result<(), Failure> {
    let ledger = Database::of(config, Side::Write)?;
    let (context, stream) = match options.stream.as_deref().map(|stream| (stream.split_once('/'), stream)) {
        Some((Some((context, id)), _)) if layout::contexts(config).contains(&context) => {
            (Some(context), Some(id))
        }
        Some((_, id)) => (None, Some(id)),
        None => (None, None),
    };
    let found: Vec<Json<Receipt>> = sqlx::query_scalar(
        "SELECT to_jsonb(command) FROM command
         WHERE ($1::text IS NULL OR context = $1) AND ($2::text IS NULL OR stream = $2)
           AND ($3::text IS NULL OR status = $3) AND ($4::timestamptz IS NULL OR decided_at >= $4)
         ORDER BY decided_at DESC, id LIMIT $5",
    )
    .bind(context)
    .bind(stream)
    .bind(options.status.map(cli::Status::as_str))
    .bind(options.since)
    .bind(options.limit)
    .fetch_all(&ledger.pool)
    .await
    .map_err(|error| ledger.failure(error))?;
    let found: Vec<Receipt> = found.into_iter().map(|Json(receipt)| receipt).collect();
    output::print(format, &list(&found), &json!(found))
}

fn list(found: &[Receipt]) -> String {
    let mut table = Table::new(&["decided", "status", "type", "stream", "command", "reason"]);
    for receipt in found {
        let name = short_name(&receipt.type_);
        let reason = receipt
            .code
            .as_ref()
            .map(|code| format!("{code}: {}", receipt.message.as_deref().unwrap_or_default()));
        table.row([
            receipt.decided_at.map(output::time).unwrap_or_default(),
            receipt.status.clone(),
            name.to_owned(),
            format!("{}/{}", receipt.context, receipt.stream),
            receipt.id.clone(),
            reason.unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Receipt {
        Receipt {
            id: "1".to_owned(),
            source: "shop".to_owned(),
            type_: "millrace.orders.PlaceOrder".to_owned(),
            context: "orders".to_owned(),
            stream: "10248".to_owned(),
            status: "rejected".to_owned(),
            code: Some("order-empty".to_owned()),
            message: Some("an order needs a line".to_owned()),
            versions: None,
            topic: Some("millrace.cmd.orders.v1".to_owned()),
            partition: Some(2),
            offset: Some(7),
            produced_at: DateTime::from_timestamp_millis(1_000),
            received_at: DateTime::from_timestamp_millis(1_012),
            decided_at: None,
        }
    }

    #[test]
    fn a_receipt_says_what_it_knows() {
        let text = shown(&example());
        for line in [
            "stream    orders/10248",
            "reason    order-empty: an order needs a line",
            "place     millrace.cmd.orders.v1 partition 2 offset 7",
            "received  1970-01-01T00:00:01.012Z  (+12 ms)",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("decided") && !text.contains("versions"), "{text}");
    }

    #[test]
    fn commands_are_listed_in_columns() {
        let text = list(&[example()]);
        assert!(
            text.lines().nth(1).unwrap().contains("rejected  PlaceOrder  orders/10248  1        order-empty"),
            "{text}"
        );
    }
}
