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
    /// The URL of its REST API.
    pub url: Address,
    /// How often Debezium looks for new rows of the outbox: the time that a row waits, and what an idle connector costs of a
    /// processor.
    #[serde_as(as = "Human")]
    pub outbox_poll_interval: Duration,
    /// `host:port` at which Connect reaches the write side, when it differs from `postgres.write.url`.
    pub database: Option<String>,
    /// The password of the write side for Connect, when it differs: such as `${file:/secrets/db:password}` of its
    /// `FileConfigProvider`.
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
