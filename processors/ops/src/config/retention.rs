//! What is kept how long in the databases. Events are kept for ever.

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

/// How long rows of the two databases are kept that nothing needs any more, and how fast they go. Events stay for ever.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Retention {
    /// `millrace run` removes what is old enough this often, or `never`. `millrace prune` does it now.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
    /// At most so many rows a second are removed by `millrace run`.
    pub rows_per_second: u32,
    /// Receipts of commands, by which a command that is sent again is known, or `forever`: at least a tenth longer than
    /// `topics.command_retention`. One whose record Kafka still has stays in any case.
    #[serde_as(as = "Or<Forever>")]
    pub receipts: Option<Duration>,
    /// Rows of the outbox that are no events, once Debezium has carried them: commands of sagas and effects that are decided, and
    /// rejections; or `forever`.
    #[serde_as(as = "Or<Forever>")]
    pub outbox: Option<Duration>,
    /// Steps of sagas that have ended, after the last one, or `forever`. Where an instance has ended stays.
    #[serde_as(as = "Or<Forever>")]
    pub saga_steps: Option<Duration>,
    /// What was asked of an external system and what it answered, after the call has ended, or `forever`. It may have personal
    /// data. Key and outcome stay.
    #[serde_as(as = "Or<Forever>")]
    pub effect_bodies: Option<Duration>,
    /// Dead letters that were redriven or discarded, after that, or `forever`. Others stay until they are.
    #[serde_as(as = "Or<Forever>")]
    pub dead_letters: Option<Duration>,
    /// What operators have changed, and why, or `forever`.
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
    /// Given how long topics keep commands: for ever, and their receipts stay whatever is said here.
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
