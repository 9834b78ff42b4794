//! The auditor of `millrace run`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Human, Never, Or};

/// How often and how fast stored data is compared with the outbox.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Audit {
    /// How often `millrace run` compares topics, rows and documents with the outbox, or `never`. Each time it compares what is
    /// new and a part of the rest.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
    /// How often `millrace run` compares everything instead: it reads all events of a view, or all topics, again.
    #[serde_as(as = "Human")]
    pub whole_interval: Duration,
    /// Events that the auditor reads and folds per second, at most. Each record of the topics counts as one: there is an outcome for each
    /// command, too.
    pub events_per_second: u32,
    /// Rows, documents and records that the auditor repairs each time, at most.
    pub repairs_max: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(15 * 60)),
            whole_interval: Duration::from_secs(30 * 24 * 60 * 60),
            events_per_second: 2_000,
            repairs_max: 100,
        }
    }
}

impl Audit {
    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        let problems = [
            self.interval.and_then(|interval| at_least("audit.interval", interval, least)),
            positive("audit.events_per_second", self.events_per_second),
        ];
        problems.into_iter().flatten().collect()
    }
}
