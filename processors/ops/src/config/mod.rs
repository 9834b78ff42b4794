//! Settings: a struct for each component, with defaults and limits. Reading them from flags, environment and file is the
//! program's task.

mod access;
mod audit;
mod check;
pub(crate) mod connect;
mod effects;
mod elasticsearch;
mod gateway;
mod http;
mod kafka;
mod logging;
mod mail;
mod metrics;
mod notify;
mod otlp;
mod payment;
mod postgres;
mod processing;
mod registry;
mod retention;
mod retries;
mod sagas;
mod secret;
mod topics;
pub mod units;
mod vendor;

use std::fmt;
use std::time::Duration;

use millrace_store::names::Namespace;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

pub use access::Access;
pub use audit::Audit;
pub use connect::Connect;
pub use effects::Effects;
pub use elasticsearch::Elasticsearch;
pub use gateway::{Client, Gateway, Subject};
pub use http::Http;
pub use kafka::Kafka;
pub use logging::{LogFormat, Logging};
pub use mail::Mail;
pub use metrics::Metrics;
pub use notify::Notify;
pub use otlp::Otlp;
pub use payment::Payment;
pub use postgres::{Database, Postgres};
pub use processing::Processing;
pub use registry::Registry;
pub use retention::Retention;
pub use retries::Retries;
pub use sagas::Sagas;
pub use topics::Topics;
pub use vendor::Vendor;

/// Everything that can be configured. `kafka.brokers` is `brokers` in the table `[kafka]` of the TOML file,
/// `MILLRACE_KAFKA__BROKERS` in the environment and `--set kafka.brokers=…` on the command line.
#[derive(Clone, Deserialize, Serialize)]
pub struct Config {
    /// Name of the instance: the prefix of its topics, groups, slot, database schemas and indices.
    #[serde(deserialize_with = "namespace", serialize_with = "shown")]
    pub namespace: Namespace,
    /// The contexts that this instance has. A view reads those of its contexts that are listed; a saga or an effect that needs a
    /// context that is not listed does not run.
    pub contexts: Vec<String>,
    /// The brokers and the membership of consumer groups.
    pub kafka: Kafka,
    /// The topics that `millrace setup` creates.
    pub topics: Topics,
    /// The two databases.
    pub postgres: Postgres,
    /// The search cluster.
    pub elasticsearch: Elasticsearch,
    /// The schema registry.
    pub registry: Registry,
    /// Kafka Connect with the connector that reads the outbox.
    pub connect: Connect,
    /// Sizes of batches, of the buffer and of the cache.
    pub processing: Processing,
    /// Retries of records that failed and may still succeed.
    pub retries: Retries,
    /// Sagas and their timers.
    pub sagas: Sagas,
    /// Calls to external systems.
    pub effects: Effects,
    /// The payment provider.
    pub payment: Payment,
    /// The vendor of campaigns' messages.
    pub vendor: Vendor,
    /// The mail server.
    pub mail: Mail,
    /// The auditor of `millrace run`.
    pub audit: Audit,
    /// How long rows of the databases are kept.
    pub retention: Retention,
    /// Addresses that a process listens on.
    pub http: Http,
    /// Commands, receipts and queries over HTTP: the role `gateway`, and the receipts that the role `commands` answers it with.
    pub gateway: Gateway,
    /// Metrics of the namespace.
    pub metrics: Metrics,
    /// Notifications of errors, for operators without Prometheus.
    pub notify: Notify,
    /// Traces for OpenTelemetry.
    pub otlp: Otlp,
    /// Logging.
    pub logging: Logging,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            contexts: millrace_schemas::CONTEXTS.iter().map(ToString::to_string).collect(),
            kafka: Kafka::default(),
            topics: Topics::default(),
            postgres: Postgres::default(),
            elasticsearch: Elasticsearch::default(),
            registry: Registry::default(),
            connect: Connect::default(),
            processing: Processing::default(),
            retries: Retries::default(),
            sagas: Sagas::default(),
            effects: Effects::default(),
            payment: Payment::default(),
            vendor: Vendor::default(),
            mail: Mail::default(),
            audit: Audit::default(),
            retention: Retention::default(),
            http: Http::default(),
            gateway: Gateway::default(),
            metrics: Metrics::default(),
            notify: Notify::default(),
            otlp: Otlp::default(),
            logging: Logging::default(),
        }
    }
}

