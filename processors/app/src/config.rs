//! Configuration: flag, else environment, else TOML file, else default.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use millrace_runtime::names::Namespace;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::cli::Global;
use crate::failure::Failure;

/// The file that is read when `--config` names no other and it is there.
const DEFAULT_FILE: &str = "millrace.toml";

/// Everything that can be configured. Each field is a key of the TOML file, `MILLRACE_<FIELD>` in the environment and
/// `--set field=value` on the command line.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the instance: prefix of its topics, groups, slot, database schemas and indices.
    #[serde(deserialize_with = "namespace", serialize_with = "shown")]
    pub namespace: Namespace,
    /// The brokers: `host:port`, comma separated. `KAFKA_BROKERS`.
    pub kafka_brokers: String,
    /// Further librdkafka properties, such as those for TLS. Never printed.
    #[serde(deserialize_with = "texts", skip_serializing_if = "HashMap::is_empty")]
    pub kafka_properties: HashMap<String, String>,
    /// The write side. `WRITE_DATABASE_URL`.
    pub write_database_url: Address,
    /// The read side. `READ_DATABASE_URL`.
    pub read_database_url: Address,
    /// A file with the write side's password. `WRITE_DATABASE_PASSWORD_FILE`.
    pub write_database_password_file: Option<PathBuf>,
    /// A file with the read side's password. `READ_DATABASE_PASSWORD_FILE`.
    pub read_database_password_file: Option<PathBuf>,
    /// The role that may read the views, when it exists.
    pub reader_role: String,
    /// The search cluster. `ELASTICSEARCH_URL`.
    pub elasticsearch_url: Address,
    /// Copies of each index.
    pub elasticsearch_replicas: u32,
    /// How soon a document can be searched, such as `1s`.
    pub elasticsearch_refresh_interval: String,
    /// The registry's Confluent API. `SCHEMA_REGISTRY_URL`.
    pub schema_registry_url: Address,
    /// Kafka Connect. `CONNECT_URL`.
    pub connect_url: Address,
    /// `host:port` at which Connect reaches the write side, when it differs from ours.
    pub connect_database: Option<String>,
    /// What Connect gets as the write side's password instead of ours, such as `${file:/secrets/db:password}` of its
    /// `FileConfigProvider`.
    #[serde(default, deserialize_with = "text", skip_serializing)]
    pub connect_database_password: Option<String>,
    /// Partitions of each topic of commands, events and rejections.
    pub partitions: i32,
    /// Copies of each topic.
    pub replication_factor: i32,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// A member of a group that is silent for this long loses its partitions.
    pub session_timeout_ms: u64,
    /// A member says this often that it lives.
    pub heartbeat_interval_ms: u64,
    /// A database transaction that lasts longer is ended; below the session timeout, so that a frozen host cannot
    /// hold a lock.
    pub transaction_timeout_ms: u64,
    /// Connections to each database.
    pub database_connections_max: u32,
    /// Commands in one transaction, at most.
    pub commands_batch_max: usize,
    /// Events in one transaction, at most.
    pub events_batch_max: usize,
    /// States of streams kept in memory.
    pub state_cache_bytes: u64,
    /// Records of one group that wait in memory for their batch.
    pub buffer_bytes: usize,
    /// What is logged: `info`, `millrace_runtime=debug,info`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn namespace<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Namespace, D::Error> {
    Namespace::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn shown<S: serde::Serializer>(namespace: &Namespace, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(namespace)
}

