//! What topics were seen to hold, in bounded memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use millrace_kafka::header_text;
use millrace_runtime::envelope;
use millrace_schemas::Kind;
use rdkafka::message::{BorrowedMessage, Message as _};
use uuid::Uuid;

/// What the topics hold. Of streams which versions: all up to one, and single ones beyond a gap.
#[derive(Default)]
pub(super) struct Held {
    upto: HashMap<u64, i64>,
    beyond: HashMap<u64, BTreeSet<i64>>,
    /// Rejections and commands, by id.
    pub(super) unversioned: HashSet<Uuid>,
}

impl Held {
    fn add(&mut self, stream: u64, version: i64) {
        let upto = self.upto.entry(stream).or_default();
        if version > *upto + 1 {
            self.beyond.entry(stream).or_default().insert(version);
        } else if version == *upto + 1 {
            *upto = version;
            while self.beyond.get_mut(&stream).is_some_and(|beyond| beyond.remove(&(*upto + 1))) {
                *upto += 1;
            }
        }
    }

    /// Remembers what a message holds, when it belongs to the part.
    pub(super) fn see(&mut self, kind: Kind, context: &str, slice: Slice, message: &BorrowedMessage<'_>) {
        if kind != Kind::Event {
            self.unversioned.extend(id(message).filter(|id| slice.takes_unversioned(*id)));
        } else if let Some((stream, version)) = event(message)
            && let Some(hash) = slice.takes(context, stream)
        {
            self.add(hash, version);
        }
    }

    /// The versions up to `last` that are not there, as ranges: the version before the first, and the last.
    pub(super) fn missing(&self, stream: u64, last: i64) -> Vec<(i64, i64)> {
        let mut above = self.upto.get(&stream).copied().unwrap_or_default();
        let mut ranges = Vec::new();
        let beyond =
            self.beyond.get(&stream).into_iter().flatten().copied().take_while(|there| *there <= last);
        for there in beyond.chain([last + 1]) {
            if there - 1 > above {
                ranges.push((above, there - 1));
            }
            above = above.max(there);
        }
        ranges
    }
}

/// A part of all streams, rejections and commands, so that memory is bounded.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Slice {
    /// The stream's hash, when it belongs to this part.
    pub(super) fn takes(self, context: &str, stream: &str) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (context, stream).hash(&mut hasher);
        Some(hasher.finish()).filter(|hash| hash % self.of == self.number)
    }

    /// Whether a record without version belongs to this part.
    pub(super) fn takes_unversioned(self, id: Uuid) -> bool {
        id.as_u128() % u128::from(self.of) == u128::from(self.number)
    }
}

/// Stream and version of an event.
fn event<'m>(message: &'m BorrowedMessage<'_>) -> Option<(&'m str, i64)> {
    let stream = std::str::from_utf8(message.key()?).ok()?;
    let version = header_text(message, envelope::SEQUENCE)?.parse().ok()?;
    Some((stream, version))
}

/// The id of a record, when it is one that Millrace gives.
fn id(message: &BorrowedMessage<'_>) -> Option<Uuid> {
    header_text(message, envelope::ID)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_late_ones_are_told_from_what_is_missing() {
        let mut held = Held::default();
        for version in [1, 2, 2, 5, 1, 3, 7] {
            held.add(9, version);
        }
        assert_eq!(held.missing(9, 8), [(3, 4), (5, 6), (7, 8)]);
        held.add(9, 4);
        assert_eq!(held.missing(9, 7), [(5, 6)]);
        assert_eq!(held.missing(9, 5), []);
        assert_eq!(held.upto.get(&9), Some(&5));
        assert_eq!(held.missing(1, 2), [(0, 2)]);
    }

    #[test]
    fn every_stream_belongs_to_one_slice() {
        let slices = [0, 1, 2].map(|number| Slice { number, of: 3 });
        for stream in ["a", "b", "c", "d"] {
            assert_eq!(slices.iter().filter(|slice| slice.takes("orders", stream).is_some()).count(), 1);
        }
    }
}