fn namespace<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Namespace, D::Error> {
    Namespace::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn shown<S: serde::Serializer>(namespace: &Namespace, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(namespace)
}

impl Config {
    /// The defaults, except for these settings: `kafka.brokers=…`.
    #[cfg(test)]
    pub(crate) fn with<S: AsRef<str>>(settings: &[S]) -> Result<Self, Failure> {
        let mut config = serde_json::to_value(Self::default()).unwrap();
        for (name, text) in settings.iter().map(|setting| setting.as_ref().split_once('=').unwrap()) {
            let setting = config.pointer_mut(&format!("/{}", name.replace('.', "/"))).unwrap();
            *setting = text.into();
        }
        serde_json::from_value::<Self>(config).unwrap().usable()
    }

    /// Reads the secrets from their files and checks all settings.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the file that cannot be read, or every invalid setting.
    pub fn usable(self) -> Result<Self, Failure> {
        self.with_secrets()?.checked()
    }

    fn with_secrets(self) -> Result<Self, Failure> {
        Ok(Self {
            kafka: self.kafka.with_secrets()?,
            postgres: self.postgres.with_passwords()?,
            payment: self.payment.with_secrets()?,
            vendor: self.vendor.with_secrets()?,
            mail: self.mail.with_password()?,
            gateway: self.gateway.with_secrets()?,
            notify: self.notify.with_secrets()?,
            otlp: self.otlp.with_secrets()?,
            ..self
        })
    }

    /// Refuses invalid settings, all at once.
    fn checked(self) -> Result<Self, Failure> {
        let problems = [
            self.own_problems(),
            self.kafka.problems(),
            self.topics.problems(),
            self.postgres.problems(),
            self.elasticsearch.problems(),
            self.registry.problems(),
            self.connect.problems(),
            self.processing.problems(),
            self.retries.problems(),
            self.effects.problems(),
            self.vendor.problems(),
            self.audit.problems(),
            self.retention.problems(self.topics.command_retention),
            self.gateway.problems(),
            self.metrics.problems(),
            self.notify.problems(self.metrics.interval.is_some(), self.mail.url.is_some()),
            self.otlp.problems(),
        ];
        match problems.concat() {
            none if none.is_empty() => Ok(self),
            problems => Err(Failure::usage(problems.join("\n"))),
        }
    }

    /// Problems of settings of different components together.
    fn own_problems(&self) -> Vec<String> {
        let (transaction, session) = (self.postgres.transaction_timeout, self.kafka.session_timeout);
        let too_long = (transaction >= session).then(|| {
            let [transaction, session] = [transaction, session].map(units::written_duration);
            format!(
                "postgres.transaction_timeout ({transaction}) must be below kafka.session_timeout ({session}), so that a frozen host cannot hold a lock after its partitions went to another"
            )
        });
        let known = millrace_schemas::CONTEXTS;
        let unknown = self.contexts.iter().find(|context| !known.contains(&context.as_str()));
        let unknown = unknown.map(|unknown| {
            format!("contexts: there is no context `{unknown}`; there are {}", known.join(", "))
        });
        let none = self.contexts.is_empty().then(|| "contexts must name at least one".to_owned());
        let unverified = self.connect.without_ca(&self.postgres.write.url);
        [too_long, unknown, none, unverified].into_iter().flatten().collect()
    }

    /// Whether the instance has a context.
    pub fn has(&self, context: &str) -> bool {
        self.contexts.iter().any(|name| name == context)
    }

    /// How long the registry or Kafka's acknowledgement may take. A transaction may wait for them; the limit is shorter than the
    /// transaction's, so that the error names the component that is away.
    pub fn awaited_timeout(&self) -> Duration {
        self.postgres.transaction_timeout * 3 / 4
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets are not serialised.
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
