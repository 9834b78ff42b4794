//! The brokers and the membership of consumer groups.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use millrace_engine::client;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::at_least;
use super::secret::{Hidden, read_secret};
use super::units::{Human, written_duration};
use crate::failure::Failure;

/// How Kafka is reached, and when members of its groups are considered dead.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Kafka {
    /// The brokers: `host:port`, comma separated.
    pub brokers: String,
    /// Further librdkafka properties, such as those for TLS. A property that would break a guarantee is refused, with the
    /// reason. Never printed.
    #[serde_as(as = "HashMap<_, Hidden>")]
    pub properties: HashMap<String, SecretString>,
    /// Properties whose values are in files: `{"sasl.password" = "/run/secrets/kafka"}`; read at the start of the process.
    pub property_files: HashMap<String, PathBuf>,
    /// A member of a group that sends no heartbeat for this long loses its partitions (`session.timeout.ms`).
    #[serde_as(as = "Human")]
    pub session_timeout: Duration,
    /// How often a member sends a heartbeat (`heartbeat.interval.ms`); at most a third of the session timeout.
    #[serde_as(as = "Human")]
    pub heartbeat_interval: Duration,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            properties: HashMap::new(),
            property_files: HashMap::new(),
            session_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(3),
        }
    }
}

impl Kafka {
    /// The properties as librdkafka takes them, secrets among them.
    pub fn revealed(&self) -> HashMap<String, String> {
        let properties = self.properties.iter();
        properties.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
    }

    pub(super) fn with_secrets(mut self) -> Result<Self, Failure> {
        for (name, file) in &self.property_files {
            let setting = format!("kafka.property_files.{name}");
            let secret = read_secret(&setting, file)?;
            if self.properties.insert(name.clone(), secret.into()).is_some() {
                return Err(Failure::usage(format!("{setting}: kafka.properties has `{name}` too")));
            }
        }
        Ok(self)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let Self { session_timeout: session, heartbeat_interval: heartbeat, .. } = *self;
        let problems = [
            at_least("kafka.heartbeat_interval", heartbeat, Duration::from_millis(1)),
            (heartbeat > session / 3).then(|| {
                let [heartbeat, session] = [heartbeat, session].map(written_duration);
                format!(
                    "kafka.heartbeat_interval ({heartbeat}) must be at most a third of kafka.session_timeout ({session})"
                )
            }),
            client::problem(&self.revealed()).map(|problem| format!("kafka.properties: {problem}")),
        ];
        problems.into_iter().flatten().collect()
    }
}
