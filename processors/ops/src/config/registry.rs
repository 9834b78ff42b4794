//! The schema registry.

use serde::{Deserialize, Serialize};

use crate::address::Address;

/// How the registry is reached.
#[derive(Clone, Deserialize, Serialize)]
pub struct Registry {
    /// The URL of its Confluent API.
    pub url: Address,
}

impl Default for Registry {
    fn default() -> Self {
        Self { url: Address::literal("http://127.0.0.1:8081") }
    }
}
