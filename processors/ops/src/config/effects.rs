//! Calls to external systems.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::Human;

/// Limits of the calls of all effects.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Effects {
    /// Concurrent calls of each effect in each process, at most.
    pub calls_max: usize,
    /// A call that has no answer after this time has an unknown outcome.
    #[serde_as(as = "Human")]
    pub call_timeout: Duration,
    /// A call that has no outcome this long after it was requested is given up.
    #[serde_as(as = "Human")]
    pub age_max: Duration,
    /// The circuit breaker opens when this many different calls have failed in a row: the others wait for a while.
    pub breaker_failures: usize,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            calls_max: 8,
            call_timeout: Duration::from_secs(10),
            age_max: Duration::from_secs(3 * 24 * 3_600),
            breaker_failures: 5,
        }
    }
}

impl Effects {
    pub(super) fn problems(&self) -> Vec<String> {
        let problems = [
            positive("effects.calls_max", self.calls_max),
            at_least("effects.call_timeout", self.call_timeout, Duration::from_millis(1)),
            positive("effects.breaker_failures", self.breaker_failures),
        ];
        problems.into_iter().flatten().collect()
    }
}
