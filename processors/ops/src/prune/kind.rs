//! The kinds of rows that retention removes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Retention;
use crate::layout::Side;

/// A kind of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "PruneKind")]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Receipts of commands.
    Receipts,
    /// Rows of the outbox that are not events.
    Outbox,
    /// Steps of sagas that have ended.
    SagaSteps,
    /// Bodies of calls that have ended.
    EffectBodies,
    /// Dead letters that are settled.
    DeadLetters,
    /// The audit of operators' changes.
    Audit,
}

impl Kind {
    /// All kinds, in the order in which they are removed. A receipt can be removed once the outbox no longer has its command, so
    /// receipts come first: what a run removes does not depend on what it has just removed.
    pub const ALL: [Self; 6] =
        [Self::Receipts, Self::Outbox, Self::SagaSteps, Self::EffectBodies, Self::DeadLetters, Self::Audit];

    /// Its name, as that of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Outbox => "outbox",
            Self::SagaSteps => "saga-steps",
            Self::EffectBodies => "effect-bodies",
            Self::DeadLetters => "dead-letters",
            Self::Audit => "audit",
        }
    }

    /// How long it is kept; `None` is for ever.
    pub(super) fn kept(self, retention: &Retention) -> Option<Duration> {
        match self {
            Self::Receipts => retention.receipts,
            Self::Outbox => retention.outbox,
            Self::SagaSteps => retention.saga_steps,
            Self::EffectBodies => retention.effect_bodies,
            Self::DeadLetters => retention.dead_letters,
            Self::Audit => retention.audit,
        }
    }

    /// The databases that have such rows.
    pub(super) fn sides(self) -> &'static [Side] {
        match self {
            Self::DeadLetters | Self::Audit => &[Side::Write, Side::Read],
            _ => &[Side::Write],
        }
    }
}