/// Text that may look like a number: a refusal would print the password `123`.
fn plain(value: Value) -> String {
    match value {
        Value::String(_, text) => text,
        other => other.to_i128().map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    }
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.map(plain))
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HashMap<String, String>, D::Error> {
    let values = HashMap::<String, Value>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

/// Variables that have no prefix, because every tool knows them by these names.
const WELL_KNOWN: &[&str] = &[
    "KAFKA_BROKERS",
    "WRITE_DATABASE_URL",
    "READ_DATABASE_URL",
    "WRITE_DATABASE_PASSWORD_FILE",
    "READ_DATABASE_PASSWORD_FILE",
    "ELASTICSEARCH_URL",
    "SCHEMA_REGISTRY_URL",
    "CONNECT_URL",
];

/// Fields that are not set unless somebody sets them.
const OPTIONAL: &[&str] = &[
    "write_database_password_file",
    "read_database_password_file",
    "connect_database",
    "connect_database_password",
];

fn defaults() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("namespace", "millrace".into()),
        ("kafka_brokers", "127.0.0.1:9092".into()),
        ("kafka_properties", Value::from(Dict::new())),
        ("write_database_url", "postgres://millrace@127.0.0.1:5432/millrace_write".into()),
        ("read_database_url", "postgres://millrace@127.0.0.1:5432/millrace_read".into()),
        ("reader_role", "millrace_reader".into()),
        ("elasticsearch_url", "http://127.0.0.1:9200".into()),
        ("elasticsearch_replicas", 0.into()),
        ("elasticsearch_refresh_interval", "1s".into()),
        ("schema_registry_url", "http://127.0.0.1:8081".into()),
        ("connect_url", "http://127.0.0.1:8083".into()),
        ("partitions", 4.into()),
        ("replication_factor", 1.into()),
        ("listen", "127.0.0.1:9464".into()),
        ("session_timeout_ms", 30_000.into()),
        ("heartbeat_interval_ms", 3_000.into()),
        ("transaction_timeout_ms", 20_000.into()),
        ("database_connections_max", 16.into()),
        ("commands_batch_max", 2_000.into()),
        ("events_batch_max", 5_000.into()),
        ("state_cache_bytes", (16 << 20).into()),
        ("buffer_bytes", (8 << 20).into()),
        ("log", "info".into()),
        ("log_format", "text".into()),
    ])
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the field, where it was set and the problem, and never a password.
    pub fn load(flags: &Global) -> Result<Self, Failure> {
        let figment = sources(flags)?;
        let config: Self = figment.extract().map_err(|errors| Failure::usage(listed(errors)))?;
        config.with_passwords()?.checked()
    }

    fn with_passwords(mut self) -> Result<Self, Failure> {
        let sides = [
            (&mut self.write_database_url, &self.write_database_password_file, "write_database_password_file"),
            (&mut self.read_database_url, &self.read_database_password_file, "read_database_password_file"),
        ];
        for (url, file, field) in sides {
            if let Some(file) = file {
                let read = url.clone().with_password_file(file);
                *url = read.map_err(|problem| Failure::usage(format!("{field}: {problem}")))?;
            }
        }
        Ok(self)
    }

    fn checked(self) -> Result<Self, Failure> {
        let Self { session_timeout_ms: session, transaction_timeout_ms: transaction, .. } = self;
        let problems = [
            (transaction >= session).then(|| {
                format!("transaction_timeout_ms ({transaction}) must be below session_timeout_ms ({session}), so that a frozen host cannot hold a lock after its partitions went to another")
            }),
            (self.heartbeat_interval_ms * 3 > session).then(|| {
                format!("heartbeat_interval_ms ({}) must be at most a third of session_timeout_ms ({session})", self.heartbeat_interval_ms)
            }),
            positive("partitions", self.partitions),
            positive("replication_factor", self.replication_factor),
            positive("commands_batch_max", self.commands_batch_max),
            positive("events_batch_max", self.events_batch_max),
            positive("database_connections_max", self.database_connections_max),
            database("write_database_url", &self.write_database_url),
            database("read_database_url", &self.read_database_url),
        ];
        match problems.into_iter().flatten().next() {
            Some(problem) => Err(Failure::usage(problem)),
            None => Ok(self),
        }
    }

    /// [`session_timeout_ms`](Self::session_timeout_ms).
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    /// [`transaction_timeout_ms`](Self::transaction_timeout_ms).
    pub fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        shown.kafka_properties.values_mut().for_each(|value| "***".clone_into(value));
        f.write_str(&serde_json::to_string(&shown).map_err(|_| fmt::Error)?)
    }
}

fn positive<T: PartialOrd + From<u8> + fmt::Display>(field: &str, number: T) -> Option<String> {
    (number < T::from(1)).then(|| format!("{field} must be 1 or more, not {number}"))
}

fn database(field: &str, address: &Address) -> Option<String> {
    let known = ["postgres", "postgresql"].contains(&address.url().scheme());
    (!known).then(|| format!("{field} must begin with postgres://, not {}://", address.url().scheme()))
}

/// All sources, the later ones stronger.
fn sources(flags: &Global) -> Result<Figment, Failure> {
    let fields: Vec<&str> = fields().collect();
    let mut figment = Figment::from(Serialized::defaults(defaults()));
    if let Some(file) = config_file(flags.config.as_deref())? {
        figment = figment.merge(Toml::file_exact(file));
    }
    // Other programs have variables with our prefix (scripts/stack): only fields count.
    let prefixed = Env::prefixed("MILLRACE_").only(&fields);
    Ok(figment.merge(Env::raw().only(WELL_KNOWN)).merge(prefixed).merge(Flags(flags.settings(&fields)?)))
}

/// The name of every field.
pub fn fields() -> impl Iterator<Item = &'static str> {
    defaults().into_keys().chain(OPTIONAL.iter().copied())
}

fn config_file(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match named {
        Some(file) if file.is_file() => Ok(Some(file.to_owned())),
        Some(file) => Err(Failure::usage(format!("--config {}: there is no such file", file.display()))),
        None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file())),
    }
}

/// Every problem that the sources have, a line each.
fn listed(errors: figment::Error) -> String {
    let line = |error: figment::Error| {
        let field = error.path.join(".");
        let place = error.metadata.as_ref().map(|source| format!(" (from {})", source.name)).unwrap_or_default();
        // The kind alone: it does not repeat what was configured, unless that cannot be a secret.
        format!("{}{place}: {}", if field.is_empty() { "configuration" } else { &field }, error.kind)
    };
    errors.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the command line sets.
struct Flags(Dict);

impl figment::Provider for Flags {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("the command line")
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Ok(Map::from([(figment::Profile::Default, self.0.clone())]))
    }
}
