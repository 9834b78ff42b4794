//! A command as it came from Kafka, decoded.

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use millrace_schemas::customers::{ChangeCustomerDetails, Command, RegisterCustomer};
use millrace_schemas::{AvroRecord, Message as _, unframe};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use sha2::{Digest as _, Sha256};

/// One command.
pub(super) struct Order {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) id: String,
    pub(super) source: String,
    pub(super) produced_at: Option<DateTime<Utc>>,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) fingerprint: Vec<u8>,
    pub(super) command: Command,
}

impl Order {
    /// Reads a record; the measurement sends none that cannot be read.
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Result<Self> {
        let (_, body) = unframe(message.payload().context("a record without value")?)?;
        let command = decode(&header(message, "ce_type")?, body)?;
        let stamped = message.timestamp().to_millis();
        Ok(Self {
            partition: message.partition(),
            offset: message.offset(),
            topic: message.topic().to_owned(),
            key: std::str::from_utf8(message.key().context("a record without key")?)?.to_owned(),
            id: header(message, "ce_id")?,
            source: header(message, "ce_source")?,
            produced_at: stamped.and_then(DateTime::from_timestamp_millis),
            occurred_at: DateTime::parse_from_rfc3339(&header(message, "ce_time")?)?.to_utc(),
            fingerprint: fingerprint(command.full_name(), body),
            command,
        })
    }
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> Result<String> {
    let value = millrace_kafka::header_text(message, name);
    Ok(value.with_context(|| format!("a record without {name}"))?.to_owned())
}

/// The type is in the header, and the writer's schema is this build's: nothing has to be looked up.
fn decode(full_name: &str, body: &[u8]) -> Result<Command> {
    let schema = match full_name {
        RegisterCustomer::FULL_NAME => RegisterCustomer::schema(),
        _ => ChangeCustomerDetails::schema(),
    };
    Ok(Command::decode(schema, body)?)
}

/// As Millrace tells two bodies under one id apart.
fn fingerprint(full_name: &str, body: &[u8]) -> Vec<u8> {
    let hash = Sha256::new().chain_update(full_name).chain_update([0]).chain_update(body).finalize();
    hash.iter().take(16).copied().collect()
}
