//! The topics that `millrace setup` creates.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Forever, Or};

const A_DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than an outage that is noticed.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Size and retention of topics.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Topics {
    /// Partitions of each topic of commands, events and rejections.
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
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            partitions: 4,
            replication_factor: 1,
            command_retention: Some(A_MONTH),
            rejection_retention: Some(A_MONTH),
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
