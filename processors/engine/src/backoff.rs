//! Delays before another attempt: until a dependency is back, or until another transaction has ended.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Growing delays with jitter, without end.
pub struct Backoff(ExponentialBackoff);

impl Backoff {
    /// For a dependency that is away: from a tenth of a second to five seconds.
    pub(crate) fn new() -> Self {
        Self::growing_from(Duration::from_millis(100))
    }

    /// For a conflict of two transactions, which is usually short: from five milliseconds to five seconds, with jitter, so that the
    /// two do not conflict again.
    pub fn after_contention() -> Self {
        Self::growing_from(Duration::from_millis(5))
    }

    fn growing_from(shortest: Duration) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(shortest)
            .with_max_delay(DELAY_MAX)
            .with_jitter()
            .without_max_times();
        Self(delays.build())
    }

    /// Waits for the next delay, which the metrics show as an outage of `dependency`; false when stopped meanwhile.
    pub(crate) async fn wait_for(&mut self, dependency: &str, stop: &CancellationToken) -> bool {
        let gauge = metrics::OUTAGE.with_label_values(&[dependency]);
        gauge.inc();
        let waited = self.wait_unless(stop).await;
        gauge.dec();
        waited
    }

    /// Waits for the next delay; false when stopped meanwhile.
    pub(crate) async fn wait_unless(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = self.wait() => true,
        }
    }

    /// Waits for the next delay.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(DELAY_MAX)).await;
    }
}
