//! The schema registry.

use serde::{Deserialize, Serialize};

use super::Access;
use crate::address::Address;

/// How the registry is reached.
#[derive(Clone, Deserialize, Serialize)]
pub struct Registry {
    /// The URL of its Confluent API.
    pub url: Address,
    /// Certificates and credentials.
    pub access: Access,
}

impl Default for Registry {
    fn default() -> Self {
        Self { url: Address::literal("http://127.0.0.1:8081"), access: Access::default() }
    }
}

impl Registry {
    pub(super) fn problems(&self) -> Vec<String> {
        self.access.problems("registry", &self.url)
    }
}
