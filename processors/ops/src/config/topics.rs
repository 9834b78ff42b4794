//! The topics that `millrace setup` creates.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Forever, Human, Or};

const A_DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than an outage that is noticed.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Size and retention of topics.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Topics {
    /// Partitions of each new topic of commands, events, rejections and outcomes. `millrace setup --partitions` enlarges existing topics;
    /// a topic that has more partitions stays as it is.
    pub partitions: i32,
    /// Replication factor of each new topic.
    pub replication_factor: i32,
    /// How long topics of commands keep a record (`retention.ms`), or `forever`: a command that is not read in this time is
    /// lost. `millrace setup` raises a lower value and never reduces a higher one. Kafka refuses a record with an older
    /// timestamp at its producer (`message.timestamp.before.max.ms`), because retention would remove it before it is read.
    #[serde_as(as = "Or<Forever>")]
    pub command_retention: Option<Duration>,
    /// How long topics of rejections and of outcomes keep a record, or `forever`; at least two days, because `millrace verify`
    /// expects those of the last day.
    #[serde_as(as = "Or<Forever>")]
    pub rejection_retention: Option<Duration>,
    /// Whether each command gets its outcome on `<namespace>.out.<context>.v1`, for its producer. Deciding a command takes a third more
    /// processor time with it.
    pub outcomes: bool,
    /// How long after a topic was enlarged a producer may still use the former number of partitions: its
    /// `metadata.max.age.ms` plus its `delivery.timeout.ms`. For this long, nothing in the new partitions is decided. The
    /// default covers the defaults of the Java client and of librdkafka.
    #[serde_as(as = "Human")]
    pub growth_hold: Duration,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            partitions: 4,
            replication_factor: 1,
            command_retention: Some(A_MONTH),
            rejection_retention: Some(A_MONTH),
            outcomes: true,
            growth_hold: Duration::from_secs(11 * 60),
        }
    }
}

impl Topics {
    pub(super) fn problems(&self) -> Vec<String> {
        let retention =
            |name, kept: Option<Duration>, least| kept.and_then(|kept| at_least(name, kept, least));
        let problems = [
            positive("topics.partitions", self.partitions),
            positive("topics.replication_factor", self.replication_factor),
            retention("topics.command_retention", self.command_retention, Duration::from_millis(1)),
            retention("topics.rejection_retention", self.rejection_retention, 2 * A_DAY),
        ];
        problems.into_iter().flatten().collect()
    }
}
