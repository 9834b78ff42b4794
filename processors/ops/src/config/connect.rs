//! Kafka Connect with the connector that reads the outbox.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::secret::Hidden;
use super::units::Human;
use crate::address::Address;

/// How Connect is reached, and what `millrace setup` configures its connector with.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Connect {
    /// The URL of Connect's REST API.
    pub url: Address,
    /// How often Debezium polls for new rows of the outbox (`poll.interval.ms`). A shorter interval lowers latency and raises
    /// the processor time of an idle connector.
    #[serde_as(as = "Human")]
    pub outbox_poll_interval: Duration,
    /// `host:port` at which Connect reaches the write side, when it is not that of `postgres.write.url`.
    pub database: Option<String>,
    /// The password of the write side for Connect, when it is not that of `postgres.write`; such as
    /// `${file:/secrets/db:password}` for Connect's `FileConfigProvider`.
    #[serde_as(as = "Option<Hidden>")]
    pub database_password: Option<SecretString>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            url: Address::literal("http://127.0.0.1:8083"),
            outbox_poll_interval: Duration::from_millis(5),
            database: None,
            database_password: None,
        }
    }
}

impl Connect {
    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        at_least("connect.outbox_poll_interval", self.outbox_poll_interval, least).into_iter().collect()
    }
}
