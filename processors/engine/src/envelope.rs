//! CloudEvents binary mode: the metadata of a record in its headers.

use chrono::{DateTime, Utc};
use millrace_domain::Recorded;
use millrace_schemas::{Event, WriterSchema};
use millrace_store::names::Namespace;
use millrace_store::timestamp::{YEARS, believable};

use crate::error::Fault;
use crate::record::Record;

/// Characters of a value that a message quotes, at most.
const SHOWN_MAX: usize = 60;

/// The header with a record's id.
pub const ID: &str = "ce_id";
/// The header with the full name of a record's type.
pub const TYPE: &str = "ce_type";
/// The header with the producer of a record.
pub const SOURCE: &str = "ce_source";
/// The header with the time at which it happened, RFC 3339.
pub const TIME: &str = "ce_time";
/// The header with an event's version in its stream.
pub const SEQUENCE: &str = "ce_sequence";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header with the id of the conversation that a record belongs to.
pub const CORRELATION_ID: &str = "correlation-id";
/// The header with the id of what caused a record.
pub const CAUSATION_ID: &str = "causation-id";

/// Bytes of a `correlation-id`, at most. It is copied to everything that follows from a record, so it must fit into every topic's
/// records.
pub const CONVERSATION_BYTES_MAX: usize = 512;

/// The conversation that a command belongs to; `None` when it names none.
///
/// # Errors
/// `correlation-invalid` when the value cannot be propagated unchanged.
pub(crate) fn conversation(record: &Record) -> Result<Option<&str>, Fault> {
    let header = record.headers.iter().find(|header| header.is(CORRELATION_ID));
    let Some(value) = header.and_then(|header| header.value.as_deref()).filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value).ok().filter(|text| can_be_carried(text));
    let invalid = || {
        let most = CONVERSATION_BYTES_MAX;
        let message =
            format!("{CORRELATION_ID} must have at most {most} bytes of UTF-8 and no NUL character");
        Fault::hopeless("correlation-invalid", message)
    };
    text.map(Some).ok_or_else(invalid)
}

/// Whether a conversation's id can be propagated to the headers of later records.
pub(crate) fn can_be_carried(conversation: &str) -> bool {
    conversation.len() <= CONVERSATION_BYTES_MAX && !conversation.contains('\0')
}

/// A trace context as it is propagated, in version 00; `None` when it is invalid, and then it is ignored (W3C Trace Context,
/// "Versioning of traceparent").
pub(crate) fn trace(traceparent: &str) -> Option<String> {
    trace_parts(traceparent).map(|[trace, parent, flags]| format!("00-{trace}-{parent}-{flags}"))
}

/// Trace, parent and flags of a valid trace context.
pub(crate) fn trace_parts(traceparent: &str) -> Option<[&str; 3]> {
    let mut parts = traceparent.splitn(5, '-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let given = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (known && given(trace, 32) && given(parent, 16) && hex(flags, 2)).then_some([trace, parent, flags])
}

/// The record's timestamp in Kafka, else 1970.
fn stamped(record: &Record) -> DateTime<Utc> {
    record.stamped_at().unwrap_or(DateTime::UNIX_EPOCH)
}

/// The time of a record: its `ce_time`, else its timestamp in Kafka, else 1970. Never the time of reading, so that reading twice
/// gives the same result.
///
/// # Errors
/// `time-invalid` when `ce_time` cannot be read: CloudEvents requires RFC 3339, which has a zone. No other time takes its place.
pub(crate) fn occurred_at(record: &Record) -> Result<DateTime<Utc>, Fault> {
    let Some(header) = record.headers.iter().find(|header| header.is(TIME)) else {
        return Ok(stamped(record));
    };
    let text = String::from_utf8_lossy(header.value.as_deref().unwrap_or_default());
    let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc()).filter(believable);
    time.ok_or_else(|| {
        let (shown, years) = (text.chars().take(SHOWN_MAX).collect::<String>(), YEARS);
        let (first, last) = (years.start(), years.end());
        let message = format!(
            "{TIME} is {shown:?}: send RFC 3339 with a zone, such as 2024-01-01T00:00:00Z, in the years {first} to {last}"
        );
        Fault::hopeless("time-invalid", message)
    })
}

