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

/// Properties of the connector on which no guarantee depends; with `*` all that begin so.
const OVERRIDES: [&str; 23] = [
    "database.ssl*",
    "database.tcpKeepAlive",
    "errors.log.*",
    "errors.retry.*",
    "max.batch.size",
    "max.queue.size",
    "max.queue.size.in.bytes",
    "producer.override.batch.size",
    "producer.override.buffer.memory",
    "producer.override.compression.*",
    "producer.override.linger.ms",
    "producer.override.receive.buffer.bytes",
    "producer.override.request.timeout.ms",
    "producer.override.sasl.*",
    "producer.override.security.*",
    "producer.override.send.buffer.bytes",
    "producer.override.ssl.*",
    "retriable.restart.connector.wait.ms",
    "slot.failover",
    "slot.max.retries",
    "slot.retry.delay.ms",
    "status.update.interval.ms",
    "xmin.fetch.interval.ms",
];

/// The parameter of a database's URL that says whether its sessions are encrypted, as libpq has it.
pub(crate) fn ssl_mode(database: &Address) -> Option<String> {
    let mode =
        database.url().query_pairs().find(|(name, _)| ["sslmode", "ssl-mode"].contains(&name.as_ref()));
    mode.map(|(_, mode)| mode.into_owned())
}

fn may_be_overridden(name: &str) -> bool {
    let matches =
        |known: &str| known.strip_suffix('*').map_or(known == name, |start| name.starts_with(start));
    OVERRIDES.iter().any(|known| matches(known))
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
    /// The user as which Connect reads the write side, when it is not that of `postgres.write.url`: a role with `REPLICATION`,
    /// to which `millrace setup` grants the rest.
    pub database_user: Option<String>,
    /// The password of the write side for Connect, when it is not that of `postgres.write`; such as
    /// `${file:/secrets/db:password}` for Connect's `FileConfigProvider`.
    #[serde_as(as = "Option<Hidden>")]
    pub database_password: Option<SecretString>,
    /// The file on Connect's workers with the CA of the write side, when `sslmode` in `postgres.write.url` is `verify-ca` or
    /// `verify-full`.
    pub database_ca_file: Option<PathBuf>,
    /// Further properties of the connector, such as `{"max.batch.size" = "16384"}`. A property that a guarantee depends on is
    /// refused. Never printed.
    #[serde_as(as = "BTreeMap<_, Hidden>")]
    pub overrides: BTreeMap<String, SecretString>,
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
        interval.into_iter().chain(access).chain(refused).chain(self.without_password()).collect()
    }

    /// The password of `postgres.write` is that of another user.
    fn without_password(&self) -> Option<String> {
        let without = self.database_user.is_some() && self.database_password.is_none();
        without.then(|| "connect.database_user needs connect.database_password".to_owned())
    }

    /// The problem of the `sslmode` that Connect is given, too, without a CA that it trusts.
    pub(super) fn without_ca(&self, write: &Address) -> Option<String> {
        let verified = ssl_mode(write).is_some_and(|mode| mode.starts_with("verify-"));
        let has_ca = self.database_ca_file.is_some() || self.overrides.contains_key("database.sslrootcert");
        (verified && !has_ca).then(|| {
            "connect.database_ca_file: Connect verifies the certificate of postgres.write.url, too: name the file of its CA on Connect's \
             workers"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_a_guarantee_depends_on_cannot_be_overridden() {
        for may in ["max.batch.size", "producer.override.linger.ms", "slot.failover", "database.sslcert"] {
            assert!(may_be_overridden(may), "{may}");
        }
        let template = include_str!("../../../../connectors/outbox.json");
        let template: BTreeMap<String, String> = serde_json::from_str(template).unwrap();
        let tuned = ["max.batch.size", "max.queue.size"].map(str::to_owned);
        let of_producer = ["batch.size", "linger.ms", "compression.type"];
        let of_producer = of_producer.map(|name| format!("producer.override.{name}"));
        for set in template.keys().filter(|name| !tuned.contains(name) && !of_producer.contains(name)) {
            assert!(!may_be_overridden(set), "{set}");
        }
        for must_not in [
            "errors.tolerance",
            "producer.override.acks",
            "producer.override.bootstrap.servers",
            "producer.override.interceptor.classes",
            "producer.override.partitioner.ignore.keys",
            "database.initial.statements",
            "transforms",
            "snapshot.mode",
            "",
        ] {
            assert!(!may_be_overridden(must_not), "{must_not}");
        }
    }

    #[test]
    fn connect_is_given_no_password_of_another_user_and_no_connection_that_it_cannot_verify() {
        let problem = |settings: &[&str]| Config::with(settings).err().map(|failure| failure.to_string());
        let user = problem(&["connect.database_user=debezium"]).unwrap();
        assert!(user.contains("connect.database_user needs connect.database_password"), "{user}");
        let verified = "postgres.write.url=postgres://a@b/c?sslmode=verify-full";
        assert!(problem(&[verified]).unwrap().contains("connect.database_ca_file"));
        assert_eq!(problem(&[verified, "connect.database_ca_file=/ca.pem"]), None);
        assert_eq!(problem(&["postgres.write.url=postgres://a@b/c?sslmode=require"]), None);
    }
}
