//! Sagas and their timers.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::units::Human;

/// Whether sagas run, and their timers.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Sagas {
    /// Whether sagas and effects run. Without them an order is not fulfilled unless another producer sends the commands.
    pub enabled: bool,
    /// Durations of saga timers: `{"fulfilment.deadline" = "5m"}`. A timer that is not listed has the default of its saga.
    #[serde_as(as = "HashMap<_, Human>")]
    pub timers: HashMap<String, Duration>,
}

impl Default for Sagas {
    fn default() -> Self {
        Self { enabled: true, timers: HashMap::new() }
    }
}
