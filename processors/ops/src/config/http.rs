//! Addresses that a process listens on.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Addresses that a process serves HTTP on.
#[derive(Clone, Deserialize, Serialize)]
pub struct Http {
    /// Where `/metrics`, `/livez` and `/readyz` are served: `host:port`.
    pub listen: SocketAddr,
    /// Where webhooks of the payment provider are received: `host:port`; the path is `/webhooks/payments`. Off by default. Put
    /// it behind a proxy that terminates TLS.
    pub webhook_listen: Option<SocketAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9464).into(), webhook_listen: None }
    }
}
