//! What is known of a command, for people and for programs.

use chrono::{DateTime, Utc};
use millrace_ops::moment;
use millrace_schemas::short_name;
use millrace_store::parked::{Waiting, WaitsFor};
use millrace_store::timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::output::{self, Table};

/// A command's row in the ledger, or what is known of one that has none yet.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Receipt {
    pub(super) id: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) context: String,
    pub(super) stream: String,
    /// As it ended; `retrying`, `waiting` behind another command, or `pending` in Kafka.
    pub(super) status: String,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) versions: Option<Value>,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    #[serde(default, deserialize_with = "nearest")]
    pub(super) produced_at: Option<DateTime<Utc>>,
    /// When it was tried or put behind another for the first time.
    #[serde(default, deserialize_with = "nearest")]
    pub(super) received_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "nearest")]
    pub(super) decided_at: Option<DateTime<Utc>>,
    /// How often it was tried; of a dead one since it was last redriven.
    pub(super) attempts: Option<i32>,
    /// How often it is tried at most, while it is.
    pub(super) attempts_max: Option<i32>,
    pub(super) next_try_at: Option<DateTime<Utc>>,
    /// The id of the command that it waits behind.
    pub(super) behind: Option<String>,
    /// The letter of a dead one.
    pub(super) letter: Option<Letter>,
}

/// A time as Postgres writes it into JSON; as [`millrace_store::timestamp::Nearest`] where no calendar of ours has it.
fn nearest<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let read = |text: &str| match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc(),
        Err(_) if text.starts_with('-') || text.ends_with(" BC") => DateTime::<Utc>::MIN_UTC,
        Err(_) => DateTime::<Utc>::MAX_UTC,
    };
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().map(read))
}

/// A command's dead letter.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) status: String,
    /// Who dealt with it, and why.
    pub(super) who: Option<String>,
    pub(super) why: Option<String>,
}

impl Receipt {
    /// Of a record that is not read yet.
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

    /// Of a record that waits for its next try, or behind one that does.
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

    /// What every list of commands shows behind a time.
    fn cells(&self, time: String) -> [String; 5] {
        let stream = format!("{}/{}", self.context, self.stream);
        [time, self.status.clone(), short_name(&self.type_).to_owned(), stream, self.id.clone()]
    }

    fn reason(&self) -> Option<String> {
        let message = self.message.as_deref().unwrap_or_default();
        self.code.as_ref().map(|code| format!("{code}: {message}"))
    }

    /// How often it was tried, when that is of interest, and when it is tried again.
    fn tries(&self) -> Option<String> {
        let attempts = self.attempts?;
        match (self.attempts_max, self.next_try_at) {
            (Some(most), Some(next)) => {
                Some(format!("{attempts} of {most}, next try {}", output::time(next)))
            }
            _ => (attempts > 1).then(|| attempts.to_string()),
        }
    }
}

impl Letter {
    fn shown(&self) -> String {
        let Self { id, status, who, why } = self;
        let by = who.as_ref().map(|who| format!(" by {who}: {}", why.as_deref().unwrap_or_default()));
        format!("{id} ({status}{})", by.unwrap_or_default())
    }
}

fn context(type_: &str) -> String {
    type_.split('.').nth(1).unwrap_or_default().to_owned()
}

/// What a command waits for, in a few words.
pub(crate) fn waits_for(waits_for: &WaitsFor) -> String {
    match waits_for {
        WaitsFor::Retrying { reason: Some((code, message)), .. } => format!("retrying: {code}: {message}"),
        WaitsFor::Retrying { reason: None, .. } => "retrying".to_owned(),
        WaitsFor::Behind { id: Some(id) } => format!("waiting behind {id}"),
        WaitsFor::Behind { id: None } => "waiting".to_owned(),
    }
}

/// A receipt for people: a line for each thing that it knows.
pub(super) fn shown(receipt: &Receipt) -> String {
    let mut table = Table::new(&[]);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name.to_owned(), value]);
        }
    };
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
    line("behind", receipt.behind.clone());
    line("reason", receipt.reason());
    line("attempts", receipt.tries());
    line("letter", receipt.letter.as_ref().map(Letter::shown));
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

/// Decided commands, a line each.
pub(super) fn list(found: &[Receipt]) -> String {
    let mut table = Table::new(&["decided", "status", "type", "stream", "command", "reason"]);
    for receipt in found {
        let decided = receipt.decided_at.map(output::time).unwrap_or_default();
        let more = [receipt.reason().unwrap_or_default()];
        table.row(receipt.cells(decided).into_iter().chain(more));
    }
    table.render()
}

/// Commands that wait, a line each.
pub(super) fn list_waiting(found: &[Receipt]) -> String {
    let mut table = Table::new(&["received", "status", "type", "stream", "command", "attempts", "reason"]);
    for receipt in found {
        let behind = receipt.behind.as_ref().map(|behind| format!("behind {behind}"));
        let received = receipt.received_at.map(output::time).unwrap_or_default();
        let more = [receipt.tries(), receipt.reason().or(behind)].map(Option::unwrap_or_default);
        table.row(receipt.cells(received).into_iter().chain(more));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use millrace_store::Place;

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
            topic: Some("millrace.cmd.orders.v1".to_owned()),
            partition: Some(2),
            offset: Some(7),
            produced_at: DateTime::from_timestamp_millis(1_000),
            received_at: DateTime::from_timestamp_millis(1_012),
            attempts: Some(1),
            ..Receipt::default()
        }
    }

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
        for silent in ["decided", "versions", "attempts", "behind", "letter"] {
            assert!(!text.contains(silent), "{text}");
        }
    }

    #[test]
    fn a_receipt_of_a_command_that_waits_says_what_for() {
        let reason = Some(("reference-not-found".to_owned(), "no customer `ann`".to_owned()));
        let text = shown(&waiting(WaitsFor::Retrying { attempts: 3, due_at: DateTime::UNIX_EPOCH, reason }));
        for line in [
            "stream    orders/10248",
            "status    retrying",
            "reason    reference-not-found: no customer `ann`",
            "attempts  3 of 4, next try 1970-01-01T00:00:00.000Z",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let behind = waiting(WaitsFor::Behind { id: Some("1".to_owned()) });
        assert!(shown(&behind).contains("status    waiting\nbehind    1\n"), "{}", shown(&behind));
        assert!(list_waiting(&[behind]).contains("ConfirmOrder  orders/10248  2                  behind 1"));
    }

    #[test]
    fn a_dead_command_names_its_letter() {
        let by = |who: Option<&str>| {
            let (status, who) = (who.map_or("dead", |_| "discarded").to_owned(), who.map(str::to_owned));
            let letter =
                Letter { id: "w6".to_owned(), status, why: who.clone().map(|_| "a test".to_owned()), who };
            shown(&Receipt { letter: Some(letter), ..example() })
        };
        assert!(
            by(None).contains("letter    w6 (dead)\n")
                && by(Some("bo")).contains("w6 (discarded by bo: a test)")
        );
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
