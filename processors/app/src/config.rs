//! Configuration: flag, else environment, else TOML file, else default.

mod global;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use millrace_runtime::{Buffers, client};
use millrace_store::names::Namespace;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::failure::Failure;

pub use global::Global;

/// Retries of one record; each has a topic of its own for every group and topic.
const RETRIES_MAX: usize = 10;
/// Longer than an outage that people notice.
const A_MONTH_MS: i64 = 30 * A_DAY_MS;
const A_DAY_MS: i64 = 24 * 3_600_000;
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
    /// Further librdkafka properties, such as those for TLS. Those that a guarantee rests on are refused, with the reason.
    /// Never printed.
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
    /// A request to the search cluster that is not answered for so long is sent again.
    pub elasticsearch_timeout_ms: u64,
    /// Copies of each index.
    pub elasticsearch_replicas: u32,
    /// How soon a document can be searched, such as `500ms` or `1s`.
    pub elasticsearch_refresh_interval: String,
    /// The registry's Confluent API. `SCHEMA_REGISTRY_URL`.
    pub schema_registry_url: Address,
    /// Kafka Connect. `CONNECT_URL`.
    pub connect_url: Address,
    /// How often Debezium looks for new rows of the outbox, in milliseconds: the time that a row waits, and what an idle
    /// connector costs of a processor. `millrace setup` tells it.
    pub outbox_poll_interval_ms: u32,
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
    /// How long a topic of commands keeps a record at least, in milliseconds, -1 for ever: a command that is not read in this
    /// time is lost. `millrace setup` raises what is lower.
    pub command_retention_ms: i64,
    /// The same of rejections.
    pub rejection_retention_ms: i64,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// A member of a group that is silent for this long loses its partitions.
    pub session_timeout_ms: u64,
    /// A member says this often that it lives.
    pub heartbeat_interval_ms: u64,
    /// A database transaction that lasts longer is ended; below the session timeout, so that a frozen host cannot
    /// hold a lock.
    pub transaction_timeout_ms: u64,
    /// What a database has not answered after so long is an outage: a link that swallows what is sent never says so.
    /// Longer than anything that a transaction waits for.
    pub database_answer_timeout_ms: u64,
    /// Connections to each database.
    pub database_connections_max: u32,
    /// Commands in one transaction, at most.
    pub commands_batch_max: usize,
    /// Events in one transaction, at most.
    pub events_batch_max: usize,
    /// How long a record that failed waits before each further try; as many retries as there are delays.
    pub retry_delays_ms: Vec<u64>,
    /// The same for single groups, by role: `{orders = [500, 5000]}`.
    pub group_retry_delays_ms: HashMap<String, Vec<u64>>,
    /// The contexts of the business that this instance has. Views read those of theirs that there are; a saga or an effect
    /// that needs another one does not run.
    pub contexts: Vec<String>,
    /// Whether sagas and effects run. Without them nothing follows from an order until somebody sends it.
    pub sagas: bool,
    /// How long timers of sagas take, in milliseconds: `{"fulfilment.deadline" = 300000}`; others take their own time.
    pub saga_timers_ms: HashMap<String, u64>,
    /// `millrace run` compares everything that is stored with the outbox this often, in seconds; 0 is never.
    pub audit_every_s: u64,
    /// The auditor reads and folds at most so many events a second.
    pub audit_events_per_second: u32,
    /// The auditor repairs at most so many things each time.
    pub audit_repairs_max: usize,
    /// States of streams kept in memory.
    pub state_cache_bytes: u64,
    /// Records that wait in memory for their batch, in bytes, of all groups of a process together; each group has a mebibyte
    /// beside them that no other takes.
    pub buffer_bytes: usize,
    /// Whether row views also go to Elasticsearch. Rows that change while it is off are not sent later.
    pub publish: bool,
    /// The payment provider; without one no payments are asked for.
    pub payment_provider_url: Option<Address>,
    /// What the payment provider knows us by.
    #[serde(default, deserialize_with = "text", skip_serializing)]
    pub payment_provider_token: Option<String>,
    /// A file with the token.
    pub payment_provider_token_file: Option<PathBuf>,
    /// Where the payment provider's webhooks are heard, at `/webhooks/payments`; nowhere unless it is set. Meant to stand
    /// behind a proxy that speaks TLS.
    pub webhook_listen: Option<SocketAddr>,
    /// What the payment provider signs its webhooks with, in base64; while it changes its secret both, separated by a space.
    #[serde(default, deserialize_with = "text", skip_serializing)]
    pub payment_webhook_secret: Option<String>,
    /// A file with that secret, or with several, each on a line of its own; read at the start.
    pub payment_webhook_secret_file: Option<PathBuf>,
    /// How long the payment provider knows a call by its key, in seconds: later no call is made again.
    pub payment_key_window_s: u64,
    /// The vendor of campaigns' messages; without one none are sent.
    pub vendor_url: Option<Address>,
    /// What the vendor knows us by.
    #[serde(default, deserialize_with = "text", skip_serializing)]
    pub vendor_token: Option<String>,
    /// A file with that token.
    pub vendor_token_file: Option<PathBuf>,
    /// How long the vendor knows a call by its key, in seconds: later no call is made again.
    pub vendor_key_window_s: u64,
    /// Messages that each process hands to the vendor in a second, at most.
    pub vendor_messages_per_second: u32,
    /// The mail server: `smtps://user@host`, `smtp://user@host?tls=required`, or `smtp://127.0.0.1:2525` on loopback;
    /// without one no mails are sent.
    pub smtp_url: Option<Address>,
    /// A file with the password for the mail server.
    pub smtp_password_file: Option<PathBuf>,
    /// Who mails are from, such as `Shop <shop@example.com>`.
    pub mail_from: Option<String>,
    /// Calls of one effect at the same time, in each process.
    pub effect_calls_max: usize,
    /// A call to the outside that is not answered for so long has an unknown outcome.
    pub effect_call_timeout_ms: u64,
    /// A call that was asked for longer ago is given up, in seconds.
    pub effect_age_max_s: u64,
    /// So many different calls in a row must fail before the others wait for a while.
    pub effect_breaker_failures: usize,
    /// What is logged: `info`, `millrace_runtime=debug,info`.
    pub log: Option<String>,
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
        other => serde_json::to_string(&other).unwrap_or_default(),
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
    "payment_provider_url",
    "payment_provider_token",
    "payment_provider_token_file",
    "webhook_listen",
    "payment_webhook_secret",
    "payment_webhook_secret_file",
    "vendor_url",
    "vendor_token",
    "vendor_token_file",
    "smtp_url",
    "smtp_password_file",
    "mail_from",
    "log",
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
        ("elasticsearch_timeout_ms", 30_000.into()),
        ("elasticsearch_replicas", 0.into()),
        ("elasticsearch_refresh_interval", "500ms".into()),
        ("schema_registry_url", "http://127.0.0.1:8081".into()),
        ("connect_url", "http://127.0.0.1:8083".into()),
        ("outbox_poll_interval_ms", 5.into()),
        ("partitions", 4.into()),
        ("replication_factor", 1.into()),
        ("command_retention_ms", A_MONTH_MS.into()),
        ("rejection_retention_ms", A_MONTH_MS.into()),
        ("listen", "127.0.0.1:9464".into()),
        ("session_timeout_ms", 30_000.into()),
        ("heartbeat_interval_ms", 3_000.into()),
        ("transaction_timeout_ms", 20_000.into()),
        ("database_answer_timeout_ms", 40_000.into()),
        ("database_connections_max", 16.into()),
        ("commands_batch_max", 2_000.into()),
        ("events_batch_max", 5_000.into()),
        ("retry_delays_ms", vec![1_000, 10_000, 60_000].into()),
        ("group_retry_delays_ms", Value::from(Dict::new())),
        ("contexts", millrace_schemas::CONTEXTS.to_vec().into()),
        ("sagas", true.into()),
        ("saga_timers_ms", Value::from(Dict::new())),
        ("audit_every_s", 900.into()),
        ("audit_events_per_second", 2_000.into()),
        ("audit_repairs_max", 100.into()),
        ("state_cache_bytes", (16 << 20).into()),
        ("buffer_bytes", (40 << 20).into()),
        ("publish", true.into()),
        ("payment_key_window_s", 86_400.into()),
        ("vendor_key_window_s", 86_400.into()),
        ("vendor_messages_per_second", 500.into()),
        ("effect_calls_max", 8.into()),
        ("effect_call_timeout_ms", 10_000.into()),
        ("effect_age_max_s", 259_200.into()),
        ("effect_breaker_failures", 5.into()),
        ("log_format", "text".into()),
    ])
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the field, where it was set and the problem, and never a password.
    pub fn load(flags: &Global) -> Result<Self, Failure> {
        // What is not text is the value of no field.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self::from(flags, &std::env::vars_os().filter_map(text).collect::<Vec<_>>())
    }

    pub(crate) fn from(flags: &Global, environment: &[(String, String)]) -> Result<Self, Failure> {
        let figment = sources(flags, environment)?;
        let config: Self = figment.extract().map_err(|errors| Failure::usage(listed(errors)))?;
        config.with_passwords()?.checked()
    }

    fn with_passwords(mut self) -> Result<Self, Failure> {
        let sides = [
            (
                &mut self.write_database_url,
                &self.write_database_password_file,
                "write_database_password_file",
            ),
            (&mut self.read_database_url, &self.read_database_password_file, "read_database_password_file"),
        ];
        for (url, file, field) in sides {
            if let Some(file) = file {
                let read = url.clone().with_password_file(file);
                *url = read.map_err(|problem| Failure::usage(format!("{field}: {problem}")))?;
            }
        }
        self.with_outside_secrets()
    }

    fn with_outside_secrets(mut self) -> Result<Self, Failure> {
        if let (Some(url), Some(file)) = (&mut self.smtp_url, &self.smtp_password_file) {
            let read = url.clone().with_password_file(file);
            *url = read.map_err(|problem| Failure::usage(format!("smtp_password_file: {problem}")))?;
        }
        if let Some(file) = &self.payment_provider_token_file {
            self.payment_provider_token = Some(token("payment_provider_token_file", file)?);
        }
        if let Some(file) = &self.payment_webhook_secret_file {
            self.payment_webhook_secret = Some(token("payment_webhook_secret_file", file)?);
        }
        if let Some(file) = &self.vendor_token_file {
            self.vendor_token = Some(token("vendor_token_file", file)?);
        }
        Ok(self)
    }

    fn checked(self) -> Result<Self, Failure> {
        let Self { session_timeout_ms: session, transaction_timeout_ms: transaction, .. } = self;
        let problems = [
            (transaction >= session).then(|| {
                format!("transaction_timeout_ms ({transaction}) must be below session_timeout_ms ({session}), so that a frozen host cannot hold a lock after its partitions went to another")
            }),
            (self.database_answer_timeout_ms <= transaction).then(|| {
                format!("database_answer_timeout_ms ({}) must be above transaction_timeout_ms ({transaction}), so that Postgres ends first what takes too long", self.database_answer_timeout_ms)
            }),
            (self.heartbeat_interval_ms * 3 > session).then(|| {
                format!("heartbeat_interval_ms ({}) must be at most a third of session_timeout_ms ({session})", self.heartbeat_interval_ms)
            }),
            positive("outbox_poll_interval_ms", self.outbox_poll_interval_ms),
            positive("partitions", self.partitions),
            positive("replication_factor", self.replication_factor),
            positive("elasticsearch_timeout_ms", self.elasticsearch_timeout_ms),
            positive("commands_batch_max", self.commands_batch_max),
            positive("events_batch_max", self.events_batch_max),
            (self.buffer_bytes < Buffers::LEAST).then(|| {
                format!("buffer_bytes must be {} or more, not {}", Buffers::LEAST, self.buffer_bytes)
            }),
            positive("database_connections_max", self.database_connections_max),
            positive("audit_events_per_second", self.audit_events_per_second),
            positive("vendor_messages_per_second", self.vendor_messages_per_second),
            positive("effect_calls_max", self.effect_calls_max),
            positive("effect_call_timeout_ms", self.effect_call_timeout_ms),
            positive("effect_breaker_failures", self.effect_breaker_failures),
            retention("command_retention_ms", self.command_retention_ms, 1),
            // `verify` expects those of the last day.
            retention("rejection_retention_ms", self.rejection_retention_ms, 2 * A_DAY_MS),
            self.kafka_problem(),
            self.retry_problem(),
            self.context_problem(),
            database("write_database_url", &self.write_database_url),
            database("read_database_url", &self.read_database_url),
        ];
        match problems.into_iter().flatten().next() {
            Some(problem) => Err(Failure::usage(problem)),
            None => Ok(self),
        }
    }

    fn context_problem(&self) -> Option<String> {
        let known = millrace_schemas::CONTEXTS;
        let unknown = self.contexts.iter().find(|context| !known.contains(&context.as_str()));
        match unknown {
            Some(unknown) => {
                Some(format!("contexts: there is no context `{unknown}`; there are {}", known.join(", ")))
            }
            None => self.contexts.is_empty().then(|| "contexts must name at least one".to_owned()),
        }
    }

    fn kafka_problem(&self) -> Option<String> {
        client::problem(&self.kafka_properties).map(|problem| format!("kafka_properties: {problem}"))
    }

    fn retry_problem(&self) -> Option<String> {
        let groups = self.group_retry_delays_ms.iter().map(|(role, delays)| (role.as_str(), delays));
        let mut all = groups.chain([("", &self.retry_delays_ms)]);
        let (role, delays) = all.find(|(_, delays)| delays.len() > RETRIES_MAX)?;
        let field = if role.is_empty() {
            "retry_delays_ms".to_owned()
        } else {
            format!("group_retry_delays_ms.{role}")
        };
        Some(format!(
            "{field} has {} delays, and each needs topics of its own: {RETRIES_MAX} at most",
            delays.len()
        ))
    }

    /// Whether the instance has a context.
    pub fn has(&self, context: &str) -> bool {
        self.contexts.iter().any(|name| name == context)
    }

    /// How long a record that a role failed on waits before each further try.
    pub fn retry_delays(&self, role: &str) -> Vec<Duration> {
        let delays = self.group_retry_delays_ms.get(role).unwrap_or(&self.retry_delays_ms);
        delays.iter().copied().map(Duration::from_millis).collect()
    }

    /// How long the timers of sagas take that are configured.
    pub fn saga_timers(&self) -> HashMap<String, Duration> {
        let timers = self.saga_timers_ms.iter();
        timers.map(|(name, after)| (name.clone(), Duration::from_millis(*after))).collect()
    }

    /// [`payment_key_window_s`](Self::payment_key_window_s).
    pub fn payment_key_window(&self) -> Duration {
        Duration::from_secs(self.payment_key_window_s)
    }

    /// [`effect_call_timeout_ms`](Self::effect_call_timeout_ms).
    pub fn effect_call_timeout(&self) -> Duration {
        Duration::from_millis(self.effect_call_timeout_ms)
    }

    /// [`session_timeout_ms`](Self::session_timeout_ms).
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    /// [`transaction_timeout_ms`](Self::transaction_timeout_ms).
    pub fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms)
    }

    /// [`database_answer_timeout_ms`](Self::database_answer_timeout_ms).
    pub fn database_answer_timeout(&self) -> Duration {
        Duration::from_millis(self.database_answer_timeout_ms)
    }

    /// [`elasticsearch_timeout_ms`](Self::elasticsearch_timeout_ms).
    pub fn elasticsearch_timeout(&self) -> Duration {
        Duration::from_millis(self.elasticsearch_timeout_ms)
    }

    /// How long the registry or Kafka's acknowledgement may take. A transaction may wait for them: shorter, so that an
    /// outage shows as theirs.
    pub fn awaited_timeout(&self) -> Duration {
        self.transaction_timeout() * 3 / 4
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        shown.kafka_properties.values_mut().for_each(|value| "***".clone_into(value));
        f.write_str(&serde_json::to_string(&shown).map_err(|_| fmt::Error)?)
    }
}

