//! Positions in topics, and whether the records before them are unchanged.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use millrace_schemas::Kind;
use rdkafka::message::{BorrowedMessage, Message as _};
use serde::{Deserialize, Serialize};

use super::expected::whole_print;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Reader, Seen};
use crate::layout;

/// A partition without a record for this long has none.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The position up to which a partition is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Whether its records are events, which are kept for ever.
    events: bool,
    /// The first existing offset.
    pub(super) first: i64,
    /// The next one to be compared.
    pub(super) next: i64,
    /// The last record before it: offset and hash. While it exists, so do all records before it.
    last: Option<(i64, i64)>,
    /// The start of the next sample of old records.
    pub(super) sampled: i64,
}

/// The kinds of records that are compared, by context.
pub(super) fn kinds(config: &Config) -> Vec<(Kind, &'static str)> {
    let kinds = [Kind::Event, Kind::Rejection, Kind::Outcome, Kind::Command];
    layout::contexts(config).into_iter().flat_map(|context| kinds.map(|kind| (kind, context))).collect()
}

/// The current positions of the topics.
pub(super) fn now(config: &Config) -> Result<Vec<Place>, Failure> {
    let reader = Reader::new(&config.kafka)?;
    let topics = |(kind, context): (Kind, &str)| (config.namespace.topic(kind, context), kind == Kind::Event);
    let topics: BTreeMap<String, bool> = kinds(config).into_iter().map(topics).collect();
    let ends = reader.ends_of_topics(topics.keys().cloned())?.into_iter();
    let place = |((topic, partition), (first, next)): ((String, i32), (i64, i64))| {
        let events = topics.get(&topic).copied().unwrap_or_default();
        Place { topic, partition, events, first, next, last: None, sampled: first }
    };
    Ok(ends.map(place).collect())
}

/// A partition's place.
pub(super) fn find<'p>(places: &'p [Place], topic: &str, partition: i32) -> Option<&'p Place> {
    places.iter().find(|place| place.partition == partition && place.topic == topic)
}

/// Moves the position beyond a record.
pub(super) fn pass(places: &mut [Place], topic: &str, message: &BorrowedMessage<'_>) {
    let of = |place: &&mut Place| place.partition == message.partition() && place.topic == topic;
    if let Some(place) = places.iter_mut().find(of).filter(|place| message.offset() < place.next) {
        let known = place.last.map_or(-1, |(offset, _)| offset);
        place.last = Some((known.max(message.offset()), 0));
    }
}

/// Reads the last records, whose offsets are known.
pub(super) fn finish(config: &Config, places: &mut [Place]) -> Result<(), Failure> {
    let prints = prints(config, places)?;
    for place in places {
        place.last = prints.get(&(place.topic.clone(), place.partition)).copied();
    }
    Ok(())
}

/// Whether the event topics are unchanged up to these positions: a log can lose only its beginning or its end.
pub(super) fn are_as_they_were(config: &Config, places: &[Place]) -> Result<bool, Failure> {
    let now = now(config)?;
    let kept = |place: &Place| {
        find(&now, &place.topic, place.partition)
            .is_some_and(|now| now.first == place.first && now.next >= place.next)
    };
    if !places.iter().filter(|place| place.events).all(kept) {
        return Ok(false);
    }
    let prints = prints(config, places)?;
    let same = |place: &Place| prints.get(&(place.topic.clone(), place.partition)) == place.last.as_ref();
    Ok(places.iter().filter(|place| place.events && place.last.is_some()).all(same))
}

type Prints = BTreeMap<(String, i32), (i64, i64)>;

/// The records at or after the offsets of the last ones: offset and hash.
fn prints(config: &Config, places: &[Place]) -> Result<Prints, Failure> {
    let (reader, mut prints) = (Reader::new(&config.kafka)?, Prints::new());
    for of_topic in places.chunk_by(|a, b| a.topic == b.topic) {
        let Some(Place { topic, .. }) = of_topic.first() else { continue };
        let from = |place: &Place| Some((place.partition, place.last?.0));
        let mut left: BTreeMap<i32, i64> =
            of_topic.iter().filter(|place| place.events).filter_map(from).collect();
        if left.is_empty() {
            continue;
        }
        reader.visit(topic, left.clone(), SILENCE_MAX, |seen| {
            match seen {
                Seen::Record(message) => {
                    if left.remove(&message.partition()).is_some() {
                        let print = (message.offset(), whole_print(message));
                        prints.insert((topic.clone(), message.partition()), print);
                    }
                }
                Seen::End(partition) | Seen::Unfetchable(partition, ..) => {
                    left.remove(&partition);
                }
            }
            if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(prints)
}

impl Place {
    /// Whether old records are compared again, a part at a time.
    pub(super) fn is_sampled(&self) -> bool {
        self.events && self.first < self.next
    }

    /// The context of its events.
    pub(super) fn carry_on(&mut self, before: &Place) {
        self.sampled = before.sampled;
        self.last = self.last.or(before.last);
    }
}
