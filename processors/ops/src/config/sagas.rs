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
    /// Whether sagas and effects run. Without them nothing follows from an order until another producer sends its commands.
    pub enabled: bool,
    /// How long timers of sagas take: `{"fulfilment.deadline" = "5m"}`; others take their own time.
    #[serde_as(as = "HashMap<_, Human>")]
    pub timers: HashMap<String, Duration>,
}

impl Default for Sagas {
    fn default() -> Self {
        Self { enabled: true, timers: HashMap::new() }
    }
}
