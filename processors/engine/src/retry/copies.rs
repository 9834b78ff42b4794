//! The headers of copies of records on retry topics (wake-up copies) and dead letter topics: error, time, number of attempts, and
//! the place of the original.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::Place;

use crate::error::Fault;
use crate::record::{Header, Record};

/// The first header that Millrace writes.
const ERROR_CODE: &str = "x-error-code";
const ATTEMPTS: &str = "x-attempts";
const SOURCE_TOPIC: &str = "x-source-topic";
const SOURCE_PARTITION: &str = "x-source-partition";
const SOURCE_OFFSET: &str = "x-source-offset";
/// The record's timestamp in milliseconds, if it had one: the copy has its own timestamp.
const SOURCE_TIMESTAMP: &str = "x-source-timestamp";
/// The ordering key, when it is not the record's Kafka key.
const ORDERING_KEY: &str = "x-ordering-key";
/// The name of release 1, written as well while that release works beside this one, and read as long as its dead letters are kept.
const ORDERING_KEY_IN_RELEASE_1: &str = "x-turn";
/// Why Kafka refused a copy with the bytes.
const NOT_COPIED: &str = "x-not-copied";
/// How often a wake-up copy was sent again. Release 1 counts under another name: each counts its own, so the sum has a limit, too.
const RESENDS: &str = "x-resends";
const DUE_AT: &str = "x-due-at";

/// How often a wake-up copy is sent again while the batch that parks its record is not committed: many times longer than that
/// transaction may take. A copy whose record is never parked would otherwise be sent for ever. A blocking record without a copy
/// is swept.
const RESENDS_MAX: u32 = 100;

/// The headers of a copy, which follow the record's own; a wake-up copy has the delay after which it is due.
pub(super) fn headers(
    record: &Record,
    fault: &Fault,
    attempts: usize,
    delay: Option<Duration>,
) -> Vec<Header> {
    headers_at(Utc::now(), record, fault, attempts, delay)
}

fn headers_at(
    now: DateTime<Utc>,
    record: &Record,
    fault: &Fault,
    attempts: usize,
    delay: Option<Duration>,
) -> Vec<Header> {
    let mut headers = vec![
        Header::new(ERROR_CODE, fault.code),
        Header::new("x-error", fault.message.as_str()),
        Header::new("x-failed-at", time(now)),
        Header::new(ATTEMPTS, attempts.to_string()),
        Header::new(SOURCE_TOPIC, &*record.topic),
        Header::new(SOURCE_PARTITION, record.partition.to_string()),
        Header::new(SOURCE_OFFSET, record.offset.to_string()),
    ];
    headers.extend(record.timestamp_ms.map(|stamp| Header::new(SOURCE_TIMESTAMP, stamp.to_string())));
    let ordering_key =
        Some(record.ordering_key()).filter(|ordering_key| record.key.as_deref() != Some(ordering_key));
    headers.extend(ordering_key.into_iter().flat_map(ordering_key_headers));
    headers.extend(delay.map(|delay| Header::new(DUE_AT, time(now + delay))));
    headers
}

