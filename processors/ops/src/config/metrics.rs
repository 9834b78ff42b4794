//! Metrics of the namespace.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::units::{Never, Or};

/// How often the metrics of the namespace are queried.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Metrics {
    /// How often one process of the namespace queries lag, outbox, slot, connector and waiting records, which it exports beside
    /// its own metrics; or `never`.
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
