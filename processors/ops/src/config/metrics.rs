//! What `/metrics` shows of the namespace.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::units::{Never, Or};

/// How often it is looked at what belongs to the namespace.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Metrics {
    /// One process of the namespace looks this often at lag, outbox, slot, connector and what waits, and exports it beside its own
    /// figures; or `never`.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { interval: Some(Duration::from_secs(10)) }
    }
}

impl Metrics {
    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(100);
        self.interval.and_then(|interval| at_least("metrics.interval", interval, least)).into_iter().collect()
    }
}
