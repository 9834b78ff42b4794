//! Waiting for a dependency to come back.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Growing delays with jitter, from a tenth of a second to five seconds, without end.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times();
        Self(delays.build())
    }

    /// Waits for the next delay, seen in the metrics as an outage of `dependency`; false when stopped meanwhile.
    pub(crate) async fn wait_for(&mut self, dependency: &str, stop: &CancellationToken) -> bool {
        let gauge = metrics::OUTAGE.with_label_values(&[dependency]);
        gauge.inc();
        let waited = tokio::select! {
            () = stop.cancelled() => false,
            () = self.wait() => true,
        };
        gauge.dec();
        waited
    }

    /// Waits for the next delay.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(Duration::from_secs(5))).await;
    }
}
