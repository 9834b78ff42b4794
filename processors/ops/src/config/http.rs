//! Where a process listens.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Addresses that a process serves HTTP on.
#[derive(Clone, Deserialize, Serialize)]
pub struct Http {
    /// Where `/metrics`, `/healthz` and `/readyz` are served: `host:port`.
    pub listen: SocketAddr,
    /// Where the payment provider's webhooks are received, at `/webhooks/payments`; nowhere unless it is set. Meant to stand
    /// behind a proxy that speaks TLS.
    pub webhook_listen: Option<SocketAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9464).into(), webhook_listen: None }
    }
}
