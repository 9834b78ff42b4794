//! The kinds of findings.

use schemars::JsonSchema;
use serde::Serialize;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "VerifyKind")]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An event of the outbox is not on its topic.
    Event,
    /// A rejection of the outbox is not on its topic.
    Rejection,
    /// The outcome of a command is not on its topic.
    Outcome,
    /// A command that Millrace has sent is not on its topic, nor decided.
    Command,
    /// The events of the outbox fold to another row.
    Row,
    /// SQL over the events of the outbox computes another row. When the fold agrees with the row, the fold is wrong.
    Fold,
    /// A document differs from its row.
    Document,
    /// An account does not hold what the ledger says.
    Ledger,
    /// The payment provider tells something else of a payment.
    Provider,
}

impl What {
    /// The kinds, in the order of the checks.
    pub const ALL: [Self; 9] = [
        Self::Event,
        Self::Rejection,
        Self::Outcome,
        Self::Command,
        Self::Row,
        Self::Fold,
        Self::Document,
        Self::Ledger,
        Self::Provider,
    ];

    /// Its name for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Event => "event",
            What::Rejection => "rejection",
            What::Outcome => "outcome",
            What::Command => "command",
            What::Row => "row",
            What::Fold => "fold",
            What::Document => "document",
            What::Ledger => "ledger",
            What::Provider => "provider",
        }
    }
}
