//! A record as it came from Kafka: bytes and headers untouched.

mod stored;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use millrace_store::{Place, timestamp};
use rdkafka::message::{BorrowedMessage, Message};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::buffer::Permit;
use crate::error::Fault;

/// A header's name and its bytes; a header may be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name: bytes, since Kafka does not enforce UTF-8. Names may repeat.
    #[serde(with = "stored")]
    pub name: Vec<u8>,
    /// Its bytes.
    #[serde(with = "stored::optional")]
    pub value: Option<Vec<u8>>,
}

impl Header {
    /// A header that is not null.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }

    /// Whether this is its name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }

    /// Its value as text; `None` when null or not UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref().and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl From<millrace_kafka::Header<'_>> for Header {
    fn from(header: millrace_kafka::Header<'_>) -> Self {
        Self { name: header.name.to_vec(), value: header.value.map(<[u8]>::to_vec) }
    }
}

impl<'h> From<&'h Header> for millrace_kafka::Header<'h> {
    fn from(header: &'h Header) -> Self {
        Self { name: &header.name, value: header.value.as_deref() }
    }
}

/// A record of a partition. Groups that are given one message by the shared fetch share its bytes.
#[derive(Debug)]
pub struct Record {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// The timestamp of the producer or the broker, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes; a tombstone has none.
    pub value: Option<Bytes>,
    /// The headers in order.
    pub headers: Arc<Vec<Header>>,
    /// The part that could not be read, and why.
    pub(crate) unread: Option<Unread>,
    /// The ordering key, if it is not the record's Kafka key.
    pub(crate) ordering_key: OnceLock<Vec<u8>>,
    /// Room in the process's buffer, given back when the record is dropped.
    pub(crate) room: Option<Permit>,
}

/// The part of a record that could not be read, with the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The client cannot read its headers.
    Headers(Fault),
    /// Only its place is known.
    AllOfIt(Fault),
}

impl Unread {
    /// The fault.
    pub(crate) fn fault(&self) -> &Fault {
        match self {
            Self::Headers(fault) | Self::AllOfIt(fault) => fault,
        }
    }
}

/// Memory of a record beside its bytes, roughly, in bytes.
const OVERHEAD_BYTES: usize = 512;
/// Bytes of an ordering key, at most: an index entry in Postgres has room for about 2,700 bytes, group and topic included. A longer
/// key is replaced by its digest.
const ORDERING_KEY_BYTES_MAX: usize = 1_024;
/// Memory of a header beside its bytes: two vectors and the allocator's rounding.
const HEADER_OVERHEAD_BYTES: usize = 80;

impl Record {
    /// A record at an offset that was not read by a member of this process.
    pub fn at(
        topic: &str,
        partition: i32,
        offset: i64,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<Header>,
    ) -> Self {
        Self {
            topic: topic.into(),
            partition,
            offset,
            timestamp_ms: None,
            key,
            value,
            headers: Arc::new(headers),
            unread: None,
            ordering_key: OnceLock::new(),
            room: None,
        }
    }

    /// The place of a record whose bytes cannot be fetched.
    pub(crate) fn place_only(topic: Arc<str>, partition: i32, offset: i64, fault: Fault) -> Self {
        let record = Self::at("", partition, offset, None, None, Vec::new());
        Self { topic, unread: Some(Unread::AllOfIt(fault)), ..record }
    }

    /// Copies a message out of the buffer of a client that belongs to no group.
    pub fn of(message: &BorrowedMessage<'_>) -> Self {
        Self::detach(message, message.topic().into())
    }

    /// Copies a message out of the client's buffer.
    pub(crate) fn detach(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Self {
        let (headers, unread) = match millrace_kafka::headers(message) {
            Ok(headers) => (headers.map(Header::from).collect(), None),
            Err(error) => (Vec::new(), Some(Unread::Headers(Fault::headers_unreadable(error)))),
        };
        Self {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: Arc::new(headers),
            unread,
            ordering_key: OnceLock::new(),
            room: None,
        }
    }

    /// The same record for another group, without room in a buffer yet.
    pub(crate) fn for_another_group(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers.clone(),
            unread: self.unread.clone(),
            ordering_key: OnceLock::new(),
            room: None,
            ..*self
        }
    }

