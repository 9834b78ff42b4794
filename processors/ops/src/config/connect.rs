//! Kafka Connect with the connector that reads the outbox.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::Access;
use super::check::at_least;
use super::secret::Hidden;
use super::units::Human;
use crate::address::Address;

/// Properties of the connector that nothing but its speed depends on; with `*` all that begin so.
const OVERRIDES: [&str; 16] = [
    "database.initial.statements",
    "database.ssl*",
    "database.tcpKeepAlive",
    "errors.log.*",
    "errors.retry.*",
    "heartbeat.interval.ms",
    "max.batch.size",
    "max.queue.size",
    "max.queue.size.in.bytes",
    "producer.override.*",
    "retriable.restart.connector.wait.ms",
    "slot.failover",
    "slot.max.retries",
    "slot.retry.delay.ms",
    "status.update.interval.ms",
    "xmin.fetch.interval.ms",
];
/// Properties of its producer on which order and completeness depend.
const OF_ITS_PRODUCER: [&str; 9] = [
    "acks",
    "delivery.timeout.ms",
    "enable.idempotence",
    "key.serializer",
    "max.in.flight.requests.per.connection",
    "max.request.size",
    "partitioner.class",
    "transactional.id",
    "value.serializer",
];

fn may_be_overridden(name: &str) -> bool {
    let of_its_producer = name.strip_prefix("producer.override.");
    let guarded = of_its_producer.is_some_and(|name| OF_ITS_PRODUCER.contains(&name));
    let matches =
        |known: &str| known.strip_suffix('*').map_or(known == name, |start| name.starts_with(start));
    !guarded && OVERRIDES.iter().any(|known| matches(known))
}

/// How Connect is reached, and what `millrace setup` configures its connector with.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Connect {
    /// The URL of Connect's REST API.
    pub url: Address,
    /// Certificates and credentials.
    pub access: Access,
    /// How often Debezium polls for new rows of the outbox (`poll.interval.ms`). A shorter interval lowers latency and raises
    /// the processor time of an idle connector.
    #[serde_as(as = "Human")]
    pub outbox_poll_interval: Duration,
    /// `host:port` at which Connect reaches the write side, when it is not that of `postgres.write.url`.
    pub database: Option<String>,
    /// The user as which Connect reads the write side, when it is not that of `postgres.write.url`. It needs `REPLICATION`, and
    /// `SELECT` on the outbox.
    pub database_user: Option<String>,
    /// The password of the write side for Connect, when it is not that of `postgres.write`; such as
    /// `${file:/secrets/db:password}` for Connect's `FileConfigProvider`.
    #[serde_as(as = "Option<Hidden>")]
    pub database_password: Option<SecretString>,
    /// The file on Connect's workers with the CA of the write side, when `sslmode` in `postgres.write.url` is `verify-ca` or
    /// `verify-full`.
    pub database_ca_file: Option<PathBuf>,
    /// Further properties of the connector, such as `{"max.batch.size" = "16384"}`. A property that a guarantee depends on is
    /// refused.
    pub overrides: BTreeMap<String, String>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            url: Address::literal("http://127.0.0.1:8083"),
            access: Access::default(),
            outbox_poll_interval: Duration::from_millis(5),
            database: None,
            database_user: None,
            database_password: None,
            database_ca_file: None,
            overrides: BTreeMap::new(),
        }
    }
}

impl Connect {
    pub(super) fn problems(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        let interval = at_least("connect.outbox_poll_interval", self.outbox_poll_interval, least);
        let refused = self.overrides.keys().filter(|name| !may_be_overridden(name));
        let refused = refused.map(|name| {
            format!("connect.overrides: `{name}` cannot be set; these can: {}", OVERRIDES.join(", "))
        });
        let access = self.access.problems("connect", &self.url);
        interval.into_iter().chain(access).chain(refused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guarantee_depends_on_cannot_be_overridden() {
        for may in ["max.batch.size", "producer.override.linger.ms", "slot.failover", "database.sslcert"] {
            assert!(may_be_overridden(may), "{may}");
        }
        let template = include_str!("../../../../connectors/outbox.json");
        let template: BTreeMap<String, String> = serde_json::from_str(template).unwrap();
        let free = ["heartbeat.interval.ms", "max.batch.size", "max.queue.size"];
        let tuned =
            |name: &&String| !free.contains(&name.as_str()) && !name.starts_with("producer.override.");
        for set in template.keys().filter(tuned) {
            assert!(!may_be_overridden(set), "{set}");
        }
        for must_not in ["errors.tolerance", "producer.override.acks", "transforms", "snapshot.mode", ""] {
            assert!(!may_be_overridden(must_not), "{must_not}");
        }
    }
}