/// What a file holds that a setting names, without the end of its line.
pub(crate) fn token(field: &str, file: &Path) -> Result<String, Failure> {
    let token = std::fs::read_to_string(file);
    let token = token.map_err(|error| Failure::usage(format!("{field}: {}: {error}", file.display())))?;
    Ok(token.trim_end().to_owned())
}

fn positive<T: PartialOrd + From<u8> + fmt::Display>(field: &str, number: T) -> Option<String> {
    (number < T::from(1)).then(|| format!("{field} must be 1 or more, not {number}"))
}

fn retention(field: &str, millis: i64, least: i64) -> Option<String> {
    (millis < least && millis != -1)
        .then(|| format!("{field} must be {least} or more, or -1 for ever, not {millis}"))
}

fn database(field: &str, address: &Address) -> Option<String> {
    let known = ["postgres", "postgresql"].contains(&address.url().scheme());
    (!known).then(|| format!("{field} must begin with postgres://, not {}://", address.url().scheme()))
}

/// All sources, the later ones stronger.
fn sources(flags: &Global, environment: &[(String, String)]) -> Result<Figment, Failure> {
    let mut figment = Figment::from(Serialized::defaults(defaults()));
    if let Some(file) = config_file(flags.config.as_deref())? {
        figment = figment.merge(Toml::file_exact(file));
    }
    let fields: Vec<&str> = fields().collect();
    let environment = Set { place: "the environment", fields: from_environment(environment, &fields) };
    let command_line = Set { place: "the command line", fields: flags.settings(&fields)? };
    Ok(figment.merge(environment).merge(command_line))
}

