//! Receipts: the role `commands` answers questions about them on an internal address, which the gateway asks, since the gateway has
//! no credentials of the write side.

mod client;
mod outcomes;
mod server;

use serde::{Deserialize, Serialize};

use millrace_ops::receipts::Receipt;

pub(crate) use client::{Asking, Unanswered};
pub use server::serve;

/// A question for the outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
struct Wait {
    /// The partition of its topic.
    partition: i32,
    /// Its offset.
    offset: i64,
    /// How long to wait for the outcome, in milliseconds.
    wait_ms: u64,
}

/// The outcome of a command.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) receipt: Receipt,
    /// What distinguishes it from another command with its identity, in hexadecimal digits.
    fingerprint: String,
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
