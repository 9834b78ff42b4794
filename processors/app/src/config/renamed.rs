//! The former, flat names of settings. They still work, with a warning.

use std::time::Duration;

use bytesize::ByteSize;
use figment::value::Value;
use millrace_ops::config::units::{written_duration, written_size};

/// A former name of a setting.
pub(super) struct Renamed {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    unit: Unit,
}

/// The unit of a number under the former name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The value is the same.
    Same,
    /// Milliseconds.
    Ms,
    /// Milliseconds; -1 is this word.
    MsOr(&'static str),
    /// Seconds.
    S,
    /// Seconds; 0 is `never`.
    SOrNever,
    /// Bytes.
    Bytes,
    /// Text with a unit; -1 is `never`.
    TextOrNever,
}

const fn same(old: &'static str, new: &'static str) -> Renamed {
    Renamed { old, new, unit: Unit::Same }
}

const fn counted(old: &'static str, new: &'static str, unit: Unit) -> Renamed {
    Renamed { old, new, unit }
}

/// All former names.
pub(super) const RENAMED: &[Renamed] = &[
    same("kafka_brokers", "kafka.brokers"),
    same("kafka_properties", "kafka.properties"),
    counted("session_timeout_ms", "kafka.session_timeout", Unit::Ms),
    counted("heartbeat_interval_ms", "kafka.heartbeat_interval", Unit::Ms),
    same("partitions", "topics.partitions"),
    same("replication_factor", "topics.replication_factor"),
    counted("command_retention_ms", "topics.command_retention", Unit::MsOr("forever")),
    counted("rejection_retention_ms", "topics.rejection_retention", Unit::MsOr("forever")),
    same("write_database_url", "postgres.write.url"),
    same("read_database_url", "postgres.read.url"),
    same("write_database_password_file", "postgres.write.password_file"),
    same("read_database_password_file", "postgres.read.password_file"),
    same("reader_role", "postgres.reader_role"),
    counted("transaction_timeout_ms", "postgres.transaction_timeout", Unit::Ms),
    counted("database_answer_timeout_ms", "postgres.answer_timeout", Unit::Ms),
    same("database_connections_max", "postgres.connections_max"),
    same("elasticsearch_url", "elasticsearch.url"),
    counted("elasticsearch_timeout_ms", "elasticsearch.timeout", Unit::Ms),
    same("elasticsearch_replicas", "elasticsearch.replicas"),
    counted("elasticsearch_refresh_interval", "elasticsearch.refresh_interval", Unit::TextOrNever),
    same("publish", "elasticsearch.publish"),
    same("schema_registry_url", "registry.url"),
    same("connect_url", "connect.url"),
    counted("outbox_poll_interval_ms", "connect.outbox_poll_interval", Unit::Ms),
    same("connect_database", "connect.database"),
    same("connect_database_password", "connect.database_password"),
    same("commands_batch_max", "processing.commands_batch_max"),
    same("events_batch_max", "processing.events_batch_max"),
    counted("state_cache_bytes", "processing.state_cache", Unit::Bytes),
    counted("buffer_bytes", "processing.buffer", Unit::Bytes),
    counted("retry_delays_ms", "retries.delays", Unit::Ms),
    counted("group_retry_delays_ms", "retries.groups", Unit::Ms),
    same("sagas", "sagas.enabled"),
    counted("saga_timers_ms", "sagas.timers", Unit::Ms),
    same("effect_calls_max", "effects.calls_max"),
    counted("effect_call_timeout_ms", "effects.call_timeout", Unit::Ms),
    counted("effect_age_max_s", "effects.age_max", Unit::S),
    same("effect_breaker_failures", "effects.breaker_failures"),
    same("payment_provider_url", "payment.url"),
    same("payment_provider_token", "payment.token"),
    same("payment_provider_token_file", "payment.token_file"),
    counted("payment_key_window_s", "payment.key_window", Unit::S),
    same("payment_webhook_secret", "payment.webhook_secret"),
    same("payment_webhook_secret_file", "payment.webhook_secret_file"),
    same("vendor_url", "vendor.url"),
    same("vendor_token", "vendor.token"),
    same("vendor_token_file", "vendor.token_file"),
    counted("vendor_key_window_s", "vendor.key_window", Unit::S),
    same("vendor_messages_per_second", "vendor.messages_per_second"),
    same("smtp_url", "mail.url"),
    same("smtp_password_file", "mail.password_file"),
    same("mail_from", "mail.from"),
    counted("audit_every_s", "audit.interval", Unit::SOrNever),
    same("audit_events_per_second", "audit.events_per_second"),
    same("audit_repairs_max", "audit.repairs_max"),
    same("listen", "http.listen"),
    same("webhook_listen", "http.webhook_listen"),
    same("log", "logging.filter"),
    same("log_format", "logging.format"),
];

/// The setting with this former name.
pub(super) fn by_old_name(name: &str) -> Option<&'static Renamed> {
    RENAMED.iter().find(|renamed| renamed.old == name)
}

impl Renamed {
    /// Whether a text is used unchanged.
    pub(super) fn is_same(&self) -> bool {
        matches!(self.unit, Unit::Same | Unit::TextOrNever)
    }

    /// The value for the new name: numbers get the unit of the former name.
    ///
    /// # Errors
    /// When the value is not a number.
    pub(super) fn converted(&self, value: Value) -> Result<Value, String> {
        match (self.unit, value) {
            (Unit::Same, value) => Ok(value),
            (_, Value::Array(_, all)) => {
                Ok(all.into_iter().map(|one| self.converted(one)).collect::<Result<Vec<_>, _>>()?.into())
            }
            (_, Value::Dict(tag, all)) => {
                let converted = all.into_iter().map(|(key, one)| Ok((key, self.converted(one)?)));
                Ok(Value::Dict(tag, converted.collect::<Result<_, String>>()?))
            }
            (unit, value) => unit.with(&plain(value)).map(Value::from),
        }
    }
}

/// The text of a value.
fn plain(value: Value) -> String {
    match value {
        Value::String(_, text) => text,
        other => serde_json::to_string(&other).unwrap_or_default(),
    }
}

impl Unit {
    /// The number with its unit, in the format of the new name.
    fn with(self, number: &str) -> Result<String, String> {
        let counted = |of: &str| number.parse().map_err(|_| format!("must be a number of {of}"));
        match (self, number) {
            (Unit::MsOr(word), "-1") => Ok(word.to_owned()),
            (Unit::SOrNever, "0") | (Unit::TextOrNever, "-1") => Ok("never".to_owned()),
            (Unit::Same | Unit::TextOrNever, _) => Ok(number.to_owned()),
            (Unit::Ms | Unit::MsOr(_), _) => {
                counted("milliseconds").map(Duration::from_millis).map(written_duration)
            }
            (Unit::S | Unit::SOrNever, _) => {
                counted("seconds").map(Duration::from_secs).map(written_duration)
            }
            (Unit::Bytes, _) => counted("bytes").map(ByteSize::b).map(written_size),
        }
    }
}
