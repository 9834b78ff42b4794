//! The auditor of `millrace run`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Human, Never, Or};

/// How often and how fast everything is compared with the outbox.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Audit {
    /// `millrace run` compares everything that is stored with the outbox this often, or `never`.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
    /// A look costs what is new and a part of the rest; after so long all of a view or of the topics is read and folded anew.
    #[serde_as(as = "Human")]
    pub whole_interval: Duration,
    /// The auditor reads and folds at most so many events a second.
    pub events_per_second: u32,
    /// The auditor repairs at most so many things each time.
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