/// Under each name that a release beside this one may look for.
fn ordering_key_headers(ordering_key: &[u8]) -> [Header; 2] {
    [ORDERING_KEY, ORDERING_KEY_IN_RELEASE_1].map(|name| Header::new(name, ordering_key))
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The blocking record that a copy wakes, and the number of failed attempts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WakeUp {
    pub(super) source: Place,
    pub(super) attempts: usize,
}

/// Reads a wake-up copy; `None` when Millrace did not write it.
pub(super) fn read(copy: &Record) -> Option<WakeUp> {
    let (_, ours) = own_and_ours(&copy.headers);
    if let Some(key) = ordering_key(ours) {
        copy.set_ordering_key(key);
    }
    let source = Place {
        topic: last(ours, SOURCE_TOPIC)?.to_owned(),
        partition: last(ours, SOURCE_PARTITION)?.parse().ok()?,
        offset: last(ours, SOURCE_OFFSET)?.parse().ok()?,
    };
    Some(WakeUp { source, attempts: last(ours, ATTEMPTS)?.parse().ok()? })
}

/// The original headers of a copied record, and the headers that Millrace added after them.
pub fn own_and_ours(headers: &[Header]) -> (&[Header], &[Header]) {
    let ours = headers.iter().rposition(|header| header.is(ERROR_CODE));
    headers.split_at(ours.unwrap_or(headers.len()))
}

/// The original record of a copy; `None` when Millrace did not write the copy.
pub fn original(copy: &Record) -> Option<Record> {
    let Place { topic, partition, offset } = read(copy)?.source;
    let (own, ours) = own_and_ours(&copy.headers);
    let timestamp_ms = last(ours, SOURCE_TIMESTAMP).and_then(|stamp| stamp.parse().ok());
    let record = Record::at(&topic, partition, offset, copy.key.clone(), copy.value.clone(), own.to_vec());
    let ordering_key = ordering_key(ours).map(OnceLock::from).unwrap_or_default();
    Some(Record { timestamp_ms, ordering_key, ..record })
}

/// The original of a record that is a dead letter copied back to its topic; `None` for any other record. Without this each further
/// dead letter would add headers.
pub(super) fn without_earlier(record: &Record) -> Option<Record> {
    let mut own = &**record.headers;
    while is_complete(own_and_ours(own).1) {
        own = own_and_ours(own).0;
    }
    (own.len() < record.headers.len()).then(|| Record {
        topic: record.topic.clone(),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Arc::new(own.to_vec()),
        unread: None,
        ordering_key: record.ordering_key.clone(),
        room: None,
        ..*record
    })
}

/// Whether these are exactly the headers of a copy.
fn is_complete(ours: &[Header]) -> bool {
    let place = [ATTEMPTS, SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET];
    place.iter().all(|name| last(ours, name).is_some())
        && ours.iter().all(|header| header.name.starts_with(b"x-"))
}

/// A copy without the record's bytes, which names the record's place in its headers.
pub(super) fn of_place(record: &Record, mut ours: Vec<Header>, reason: &str) -> (Record, Vec<Header>) {
    if !ours.iter().any(|header| header.is(ORDERING_KEY)) {
        ours.splice(1..1, ordering_key_headers(record.ordering_key()));
    }
    ours.insert(1, Header::new(NOT_COPIED, reason));
    let key = record.key.clone().filter(|key| key == record.ordering_key());
    (Record::at(&record.topic, record.partition, record.offset, key, None, Vec::new()), ours)
}

/// Whether the record's bytes are only in its source topic, because Kafka refused a copy of them.
pub fn left_at_source(copy: &Record) -> bool {
    own_and_ours(&copy.headers).1.iter().any(|header| header.is(NOT_COPIED))
}

fn ordering_key(ours: &[Header]) -> Option<Vec<u8>> {
    let named = |name| ours.iter().rfind(|header| header.is(name));
    named(ORDERING_KEY).or_else(|| named(ORDERING_KEY_IN_RELEASE_1))?.value.clone()
}

/// A wake-up copy to be sent again, due after `delay`; `None` when it was sent too often.
pub(super) fn again(copy: &Record, delay: Duration) -> Option<Record> {
    let (_, ours) = own_and_ours(&copy.headers);
    let resends: u32 = last(ours, RESENDS).and_then(|resends| resends.parse().ok()).unwrap_or(0);
    let next = resends.checked_add(1).filter(|next| *next <= RESENDS_MAX)?;
    let mut headers = copy.headers.to_vec();
    headers.pop_if(|header| header.is(DUE_AT));
    headers.pop_if(|header| header.is(RESENDS));
    headers.push(Header::new(RESENDS, next.to_string()));
    headers.push(Header::new(DUE_AT, time(Utc::now() + delay)));
    Some(Record::at(&copy.topic, copy.partition, copy.offset, copy.key.clone(), copy.value.clone(), headers))
}

/// How long a wake-up copy still has to wait, according to its header.
pub(super) fn due(copy: &Record) -> Duration {
    let at = last(&copy.headers, DUE_AT).and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    at.and_then(|at| (at.to_utc() - Utc::now()).to_std().ok()).unwrap_or_default()
}

/// The last header of this name: Millrace's headers follow the record's own, which may have the same names.
fn last<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    headers.iter().rfind(|header| header.is(name))?.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let own = Header::new(ATTEMPTS, "77");
        Record {
            topic: "shop.cmd.orders.v1".into(),
            partition: 3,
            offset: 42,
            timestamp_ms: Some(1_767_225_599_999),
            key: Some(b"10248"[..].into()),
            value: None,
            headers: vec![own].into(),
            unread: None,
            ordering_key: Default::default(),
            room: None,
        }
    }

    fn copied(delay: Option<Duration>) -> Vec<Header> {
        let at = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        headers_at(at, &record(), &Fault::new("reference-not-found", "no customer"), 2, delay)
    }

    #[test]
    fn a_copy_says_why_when_how_often_and_where_the_original_lies() {
        let text =
            |header: Header| format!("{}: {}", String::from_utf8_lossy(&header.name), header.text().unwrap());
        let golden = [
            "x-error-code: reference-not-found",
            "x-error: no customer",
            "x-failed-at: 2026-01-01T00:00:00.000Z",
            "x-attempts: 2",
            "x-source-topic: shop.cmd.orders.v1",
            "x-source-partition: 3",
            "x-source-offset: 42",
            "x-source-timestamp: 1767225599999",
            "x-due-at: 2026-01-01T00:00:10.000Z",
        ];
        let headers: Vec<String> = copied(Some(Duration::from_secs(10))).into_iter().map(text).collect();
        assert_eq!(headers, golden);
        assert_eq!(copied(None).len(), golden.len() - 1, "a dead letter is not due");
    }

    #[test]
    fn a_copy_finds_its_original_whatever_headers_that_has() {
        let original = record();
        let mut copy = record();
        Arc::make_mut(&mut copy.headers).extend(copied(None));
        assert_eq!(read(&copy), Some(WakeUp { source: original.place(), attempts: 2 }));
        assert_eq!(read(&original), None);
    }

    #[test]
    fn the_original_comes_back_even_when_it_has_headers_like_ours() {
        let mut source = record();
        let like_ours = [(ERROR_CODE, "mine"), (SOURCE_TIMESTAMP, "5"), (SOURCE_OFFSET, "7")];
        Arc::make_mut(&mut source.headers).extend(like_ours.map(|(name, value)| Header::new(name, value)));
        Arc::make_mut(&mut source.headers).push(Header { name: b"null".to_vec(), value: None });
        Arc::make_mut(&mut source.headers).push(Header::new(b"\xff\0", "no text"));
        for timestamp_ms in [source.timestamp_ms, None] {
            source.timestamp_ms = timestamp_ms;
            let ours = headers(&source, &Fault::new("reference-not-found", "no customer"), 4, None);
            let mut copy = record();
            (copy.topic, copy.partition, copy.offset) = ("shop.dlq".into(), 0, 3);
            copy.headers = [source.headers.to_vec(), ours.clone()].concat().into();
            let back = original(&copy).unwrap();
            assert_eq!(back.place(), source.place());
            assert_eq!(
                (&back.key, &back.value, back.timestamp_ms),
                (&source.key, &source.value, timestamp_ms)
            );
            assert_eq!(back.headers, source.headers);
            assert_eq!(own_and_ours(&copy.headers), (source.headers.as_slice(), ours.as_slice()));
        }
        assert!(original(&record()).is_none() && original(&source).is_none(), "not one of Millrace's");
    }

    #[test]
    fn a_dead_letter_that_is_copied_back_and_fails_again_has_our_headers_once() {
        let mut back = record();
        assert!(without_earlier(&back).is_none());
        Arc::make_mut(&mut back.headers).extend(copied(None));
        Arc::make_mut(&mut back.headers).extend(copied(None));
        assert_eq!(without_earlier(&back).unwrap().headers, record().headers);
        Arc::make_mut(&mut back.headers).push(Header { name: b"mine".to_vec(), value: None });
        assert!(without_earlier(&back).is_none(), "another producer has added to it");
    }

    #[test]
    fn a_copy_of_a_place_names_it_and_its_ordering_key_without_bytes() {
        let mut original = record();
        original.key = Some(vec![b'k'; 100_000].into());
        let ours =
            headers(&original, &Fault::new("reference-not-found", "no customer"), 2, Some(Duration::ZERO));
        let (mut copy, ours) = of_place(&original, ours, "too large");
        assert_eq!((&copy.key, &copy.value, copy.headers.len()), (&None, &None, 0));
        copy.headers = ours.into();
        assert!(left_at_source(&copy) && copy.headers.last().is_some_and(|header| header.is(DUE_AT)));
        assert_eq!(read(&copy), Some(WakeUp { source: original.place(), attempts: 2 }));
        assert_eq!(copy.ordering_key(), original.ordering_key());
    }

    #[test]
    fn this_release_and_the_one_before_find_the_ordering_key_of_each_others_copies() {
        let record = record();
        record.set_ordering_key(b"cart-7".to_vec());
        let ours = headers(&record, &Fault::new("reference-not-found", "no customer"), 2, None);
        assert_eq!(last(&ours, ORDERING_KEY_IN_RELEASE_1), Some("cart-7"));
        let (new, earlier): (Vec<Header>, Vec<Header>) =
            ours.into_iter().partition(|header| header.is(ORDERING_KEY));
        assert_eq!(
            (new.len(), ordering_key(&new), ordering_key(&earlier)),
            (1, Some(b"cart-7".into()), Some(b"cart-7".into()))
        );
    }

    #[test]
    fn a_copy_that_is_sent_again_has_a_new_time_and_counts_how_often() {
        let mut copy = record();
        Arc::make_mut(&mut copy.headers).extend(copied(Some(Duration::ZERO)));
        let hour = Duration::from_secs(3_600);
        let twice = again(&again(&copy, hour).unwrap(), hour).unwrap();
        assert_eq!((twice.headers.len(), last(&twice.headers, RESENDS)), (copy.headers.len() + 1, Some("2")));
        assert_eq!(read(&twice), read(&copy));
        assert!(due(&copy).is_zero() && due(&twice) > Duration::from_secs(3_000));
    }

    #[test]
    fn a_copy_is_sent_again_so_often_and_no_more_whatever_it_claims() {
        for claimed in ["", "-7", "many", "99", "4294967295"] {
            let mut copy = record();
            Arc::make_mut(&mut copy.headers).extend(copied(Some(Duration::ZERO)));
            Arc::make_mut(&mut copy.headers).push(Header::new(RESENDS, claimed));
            let copies = std::iter::successors(Some(copy), |copy| again(copy, Duration::ZERO)).count();
            assert!(copies <= RESENDS_MAX as usize + 1, "{claimed}: {copies}");
        }
    }
}