/// The fields that variables set; those with our prefix win over the well-known ones. Other programs have variables
/// with our prefix too (`scripts/stack`), so one that names no field is not refused.
fn from_environment(environment: &[(String, String)], fields: &[&str]) -> Dict {
    let well_known = environment.iter().filter(|(name, _)| WELL_KNOWN.contains(&name.as_str()));
    let well_known = well_known.map(|(name, value)| (name.to_lowercase(), value));
    let prefixed = environment.iter().filter_map(|(name, value)| {
        let field = name.strip_prefix("MILLRACE_")?.to_lowercase();
        fields.contains(&field.as_str()).then_some((field, value))
    });
    well_known
        .chain(prefixed)
        .map(|(field, text)| {
            let value = value(&field, text);
            (field, value)
        })
        .collect()
}

/// The value that a text gives a field: text stays as it is (a password `007` is not a number), all else is read.
pub(crate) fn value(field: &str, text: &str) -> Value {
    match defaults().get(field) {
        None | Some(Value::String(..)) => Value::from(text),
        Some(_) => match text.parse() {
            Ok(value) => value,
            Err(never) => match never {},
        },
    }
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
        let place =
            error.metadata.as_ref().map(|source| format!(" (from {})", source.name)).unwrap_or_default();
        // The kind alone: it does not repeat what was configured, unless that cannot be a secret.
        format!("{}{place}: {}", if field.is_empty() { "configuration" } else { &field }, error.kind)
    };
    errors.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is set in one place.