    /// The fault because of which only the record's place is known, if so.
    pub(crate) fn place_only_because(&self) -> Option<&Fault> {
        match &self.unread {
            Some(Unread::AllOfIt(fault)) => Some(fault),
            _ => None,
        }
    }

    /// The bytes that the record takes in the buffer.
    pub(crate) fn room_needed(&self) -> usize {
        self.bytes() + self.headers.len() * HEADER_OVERHEAD_BYTES + OVERHEAD_BYTES
    }

    /// The number of bytes of key, value and headers.
    pub(crate) fn bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let header = |header: &Header| header.name.len() + length(header.value.as_deref());
        length(self.key.as_deref())
            + length(self.value.as_deref())
            + self.headers.iter().map(header).sum::<usize>()
    }

    /// Topic, partition and offset.
    pub fn place(&self) -> Place {
        Place { topic: self.topic.to_string(), partition: self.partition, offset: self.offset }
    }

    /// Sets the ordering key if it is not the record's Kafka key; only the first call counts.
    pub fn set_ordering_key(&self, key: Vec<u8>) {
        let _ = self.ordering_key.set(if key.len() > ORDERING_KEY_BYTES_MAX { digest(&key) } else { key });
    }

    /// The key whose order the record keeps: the one that was set, else the Kafka key. A record without either has its place as
    /// ordering key, so that it can also be parked and retried.
    pub fn ordering_key(&self) -> &[u8] {
        match (self.ordering_key.get(), &self.key) {
            (None, Some(key)) if key.len() <= ORDERING_KEY_BYTES_MAX => key,
            (None, Some(key)) => self.ordering_key.get_or_init(|| digest(key)),
            (_, _) => self.ordering_key.get_or_init(|| self.place_as_key()),
        }
    }

    fn place_as_key(&self) -> Vec<u8> {
        format!("offset:{}-{}", self.partition, self.offset).into_bytes()
    }

    /// The ordering key as shown to operators; `None` if it is only the record's place.
    pub fn shown_ordering_key(&self) -> Option<&[u8]> {
        let ordering_key = self.ordering_key();
        (self.key.is_some() || ordering_key != self.place_as_key()).then_some(ordering_key)
    }

    /// The first header of this name, as text; `None` when absent, null or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.is(name))?.text()
    }

    /// The bytes of every header of this name, in order; a header may be null.
    pub(crate) fn headers_named<'r>(&'r self, name: &str) -> impl Iterator<Item = Option<&'r [u8]>> {
        let named = self.headers.iter().filter(move |header| header.is(name));
        named.map(|header| header.value.as_deref())
    }

    /// The key as text; `None` when absent or not UTF-8.
    pub fn key_text(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// The record's timestamp; `None` when it is outside the years that all stores can represent.
    pub fn stamped_at(&self) -> Option<DateTime<Utc>> {
        self.timestamp_ms.and_then(timestamp::stamp)
    }
}

/// Topic, partition and offset of records.
pub(crate) fn places<'r>(records: &[&'r Record]) -> Vec<(&'r str, i32, i64)> {
    records.iter().map(|record| (&*record.topic, record.partition, record.offset)).collect()
}

fn digest(key: &[u8]) -> Vec<u8> {
    let hash = Sha256::digest(key);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_has_an_ordering_key_that_an_index_can_store() {
        let ordering_key = |key: Option<Vec<u8>>| {
            let record = Record::at("cmd", 3, 42, key.map(Bytes::from), None, Vec::new());
            (record.ordering_key().to_vec(), record.shown_ordering_key().map(<[u8]>::to_vec))
        };
        assert_eq!(ordering_key(Some(b"10248".to_vec())), (b"10248".to_vec(), Some(b"10248".to_vec())));
        assert_eq!(ordering_key(None), (b"offset:3-42".to_vec(), None));
        let long = [vec![b'k'; 100_000], vec![b'l'; 100_000]].map(|key| ordering_key(Some(key)).0);
        assert!(long[0].len() < 100 && long[0] != long[1] && long[0].starts_with(b"sha256:"), "{long:?}");
        let keyless = Record::at("cmd", 3, 42, None, None, Vec::new());
        keyless.set_ordering_key(b"10248".to_vec());
        assert_eq!(
            (keyless.ordering_key(), keyless.shown_ordering_key()),
            (&b"10248"[..], Some(&b"10248"[..]))
        );
    }
}
