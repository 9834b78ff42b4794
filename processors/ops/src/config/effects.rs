//! Calls to external systems.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::Human;

/// How calls are made, whatever the effect.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Effects {
    /// Calls of one effect at the same time, in each process.
    pub calls_max: usize,
    /// A call that is not answered for so long has an unknown outcome.
    #[serde_as(as = "Human")]
    pub call_timeout: Duration,
    /// A call that was asked for longer ago is given up.
    #[serde_as(as = "Human")]
    pub age_max: Duration,
    /// So many different calls in a row must fail before the others wait for a while (circuit breaker).
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
