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
    /// Partitions of each new topic of commands, events and rejections. `millrace setup --partitions` enlarges those that
    /// are there; one that has more is left as it is.
    pub partitions: i32,
    /// Copies of each topic.
    pub replication_factor: i32,
    /// How long a topic of commands keeps a record at least, or `forever`: a command that is not read in this time is lost.
    /// `millrace setup` raises what is lower. A record whose timestamp is older than this is refused at its producer
    /// (`message.timestamp.before.max.ms`): retention would remove it, read or not.
    #[serde_as(as = "Or<Forever>")]
    pub command_retention: Option<Duration>,
    /// The same of rejections; two days or more, because `millrace verify` expects those of the last day.
    #[serde_as(as = "Or<Forever>")]
    pub rejection_retention: Option<Duration>,
    /// How long a producer may go on with the number of partitions that it knew when a topic is enlarged: its
    /// `metadata.max.age.ms` and its `delivery.timeout.ms` together. So long nothing in the new partitions is decided. By
    /// default as long as either of Kafka's clients takes with the defaults of its own.
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
