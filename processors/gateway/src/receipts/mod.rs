//! Receipts, and decisions without effect: the role `commands` answers questions about them on an internal address, which the gateway asks, since the gateway has
//! no credentials of the write side.

mod client;
mod decisions;
mod outcomes;
mod server;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use millrace_ops::receipts::{Receipt, Recorded};
use millrace_ops::send::Acknowledged;

pub(crate) use client::{Asking, Unanswered};
pub(crate) use decisions::Decision;
pub use server::serve;

/// A question for the outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
struct Wait {
    /// The partition of its topic.
    partition: i32,
    /// Its offset.
    offset: i64,
    /// When the dead letter was written that is not its outcome, since it was redriven.
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<DateTime<Utc>>,
    /// How long to wait for the outcome, in milliseconds.
    wait_ms: u64,
}

/// A question for the outcomes of several records.
#[derive(Debug, Deserialize, Serialize)]
struct WaitForAll {
    /// The commands, each with its place.
    commands: Vec<Asked>,
    /// How long to wait for the last of them, in milliseconds.
    wait_ms: u64,
}

/// A command whose outcome is asked for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    source: String,
    id: String,
    partition: i32,
    offset: i64,
}

impl Asked {
    /// A command that Kafka has acknowledged.
    pub(crate) fn new(source: &str, id: &str, acknowledged: &Acknowledged) -> Self {
        let Acknowledged { partition, offset, .. } = *acknowledged;
        Self { source: source.to_owned(), id: id.to_owned(), partition, offset }
    }
}

/// The outcome of a command.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) receipt: Receipt,
    /// What distinguishes it from another command with its identity, in hexadecimal digits.
    fingerprint: String,
}

impl From<Recorded> for Outcome {
    fn from(Recorded { receipt, fingerprint }: Recorded) -> Self {
        Self { receipt, fingerprint: hex::encode(fingerprint) }
    }
}

impl Outcome {
    /// Whether it could not be decided.
    pub(crate) fn is_dead(&self) -> bool {
        self.receipt.status == "dead"
    }

    /// The bytes of the fingerprint.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        hex::decode(&self.fingerprint).unwrap_or_default()
    }
}