/// An event's version in its stream, when the record has a valid one.
pub fn version(record: &Record) -> Option<i64> {
    record.header(SEQUENCE).and_then(|version| version.parse().ok()).filter(|version| *version > 0)
}

/// The times that an event can contain, in microseconds since 1970: the years 1 to 9999, which RFC 3339, Postgres and Elasticsearch
/// can represent. No context records others.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The event of a record with its metadata. It must be of the context whose events the topic carries, since streams of two contexts
/// may have the same id.
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
    if !event.times_are_within(&TIMES) {
        return Err(Fault::hopeless(
            "time-invalid",
            "the event contains a time that is not in the years 1 to 9999",
        ));
    }
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
        // Earlier builds have recorded events with times outside these years.
        occurred_at: occurred_at(record).unwrap_or_else(|_| stamped(record)),
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
        let read = |value| conversation(&in_conversation(value)).map(|text| text.map(str::to_owned));
        assert_eq!(read(Some(b"talk")), Ok(Some("talk".to_owned())));
        assert_eq!((read(None), read(Some(b""))), (Ok(None), Ok(None)));
        for bad in [&[b'a'; 513][..], b"nul\0", &[0xff]] {
            assert_eq!(read(Some(bad)).map_err(|fault| fault.code), Err("correlation-invalid"));
        }
    }

    #[test]
    fn only_a_trace_context_is_carried_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good).as_deref(), Some(good));
        let later = good.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(trace(&later).as_deref(), Some(good), "a later version is carried on in ours");
        let more = format!("{good}-more");
        let (ff, upper) = (good.replacen("00", "ff", 1), good.to_uppercase());
        let none = format!("00-{:032}-b7ad6b7169203331-01", 0);
        for bad in [&more, &ff, &upper, &none, "", "x", &"0".repeat(100_000)] {
            assert_eq!(trace(bad), None, "{bad:.80}");
        }
    }

    fn record(stamp: Option<i64>, time: Option<Option<&[u8]>>) -> Record {
        let header = |value: Option<&[u8]>| Header { name: TIME.into(), value: value.map(<[u8]>::to_vec) };
        let headers = time.map(header).into_iter().collect();
        Record { timestamp_ms: stamp, ..Record::at("t", 0, 0, None, None, headers) }
    }

    fn happened(stamp: Option<i64>, time: Option<&str>) -> Option<String> {
        let time = time.map(|time| Some(time.as_bytes()));
        occurred_at(&record(stamp, time)).ok().map(|time| time.to_rfc3339())
    }

    #[test]
    fn a_record_happened_when_it_says_else_when_it_was_stamped_else_in_1970() {
        let new_year = Some(1_704_067_200_000);
        assert_eq!(
            happened(new_year, Some("2024-06-01T02:00:00+02:00")).as_deref(),
            Some("2024-06-01T00:00:00+00:00")
        );
        assert_eq!(happened(new_year, None).as_deref(), Some("2024-01-01T00:00:00+00:00"));
        assert_eq!(happened(None, None).as_deref(), Some("1970-01-01T00:00:00+00:00"));
    }

    #[test]
    fn a_stamp_that_no_clock_can_have_meant_is_none() {
        for stamp in [i64::MIN, -250_000_000_000_000, 7_289_654_400_000, 1_704_067_200_000_000, i64::MAX] {
            assert_eq!(record(Some(stamp), None).stamped_at(), None, "{stamp}");
            assert_eq!(happened(Some(stamp), None), happened(None, None), "{stamp}");
        }
        assert!(record(Some(-1_000), None).stamped_at().is_some(), "a second before 1970");
    }

    #[test]
    fn a_time_that_is_given_and_cannot_be_read_is_no_other_time() {
        for time in [
            &b""[..],
            b"yesterday",
            b"1704067200000",
            b"2024-01-01T00:00:00",
            b"0001-01-01T00:00:00Z",
            b"2300-01-01T00:00:00Z",
            b"+12345-01-01T00:00:00Z",
            &[0xff],
        ] {
            let fault = occurred_at(&record(Some(0), Some(Some(time)))).unwrap_err();
            assert!(fault.hopeless && fault.code == "time-invalid", "{fault:?}");
            assert!(fault.message.contains("RFC 3339"), "{fault:?}");
        }
        assert!(occurred_at(&record(Some(0), Some(None))).is_err(), "null is no time either");
    }
}
