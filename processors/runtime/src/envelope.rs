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

/// A conversation goes with everything that follows from a record: no header of it may grow beyond what topics take.
const CONVERSATION_BYTES_MAX: usize = 512;

/// The conversation that a command belongs to; none when it names none.
///
/// # Errors
/// When it cannot be carried on as it is.
pub(crate) fn conversation(record: &Record) -> Result<Option<&str>, Fault> {
    let header = record.headers.iter().find(|header| header.is(CORRELATION_ID));
    let Some(told) = header.and_then(|header| header.value.as_deref()).filter(|told| !told.is_empty()) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(told).ok().filter(|text| can_be_carried(text));
    let invalid = || {
        let most = CONVERSATION_BYTES_MAX;
        let message =
            format!("{CORRELATION_ID} must have at most {most} bytes of UTF-8 and no NUL character");
        Fault::hopeless("correlation-invalid", message)
    };
    text.map(Some).ok_or_else(invalid)
}

/// Whether a conversation's name may go into the headers of what follows.
pub(crate) fn can_be_carried(conversation: &str) -> bool {
    conversation.len() <= CONVERSATION_BYTES_MAX && !conversation.contains('\0')
}

/// A trace as it is carried on, in the one version that is known; `None` for what is none, which is then ignored (W3C
/// Trace Context, "Versioning of traceparent").
pub(crate) fn trace(traceparent: &str) -> Option<String> {
    let parts: Vec<&str> = traceparent.splitn(5, '-').collect();
    let [version, trace, parent, flags, rest @ ..] = parts.as_slice() else { return None };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let told = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let known = hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
    (known && told(trace, 32) && told(parent, 16) && hex(flags, 2))
        .then(|| format!("00-{trace}-{parent}-{flags}"))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;

    fn in_conversation(value: Option<&[u8]>) -> Record {
        let header = Header { name: CORRELATION_ID.into(), value: value.map(<[u8]>::to_vec) };
        Record::at("cmd", 0, 0, None, None, vec![header])
    }

    #[test]
    fn a_conversation_is_text_that_fits_into_every_header_that_follows() {
        let told = |value| conversation(&in_conversation(value)).map(|told| told.map(str::to_owned));
        assert_eq!(told(Some(b"talk")), Ok(Some("talk".to_owned())));
        assert_eq!((told(None), told(Some(b""))), (Ok(None), Ok(None)));
        for bad in [&[b'a'; 513][..], b"nul\0", &[0xff]] {
            assert_eq!(told(Some(bad)).map_err(|fault| fault.code), Err("correlation-invalid"));
        }
    }

    #[test]
    fn only_a_trace_context_is_carried_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good).as_deref(), Some(good));
        let later = good.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(trace(&later).as_deref(), Some(good), "a later version is told in ours");
        let more = format!("{good}-more");
        let (ff, upper) = (good.replacen("00", "ff", 1), good.to_uppercase());
        let none = format!("00-{:032}-b7ad6b7169203331-01", 0);
        for bad in [&more, &ff, &upper, &none, "", "x", &"0".repeat(100_000)] {
            assert_eq!(trace(bad), None, "{bad:.80}");
        }
    }
}
