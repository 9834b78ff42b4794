//! Delays before another attempt: until a dependency is back, or until another transaction has ended.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// How many wait for each dependency now.
static WAITING: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn waiting() -> MutexGuard<'static, BTreeMap<String, usize>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Growing delays with jitter, without end.
pub struct Backoff {
    delays: ExponentialBackoff,
    /// The dependency that is waited for: from the first delay until this is dropped, attempts included.
    outage: Option<Outage>,
}

/// Counts, in the metrics too, as long as it lives.
struct Outage(String);

impl Outage {
    /// With whether nothing else of the process waits for that dependency.
    fn of(dependency: &str) -> (Self, bool) {
        metrics::OUTAGE.with_label_values(&[dependency]).inc();
        let mut waiting = waiting();
        let others = waiting.entry(dependency.to_owned()).or_default();
        *others += 1;
        (Self(dependency.to_owned()), *others == 1)
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        metrics::OUTAGE.with_label_values(&[self.0.as_str()]).dec();
        if let Some(others) = waiting().get_mut(&self.0) {
            *others -= 1;
        }
    }
}

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
        Self { delays: delays.build(), outage: None }
    }

    /// Waits for the next delay; false when stopped meanwhile. The metrics show an outage of `dependency` until this is dropped, or
    /// waits for another one.
    pub(crate) async fn wait_for(&mut self, dependency: &str, stop: &CancellationToken) -> bool {
        self.begin(dependency);
        self.wait_unless(stop).await
    }

    /// As [`wait_for`](Self::wait_for), because of an error that others of the process meet too: the log has only what the first of
    /// them, `what`, has met.
    pub(crate) async fn wait_out(
        &mut self,
        dependency: &str,
        (what, error): (&str, &(dyn Display + Sync)),
        stop: &CancellationToken,
    ) -> bool {
        match self.begin(dependency) {
            true => tracing::warn!(dependency, what, %error, "work waits for a dependency"),
            false => tracing::debug!(dependency, what, %error, "work waits for a dependency"),
        }
        self.wait_unless(stop).await
    }

    /// Shows an outage from now on; true when it is a new one for all of the process.
    fn begin(&mut self, dependency: &str) -> bool {
        if self.outage.as_ref().is_some_and(|outage| outage.0 == dependency) {
            return false;
        }
        let (outage, first) = Outage::of(dependency);
        self.outage = Some(outage);
        first
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
        tokio::time::sleep(self.delays.next().unwrap_or(DELAY_MAX)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_outage_is_shown_from_the_first_delay_until_an_attempt_succeeds() {
        let shown = || metrics::OUTAGE.with_label_values(&["a story's"]).get();
        let (mut backoff, stop) = (Backoff::after_contention(), CancellationToken::new());
        for _ in 0..3 {
            assert!(backoff.wait_for("a story's", &stop).await);
            assert_eq!(shown(), 1, "while it is tried again, too");
        }
        backoff.wait_for("another", &stop).await;
        assert_eq!(shown(), 0);
        backoff.wait_for("a story's", &stop).await;
        drop(backoff);
        assert_eq!(shown(), 0);
    }

    #[test]
    fn the_first_of_those_who_wait_begins_the_outage_and_the_last_one_ends_it() {
        let [mut one, mut other] = [(); 2].map(|()| Backoff::new());
        let begun = [&mut one, &mut other].map(|backoff| backoff.begin("a component of this test"));
        assert_eq!((begun, one.begin("a component of this test")), ([true, false], false));
        drop(one);
        let mut later = Backoff::new();
        assert!(!later.begin("a component of this test"), "another one still waits");
        drop((other, later));
        assert!(Backoff::new().begin("a component of this test"));
    }
}
