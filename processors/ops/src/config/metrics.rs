//! Metrics of the namespace.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::units::{Never, Or};

/// How often the metrics of the namespace are queried and written.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Metrics {
    /// How often one process of the namespace queries lag, outbox, slot, connector and waiting records, which it exports beside
    /// its own metrics; or `never`.
    #[serde_as(as = "Or<Never>")]
    pub interval: Option<Duration>,
    /// How often that process writes them to the index `<namespace>-operations`, for the dashboard of operators in Kibana; or `never`.
    #[serde_as(as = "Or<Never>")]
    pub documents_interval: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { interval: Some(Duration::from_secs(10)), documents_interval: Some(Duration::from_secs(60)) }
    }
}

impl Metrics {
    /// How often they are written to Elasticsearch, if they are.
    pub(crate) fn documents(&self) -> Option<Duration> {
        self.interval.and(self.documents_interval)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(100);
        let intervals =
            [("metrics.interval", self.interval), ("metrics.documents_interval", self.documents_interval)];
        intervals.into_iter().filter_map(|(name, interval)| at_least(name, interval?, least)).collect()
    }
}
