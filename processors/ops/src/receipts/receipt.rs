//! A command's receipt.

use chrono::{DateTime, Utc};
use millrace_store::parked::{Waiting, WaitsFor};
use millrace_store::timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A command's row in the ledger, or the known state of a command that has none yet.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct Receipt {
    /// Its `ce_id`.
    pub id: String,
    /// Its `ce_source`.
    pub source: String,
    /// The full name of its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// The context that decides it.
    pub context: String,
    /// The stream that it is for.
    pub stream: String,
    /// `completed`, `rejected` or `dead`; `retrying`, `waiting` behind another command, or `pending` in Kafka.
    pub status: String,
    /// The code of the rejection or error.
    pub code: Option<String>,
    /// The message of the rejection or error.
    pub message: Option<String>,
    /// The version of each stream that it changed.
    pub versions: Option<Value>,
    /// The topic of its record.
    pub topic: Option<String>,
    /// The partition of its record.
    pub partition: Option<i32>,
    /// The offset of its record.
    pub offset: Option<i64>,
    /// When its record was produced.
    #[serde(default, deserialize_with = "nearest")]
    pub produced_at: Option<DateTime<Utc>>,
    /// When it was first tried or parked.
    #[serde(default, deserialize_with = "nearest")]
    pub received_at: Option<DateTime<Utc>>,
    /// When it was decided or dead-lettered.
    #[serde(default, deserialize_with = "nearest")]
    pub decided_at: Option<DateTime<Utc>>,
    /// The number of attempts; of a dead-lettered command since its last redrive.
    pub attempts: Option<i32>,
    /// The highest number of attempts, while it is being retried.
    pub attempts_max: Option<i32>,
    /// When its next attempt is due.
    pub next_try_at: Option<DateTime<Utc>>,
    /// The id of the command for which it waits.
    pub behind: Option<String>,
    /// Its dead letter, if it has one.
    pub letter: Option<Letter>,
}

/// A time in Postgres's JSON format; a time out of range is read as by [`millrace_store::timestamp::Nearest`].
fn nearest<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let read = |text: &str| match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc(),
        Err(_) if text.starts_with('-') || text.ends_with(" BC") => DateTime::<Utc>::MIN_UTC,
        Err(_) => DateTime::<Utc>::MAX_UTC,
    };
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().map(read))
}

/// A command's dead letter.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "ReceiptLetter")]
pub struct Letter {
    /// The letter's id in `millrace dlq`.
    pub id: String,
    /// `dead`, `redriven` or `discarded`.
    pub status: String,
    /// Who redrove or discarded it.
    pub who: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl Receipt {
    /// The receipt of a record that is not read yet.
    pub(super) fn pending(
        message: &BorrowedMessage<'_>,
        id: &str,
        source: Option<String>,
        type_: Option<String>,
    ) -> Self {
        let type_ = type_.unwrap_or_default();
        Self {
            id: id.to_owned(),
            source: source.unwrap_or_default(),
            context: context(&type_),
            type_,
            stream: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            status: "pending".to_owned(),
            topic: Some(message.topic().to_owned()),
            partition: Some(message.partition()),
            offset: Some(message.offset()),
            produced_at: message.timestamp().to_millis().and_then(timestamp::stamp),
            ..Self::default()
        }
    }

    /// The receipt of a record that is being retried, or waits behind one that is.
    pub(super) fn waiting(waiting: Waiting, attempts_max: i32) -> Self {
        let Waiting { id, source, record_type, place, key, timestamp_ms, received_at, waits_for } = waiting;
        let type_ = record_type.unwrap_or_default();
        let known = Self {
            id,
            source,
            context: context(&type_),
            type_,
            stream: String::from_utf8_lossy(&key).into_owned(),
            topic: Some(place.topic),
            partition: Some(place.partition),
            offset: Some(place.offset),
            produced_at: timestamp_ms.and_then(timestamp::stamp),
            received_at: Some(received_at),
            ..Self::default()
        };
        match waits_for {
            WaitsFor::Retrying { attempts, due_at, reason } => {
                let (code, message) = reason.unzip();
                let (attempts, attempts_max) = (Some(attempts), Some(attempts_max));
                let status = "retrying".to_owned();
                Self { status, code, message, attempts, attempts_max, next_try_at: Some(due_at), ..known }
            }
            WaitsFor::Behind { id } => Self { status: "waiting".to_owned(), behind: id, ..known },
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.status == "dead"
    }
}

fn context(type_: &str) -> String {
    type_.split('.').nth(1).unwrap_or_default().to_owned()
}

/// A short text: what a command waits for.
pub(crate) fn waits_for(waits_for: &WaitsFor) -> String {
    match waits_for {
        WaitsFor::Retrying { reason: Some((code, message)), .. } => format!("retrying: {code}: {message}"),
        WaitsFor::Retrying { reason: None, .. } => "retrying".to_owned(),
        WaitsFor::Behind { id: Some(id) } => format!("waiting behind {id}"),
        WaitsFor::Behind { id: None } => "waiting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use millrace_store::Place;

    use super::*;

    fn waiting(waits_for: WaitsFor) -> Receipt {
        let waiting = Waiting {
            id: "2".to_owned(),
            source: "shop".to_owned(),
            record_type: Some("millrace.orders.ConfirmOrder".to_owned()),
            place: Place { topic: "millrace.cmd.orders.v1".to_owned(), partition: 2, offset: 8 },
            key: b"10248".to_vec(),
            timestamp_ms: Some(1_000),
            received_at: DateTime::UNIX_EPOCH,
            waits_for,
        };
        Receipt::waiting(waiting, 4)
    }

    #[test]
    fn a_receipt_of_a_command_that_waits_says_what_for() {
        let reason = Some(("reference-not-found".to_owned(), "no customer `ann`".to_owned()));
        let retrying = waiting(WaitsFor::Retrying { attempts: 3, due_at: DateTime::UNIX_EPOCH, reason });
        assert_eq!((retrying.context.as_str(), retrying.stream.as_str()), ("orders", "10248"));
        assert_eq!(
            (retrying.status.as_str(), retrying.code.as_deref()),
            ("retrying", Some("reference-not-found"))
        );
        let tries = (retrying.attempts, retrying.attempts_max, retrying.next_try_at);
        assert_eq!(tries, (Some(3), Some(4), Some(DateTime::UNIX_EPOCH)));
        let behind = waiting(WaitsFor::Behind { id: Some("1".to_owned()) });
        assert_eq!((behind.status.as_str(), behind.behind.as_deref()), ("waiting", Some("1")));
    }
}
