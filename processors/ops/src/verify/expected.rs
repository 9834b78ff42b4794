//! The expected records of the event topics, and which were read, in bounded memory.
//!
//! Each event of the outbox is identified by a 64-bit hash of context, stream, version, id and payload. A record with this hash
//! is the event, however often it occurs; a record with an event's version and another hash is another event in its place.

use std::collections::HashSet;

use millrace_engine::envelope;
use millrace_kafka::header_text;
use millrace_schemas::Kind;
use rdkafka::message::{BorrowedMessage, Message as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Records in the place of an event that are kept for a closer check; the next comparison finds further ones.
const UNEXPECTED_MAX: usize = 10_000;
/// Bytes of a stream's id, at most: the outbox's index would refuse a longer one.
const STREAM_MAX: usize = 3_000;

/// The expected records of a part of the topics, and which were read.
pub(super) struct Expected {
    slice: Slice,
    /// When the outbox was read, in milliseconds since 1970: later records are not judged.
    since: i64,
    /// The hashes of all events.
    prints: Sought<i64>,
    /// The ids of rejections, outcomes and commands.
    unversioned: Sought<Uuid>,
    /// Records that seem not to be events of the outbox.
    pub(super) unexpected: HashSet<Unexpected>,
}

/// A record on an event topic that differs from the outbox, unless it was not in the outbox yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Unexpected {
    pub(crate) context: String,
    pub(crate) stream: String,
    pub(crate) version: i64,
    pub(crate) id: String,
    pub(crate) print: i64,
}

impl Expected {
    /// These events, rejections, outcomes and commands, none read yet.
    pub(super) fn new(slice: Slice, since: i64, prints: Vec<i64>, unversioned: Vec<Uuid>) -> Self {
        let (prints, unversioned) = (Sought::new(prints), Sought::new(unversioned));
        Self { slice, since, prints, unversioned, unexpected: HashSet::new() }
    }

    /// Whether all were read.
    pub(super) fn is_whole(&self) -> bool {
        self.prints.are_read() && self.unversioned.are_read()
    }

    /// Whether this event belongs to the part and was not read.
    pub(super) fn lacks(&self, print: i64) -> bool {
        self.prints.lacks(&print)
    }

    /// Whether this rejection, outcome or command belongs to the part and was not read.
    pub(super) fn lacks_unversioned(&self, id: Uuid) -> bool {
        self.unversioned.lacks(&id)
    }

    /// Marks a message as read, if it belongs to the part.
    pub(super) fn see(&mut self, kind: Kind, context: &str, message: &BorrowedMessage<'_>) {
        if kind != Kind::Event {
            if let Some(id) = id(message) {
                self.unversioned.read(&id);
            }
            return;
        }
        let Some(event) = event(context, message).filter(|event| self.slice.takes(event.print)) else {
            return;
        };
        let since = message.timestamp().to_millis().is_some_and(|stamp| stamp >= self.since);
        self.meet(event, since);
    }

    fn meet(&mut self, event: Unexpected, since: bool) {
        if !self.prints.read(&event.print) && !since && self.unexpected.len() < UNEXPECTED_MAX {
            self.unexpected.insert(event);
        }
    }
}

/// Values that are looked for, sorted, and which of them were read.
struct Sought<T> {
    all: Vec<T>,
    seen: Vec<bool>,
}

impl<T: Ord> Sought<T> {
    fn new(mut all: Vec<T>) -> Self {
        all.sort_unstable();
        all.dedup();
        let seen = vec![false; all.len()];
        Self { all, seen }
    }

    /// Whether it is one of them, which then counts as read.
    fn read(&mut self, one: &T) -> bool {
        let place = self.all.binary_search(one).ok();
        place.and_then(|place| self.seen.get_mut(place)).map(|seen| *seen = true).is_some()
    }

    /// Whether it is one of them and was not read.
    fn lacks(&self, one: &T) -> bool {
        self.all.binary_search(one).is_ok_and(|place| self.seen.get(place) == Some(&false))
    }

    fn are_read(&self) -> bool {
        self.seen.iter().all(|seen| *seen)
    }
}

/// A part of all events, rejections, outcomes and commands, so that memory is bounded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) number: i64,
    pub(super) of: i64,
}

impl Slice {
    /// Whether an event with this print belongs to this part; [`prints_of_slice`](millrace_store::outbox::prints_of_slice) says the same in SQL.
    fn takes(self, print: i64) -> bool {
        print.rem_euclid(self.of) == self.number
    }

