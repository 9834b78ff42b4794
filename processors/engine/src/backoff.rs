//! Delays before another attempt: until a dependency is back, or until another transaction has ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::error::WorkError;
use crate::metrics;

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// How often the log names an error of a dependency, at most: it may change while the dependency is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// When the log has last named an error of each dependency, and of those whom it answers.
static TOLD: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// Whether the log is to name an error of a dependency now, or of one of those whom it answers.
fn is_told(whose: &str, now: Instant) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = told.get(whose).is_none_or(|at| now.saturating_duration_since(*at) >= TOLD_EVERY);
    if is_due {
        told.insert(whose.to_owned(), now);
    }
    is_due
}

/// Growing delays with jitter, without end.
pub struct Backoff {
    delays: ExponentialBackoff,
    /// The dependency that is waited for: from the first delay until this is dropped, attempts included.
    outage: Option<Outage>,
}

/// Counts in the metrics as long as it lives.
struct Outage(String);

impl Outage {
    fn of(dependency: &str) -> Self {
        metrics::OUTAGE.with_label_values(&[dependency]).inc();
        Self(dependency.to_owned())
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        metrics::OUTAGE.with_label_values(&[self.0.as_str()]).dec();
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
        if self.outage.as_ref().is_none_or(|outage| outage.0 != dependency) {
            self.outage = Some(Outage::of(dependency));
        }
        self.wait_unless(stop).await
    }

    /// As [`wait_for`](Self::wait_for), because of an error that `what` has met. If the dependency is away, others of the process meet
    /// it too, and the log has what one of them has met, once in [`TOLD_EVERY`]; an answer is told of each.
    pub(crate) async fn wait_out(
        &mut self,
        dependency: &str,
        (what, error): (&str, &WorkError),
        stop: &CancellationToken,
    ) -> bool {
        let whose = if error.is_answer() { what } else { dependency };
        match is_told(whose, Instant::now()) {
            true => tracing::warn!(dependency, what, %error, "work waits for a dependency"),
            false => tracing::debug!(dependency, what, %error, "work waits for a dependency"),
        }
        self.wait_for(dependency, stop).await
    }

    /// As [`wait_out`](Self::wait_out) after an outage; after any other error `logs` it, and waits for the next delay.
    pub(crate) async fn wait_after(
        &mut self,
        (what, error): (&str, &WorkError),
        stop: &CancellationToken,
        logs: impl FnOnce(),
    ) -> bool {
        match error.dependency() {
            Some(away) => self.wait_out(&away.to_string(), (what, error), stop).await,
            None => {
                logs();
                self.wait_unless(stop).await
            }
        }
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
    fn an_error_of_a_dependency_is_told_once_in_a_while_and_those_of_another_one_too() {
        let told = |at| ["a component of this test", "another of it"].map(|name| is_told(name, at));
        let now = Instant::now();
        assert_eq!((told(now), told(now)), ([true; 2], [false; 2]));
        let later = now + TOLD_EVERY;
        assert_eq!((told(later), told(later)), ([true; 2], [false; 2]));
    }
}
