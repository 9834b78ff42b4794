//! CloudEvents binary mode: what a record says about itself in its headers.

use chrono::{DateTime, Datelike, Utc};
use millrace_domain::Recorded;
use millrace_schemas::{Event, WriterSchema};

use crate::error::Fault;
use crate::names::Namespace;
use crate::record::Record;

/// Years that a clock can be believed to mean.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2200;

/// The header with a record's id.
pub const ID: &str = "ce_id";
/// The header with the full name of a record's type.
pub const TYPE: &str = "ce_type";
/// The header with who wrote a record.
pub const SOURCE: &str = "ce_source";
/// The header with when it happened, RFC 3339.
pub const TIME: &str = "ce_time";
/// The header with an event's version in its stream.
pub const SEQUENCE: &str = "ce_sequence";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The conversation that a record belongs to.
pub const CORRELATION_ID: &str = "correlation-id";
/// What caused a record.
pub const CAUSATION_ID: &str = "causation-id";

/// When a record says that it happened: its `ce_time`, else its timestamp in Kafka, else 1970. Never the time of
/// reading, so that reading twice gives the same answer.
pub(crate) fn occurred_at(record: &Record) -> DateTime<Utc> {
    let told = record.header(TIME).and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    let told = told.map(|time| time.to_utc()).filter(|time| YEARS.contains(&time.year()));
    told.or_else(|| record.stamped_at()).unwrap_or(DateTime::UNIX_EPOCH)
}

/// An event's version in its stream, when the record tells one that can be.
pub(crate) fn version(record: &Record) -> Option<i64> {
    record.header(SEQUENCE).and_then(|version| version.parse().ok()).filter(|version| *version > 0)
}

/// The event of a record, in its envelope. It must be of the context whose events its topic carries: streams of two
/// contexts may have the same id.
pub(crate) fn event(
    namespace: &Namespace,
    record: &Record,
    writer: &WriterSchema,
    body: &[u8],
) -> Result<Recorded, Fault> {
    let event = Event::decode(writer, body)?;
    if namespace.event_context(&record.topic) != Some(event.context()) {
        return Err(Fault::unknown_type(writer.full_name(), &record.topic));
    }
    recorded(record, event)
}

fn recorded(record: &Record, event: Event) -> Result<Recorded, Fault> {
    let missing = |name: &str| {
        Fault::hopeless("header-missing", format!("the event has no header `{name}` that can be read"))
    };
    let header = |name: &str| record.header(name).map(str::to_owned);
    Ok(Recorded {
        id: header(ID).ok_or_else(|| missing(ID))?,
        stream: record
            .key_text()
            .ok_or_else(|| Fault::hopeless("key-missing", "the event has no key"))?
            .to_owned(),
        version: version(record).ok_or_else(|| missing(SEQUENCE))?,
        occurred_at: occurred_at(record),
        correlation_id: header(CORRELATION_ID),
        causation_id: header(CAUSATION_ID),
        traceparent: header(TRACEPARENT),
        event,
    })
}
