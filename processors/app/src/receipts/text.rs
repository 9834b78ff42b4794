//! Receipts as text for people.

use chrono::{DateTime, Utc};
use millrace_ops::moment;
use millrace_ops::receipts::{Letter, Receipt};
use millrace_schemas::short_name;
use serde_json::Value;

use crate::output::Table;

/// A receipt, one line for each known field.
pub(super) fn receipt(receipt: &Receipt) -> String {
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
        |later: Option<DateTime<Utc>>, earlier| later.map(|at| moment::written(at) + &since(earlier, at));
    line("command", Some(receipt.id.clone()));
    line("source", Some(receipt.source.clone()));
    line("type", Some(receipt.type_.clone()));
    line("stream", Some(format!("{}/{}", receipt.context, receipt.stream)));
    line("status", Some(receipt.status.clone()));
    line("behind", receipt.behind.clone());
    line("reason", reason(receipt));
    line("attempts", tries(receipt));
    line("letter", receipt.letter.as_ref().map(letter));
    line("versions", receipt.versions.as_ref().map(Value::to_string));
    line(
        "place",
        place.map(|((topic, partition), offset)| format!("{topic} partition {partition} offset {offset}")),
    );
    line("produced", receipt.produced_at.map(moment::written));
    line("received", after(receipt.received_at, receipt.produced_at));
    line("decided", after(receipt.decided_at, receipt.received_at));
    table.render()
}

/// Decided commands, one per line.
pub(super) fn list(found: &[Receipt]) -> String {
    let mut table = Table::new(&["decided", "status", "type", "stream", "command", "reason"]);
    for receipt in found {
        let decided = receipt.decided_at.map(moment::written).unwrap_or_default();
        let more = [reason(receipt).unwrap_or_default()];
        table.row(cells(receipt, decided).into_iter().chain(more));
    }
    table.render()
}

/// Waiting commands, one per line.
pub(super) fn list_waiting(found: &[Receipt]) -> String {
    let mut table = Table::new(&["received", "status", "type", "stream", "command", "attempts", "reason"]);
    for receipt in found {
        let behind = receipt.behind.as_ref().map(|behind| format!("behind {behind}"));
        let received = receipt.received_at.map(moment::written).unwrap_or_default();
        let more = [tries(receipt), reason(receipt).or(behind)].map(Option::unwrap_or_default);
        table.row(cells(receipt, received).into_iter().chain(more));
    }
    table.render()
}

/// The cells of every list of commands, after the time.
fn cells(receipt: &Receipt, time: String) -> [String; 5] {
    let stream = format!("{}/{}", receipt.context, receipt.stream);
    [time, receipt.status.clone(), short_name(&receipt.type_).to_owned(), stream, receipt.id.clone()]
}

fn reason(receipt: &Receipt) -> Option<String> {
    let message = receipt.message.as_deref().unwrap_or_default();
    receipt.code.as_ref().map(|code| format!("{code}: {message}"))
}

/// The number of attempts, if there was more than one, and the time of the next.
fn tries(receipt: &Receipt) -> Option<String> {
    let attempts = receipt.attempts?;
    match (receipt.attempts_max, receipt.next_try_at) {
        (Some(most), Some(next)) => Some(format!("{attempts} of {most}, next try {}", moment::written(next))),
        _ => (attempts > 1).then(|| attempts.to_string()),
    }
}

fn letter(Letter { id, status, who, why }: &Letter) -> String {
    let by = who.as_ref().map(|who| format!(" by {who}: {}", why.as_deref().unwrap_or_default()));
    format!("{id} ({status}{})", by.unwrap_or_default())
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
            topic: Some("millrace.cmd.orders.v1".to_owned()),
            partition: Some(2),
            offset: Some(7),
            produced_at: DateTime::from_timestamp_millis(1_000),
            received_at: DateTime::from_timestamp_millis(1_012),
            attempts: Some(1),
            ..Receipt::default()
        }
    }

    #[test]
    fn a_receipt_says_what_it_knows() {
        let text = receipt(&example());
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
    fn a_command_that_waits_shows_its_tries_or_what_it_waits_behind() {
        let (attempts, attempts_max, next_try_at) = (Some(3), Some(4), Some(DateTime::UNIX_EPOCH));
        let retrying = Receipt { attempts, attempts_max, next_try_at, ..example() };
        let text = receipt(&retrying);
        assert!(text.contains("attempts  3 of 4, next try 1970-01-01T00:00:00.000Z\n"), "{text}");
        let (status, behind, code) = ("waiting".to_owned(), Some("0".to_owned()), None);
        let waiting = Receipt { status, behind, code, ..example() };
        assert!(receipt(&waiting).contains("status    waiting\nbehind    0\n"), "{}", receipt(&waiting));
        let line = list_waiting(&[waiting]);
        assert!(line.contains("PlaceOrder  orders/10248  1                  behind 0"), "{line}");
    }

    #[test]
    fn a_dead_command_names_its_letter() {
        let by = |who: Option<&str>| {
            let (status, who) = (who.map_or("dead", |_| "discarded").to_owned(), who.map(str::to_owned));
            let letter =
                Letter { id: "w6".to_owned(), status, why: who.clone().map(|_| "a test".to_owned()), who };
            receipt(&Receipt { letter: Some(letter), ..example() })
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