struct Set {
    place: &'static str,
    fields: Dict,
}

impl figment::Provider for Set {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.place)
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Ok(Map::from([(figment::Profile::Default, self.fields.clone())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sources give for these variables, file and settings.
    fn load(environment: &[(&str, &str)], toml: &str, set: &[&str]) -> Result<Config, Failure> {
        let file = std::env::temp_dir().join(format!(
            "millrace-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, toml).unwrap();
        let set = set.iter().map(ToString::to_string).collect();
        let flags = Global { config: Some(file.clone()), set, ..Global::default() };
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let loaded = Config::from(&flags, &environment);
        std::fs::remove_file(file).unwrap();
        loaded
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let toml = "partitions = 5\nreplication_factor = 3\nlisten = '0.0.0.0:80'";
        let environment = [("MILLRACE_PARTITIONS", "6"), ("MILLRACE_REPLICATION_FACTOR", "2")];
        let config = load(&environment, toml, &["partitions=7"]).unwrap();
        assert_eq!((config.partitions, config.replication_factor), (7, 2));
        assert_eq!((config.listen.port(), config.namespace.to_string().as_str()), (80, "millrace"));
    }

    #[test]
    fn well_known_variables_need_no_prefix_and_others_prefixed_like_ours_are_ignored() {
        let environment = [
            ("MILLRACE_CONNECT_DATABASE_PASSWORD", "007"),
            ("KAFKA_BROKERS", "k:1"),
            ("WRITE_DATABASE_URL", "postgres://u:hunter2@db/w"),
            ("MILLRACE_STACK_DIR", "/x"),
            ("PARTITIONS", "9"),
        ];
        let config = load(&environment, "", &[]).unwrap();
        assert_eq!((config.kafka_brokers.as_str(), config.partitions), ("k:1", 4));
        assert_eq!(config.write_database_url.reveal(), "postgres://u:hunter2@db/w");
        assert_eq!(config.connect_database_password.as_deref(), Some("007"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_stay_out_of_what_is_shown() {
        let toml = "connect_database_password = 271828\n[kafka_properties]\n'sasl.password' = 314159";
        let config = load(&[("READ_DATABASE_URL", "postgres://u:hunter2@db/r")], toml, &[]).unwrap();
        assert_eq!(config.kafka_properties.get("sasl.password").map(String::as_str), Some("314159"));
        assert_eq!(config.connect_database_password.as_deref(), Some("271828"));
        let shown = format!("{config:?}");
        assert!(!["314159", "271828", "hunter2"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }

    #[test]
    fn refusals_name_the_field_and_where_it_was_set() {
        let refusal = |environment: &[(&str, &str)], toml: &str, set: &[&str]| {
            load(environment, toml, set).unwrap_err().to_string()
        };
        assert!(
            refusal(&[("MILLRACE_PARTITIONS", "many")], "", &[])
                .contains("partitions (from the environment)")
        );
        assert!(refusal(&[], "partition = 3", &[]).contains("unknown field"));
        assert!(refusal(&[], "", &["partitions=0"]).contains("partitions must be 1 or more, not 0"));
        for few in [0, 1_000_000] {
            let message = refusal(&[], "", &[&format!("buffer_bytes={few}")]);
            assert!(
                message.contains(&format!("buffer_bytes must be 1048576 or more, not {few}")),
                "{message}"
            );
        }
        assert!(refusal(&[], "", &["namespace=A"]).contains("namespace (from the command line): `A` is not"));
        let message = refusal(&[], "transaction_timeout_ms = 30000", &[]);
        assert!(message.contains("must be below session_timeout_ms (30000)"), "{message}");
        let message = refusal(&[], "[kafka_properties]\n'isolation.level' = 'read_uncommitted'", &[]);
        assert!(message.contains("kafka_properties: `isolation.level` cannot be set"), "{message}");
        let message = refusal(&[("WRITE_DATABASE_URL", "mysql://u:hunter2@db/w")], "", &[]);
        assert!(message.contains("postgres://") && !message.contains("hunter2"), "{message}");
        let message = refusal(&[("WRITE_DATABASE_URL", "u:hunter2@db/w")], "", &[]);
        assert!(!message.contains("hunter2"), "{message}");
    }
}