    /// Whether a record without version belongs to this part.
    pub(super) fn takes_unversioned(self, id: Uuid) -> bool {
        let of = u128::from(self.of.unsigned_abs());
        id.as_u128() % of == u128::from(self.number.unsigned_abs())
    }
}

/// A record as an event, if it has a stream and a version.
pub(super) fn event(context: &str, message: &BorrowedMessage<'_>) -> Option<Unexpected> {
    let stream = std::str::from_utf8(message.key()?).ok()?;
    let version = header_text(message, envelope::SEQUENCE)?;
    let id = header_text(message, envelope::ID).unwrap_or_default();
    let print = print([context, version, id, stream], message.payload().unwrap_or_default());
    let version = version.parse().ok()?;
    let kept = stream.len() <= STREAM_MAX && id.len() <= STREAM_MAX;
    kept.then(|| Unexpected {
        context: context.to_owned(),
        stream: stream.to_owned(),
        version,
        id: id.to_owned(),
        print,
    })
}

/// The hash, as in [`prints`](millrace_store::outbox::prints) of the outbox.
fn print(parts: [&str; 4], payload: &[u8]) -> i64 {
    let digest =
        Sha256::new().chain_update(parts.join(" ")).chain_update([0]).chain_update(payload).finalize();
    digest.first_chunk::<8>().map_or(0, |first| i64::from_be_bytes(*first))
}

/// A hash of any record.
pub(super) fn whole_print(message: &BorrowedMessage<'_>) -> i64 {
    let id = header_text(message, envelope::ID).unwrap_or_default();
    let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
    print(["", "", id, &key], message.payload().unwrap_or_default())
}

/// The id of a record, if it is a UUID.
fn id(message: &BorrowedMessage<'_>) -> Option<Uuid> {
    header_text(message, envelope::ID)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream: &str, version: i64, id: &str, payload: &[u8]) -> Unexpected {
        let print = print(["orders", &version.to_string(), id, stream], payload);
        Unexpected {
            context: "orders".to_owned(),
            stream: stream.to_owned(),
            version,
            id: id.to_owned(),
            print,
        }
    }

    fn expected(events: &[&Unexpected]) -> Expected {
        let prints = events.iter().map(|event| event.print).collect();
        Expected::new(Slice { number: 0, of: 1 }, 0, prints, Vec::new())
    }

    #[test]
    fn an_event_is_there_once_however_often_it_lies_there_and_what_is_not_seen_is_lacking() {
        let [first, second] = [event("1", 1, "a", b"x"), event("1", 2, "b", b"y")];
        let mut expected = expected(&[&first, &second]);
        expected.meet(first.clone(), false);
        expected.meet(first.clone(), false);
        assert_eq!([expected.lacks(first.print), expected.lacks(second.print)], [false, true]);
        assert!(!expected.is_whole() && expected.unexpected.is_empty());
        expected.meet(second, false);
        assert!(expected.is_whole());
    }

    #[test]
    fn an_outcome_is_lacking_until_it_is_read_and_one_of_another_part_never_is() {
        let [one, other, strange] = [1, 2, 3].map(Uuid::from_u128);
        let mut expected = Expected::new(Slice { number: 0, of: 1 }, 0, Vec::new(), vec![other, one]);
        expected.unversioned.read(&one);
        assert_eq!([one, other, strange].map(|id| expected.lacks_unversioned(id)), [false, true, false]);
        assert!(!expected.is_whole());
        expected.unversioned.read(&other);
        assert!(expected.is_whole());
    }

    #[test]
    fn another_id_or_payload_in_the_place_of_an_event_is_unexpected_and_what_came_since_is_not() {
        let right = event("1", 1, "a", b"x");
        let mut expected = expected(&[&right]);
        expected.meet(right, false);
        for unexpected in [event("1", 1, "b", b"x"), event("1", 1, "a", b"y"), event("1", 1, "a", b"")] {
            expected.meet(unexpected, false);
        }
        expected.meet(event("1", 2, "c", b"later"), true);
        assert_eq!(expected.unexpected.len(), 3);
    }

    #[test]
    fn every_event_belongs_to_one_slice() {
        let slices = [0, 1, 2].map(|number| Slice { number, of: 3 });
        for print in [i64::MIN, -7, -1, 0, 1, 5, i64::MAX] {
            assert_eq!(slices.iter().filter(|slice| slice.takes(print)).count(), 1);
        }
    }
}
