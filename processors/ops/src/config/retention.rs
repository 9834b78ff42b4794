//! How long rows of the databases are kept. Events are kept for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Forever, Never, Or, written_duration};

const A_DAY: Duration = Duration::from_secs(24 * 3_600);
/// A month and a year as durations are written.
const A_MONTH: Duration = Duration::from_secs(2_630_016);
const A_YEAR: Duration = Duration::from_secs(31_557_600);
/// Receipts outlast the topics of commands by this part of their retention.
const MARGIN: u32 = 10;

/// How long rows of the two databases are kept when they are no longer needed, and how fast they are removed. Events are kept
/// for ever.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Retention {
    /// How often `millrace run` removes old rows, or `never`. `millrace prune` removes them at once.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
    /// Rows per second that `millrace run` removes, at most. Each command leaves two, its receipt and its outcome, and a rejection one
    /// more.
    pub rows_per_second: u32,
    /// How long receipts of commands are kept, or `forever`. A command that is sent again is recognised by its receipt. At least
    /// a tenth longer than `topics.command_retention`. A receipt whose record is still in Kafka is never removed.
    #[serde_as(as = "Or<Forever>")]
    pub receipts: Option<Duration>,
    /// How long rows of the outbox that are not events are kept after Debezium has carried them, or `forever`: rejections,
    /// outcomes, and decided commands of sagas and effects.
    #[serde_as(as = "Or<Forever>")]
    pub outbox: Option<Duration>,
    /// How long the steps of an ended saga instance are kept after the last step, or `forever`. Its final standing is kept.
    #[serde_as(as = "Or<Forever>")]
    pub saga_steps: Option<Duration>,
    /// How long request and answer of a call are kept after it has ended, or `forever`. They may contain personal data. Key and
    /// outcome are kept.
    #[serde_as(as = "Or<Forever>")]
    pub effect_bodies: Option<Duration>,
    /// How long a dead letter is kept after it was redriven or discarded, or `forever`. Open dead letters are kept.
    #[serde_as(as = "Or<Forever>")]
    pub dead_letters: Option<Duration>,
    /// How long the audit of operators' changes is kept, or `forever`.
    #[serde_as(as = "Or<Forever>")]
    pub audit: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(3_600)),
            rows_per_second: 2_000,
            receipts: Some(2 * A_MONTH),
            outbox: Some(7 * A_DAY),
            saga_steps: Some(3 * A_MONTH),
            effect_bodies: Some(A_MONTH),
            dead_letters: Some(3 * A_MONTH),
            audit: Some(2 * A_YEAR),
        }
    }
}

impl Retention {
    /// `commands` is `topics.command_retention`; when that is for ever, receipts are kept for ever.
    pub(super) fn problems(&self, commands: Option<Duration>) -> Vec<String> {
        let least = Duration::from_millis(1);
        let problems = [
            self.interval.and_then(|interval| at_least("retention.interval", interval, least)),
            positive("retention.rows_per_second", self.rows_per_second),
            self.receipts.zip(commands).and_then(|(receipts, commands)| too_short(receipts, commands)),
        ];
        problems.into_iter().flatten().collect()
    }
}

fn too_short(receipts: Duration, commands: Duration) -> Option<String> {
    let needed = commands.saturating_add(commands / MARGIN);
    let [found, commands, shown] = [receipts, commands, needed].map(written_duration);
    (receipts < needed).then(|| {
        format!(
            "retention.receipts ({found}) must be {shown} or more, a tenth longer than topics.command_retention ({commands}), so that \
             a command that lies in Kafka is known when it is sent or read again"
        )
    })
}
