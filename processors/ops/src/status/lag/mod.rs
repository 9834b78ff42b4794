//! Topics, and the lag of groups.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::Utc;
use millrace_store::timestamp;
use rdkafka::Message as _;
use rdkafka::error::RDKafkaErrorCode;

pub use report::{Deleted, Kafka, Lag, Stuck, Topic};

use super::databases::{Facts, Stand};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{self, Partition, Position, Reader, Seen};
use crate::layout::{self, Group, Side};
use crate::providers::Providers;

/// The timeout for reading the oldest waiting records for an operator.
pub(super) const LOOK_TIME_MAX: Duration = Duration::from_secs(4);

/// The retention of topics in seconds; without topics that keep records for ever.
pub(crate) async fn retentions(config: &Config) -> BTreeMap<String, f64> {
    let topics = layout::topics(config).into_iter().filter(|topic| !topic.forever && !topic.single);
    let topics: Vec<String> = topics.map(|topic| topic.name).collect();
    // An error is ignored here: other queries report a component that does not answer.
    kafka::retentions(&config.kafka, &topics).await.unwrap_or_default()
}

/// The offsets of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    /// Its first offset.
    low: i64,
    /// Its last stable offset.
    stable: i64,
    /// Records from `stable` on, behind an open transaction.
    withheld: i64,
}

type Partitions = BTreeMap<Partition, Ends>;

/// The first record that a group has not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oldest {
    /// Its offset, and its timestamp in milliseconds since 1970.
    At(i64, Option<i64>),
    /// Its offset; the record cannot be fetched.
    Unfetchable(i64, RDKafkaErrorCode),
    /// There is no record, despite the offsets.
    Nothing,
}

type Found = BTreeMap<Position, Oldest>;

/// Queries Kafka. Groups whose database does not answer are left out. `look` is the timeout for reading the oldest waiting
/// records.
pub(crate) fn measure(
    config: &Config,
    (write, read): (&Result<Facts, Failure>, &Result<Facts, Failure>),
    look: Duration,
) -> Result<Kafka, Failure> {
    let reader = Reader::new(&config.kafka)?;
    let (topics, ends) = partitions(config, &reader)?;
    let stands = |side| match side {
        Side::Write => write.as_ref().ok().map(|facts| &facts.stands),
        Side::Read => read.as_ref().ok().map(|facts| &facts.stands),
    };
    let unable = Providers::new(config)?.unable();
    let able = layout::groups(config).into_iter().filter(|group| !unable.contains(&group.role));
    let groups: Vec<(Group, &Vec<Stand>)> = able.filter_map(|g| stands(g.side).map(|s| (g, s))).collect();
    let waiting = groups.iter().flat_map(|(group, stands)| waiting(group, stands, &ends)).collect();
    let found = oldest(&reader, waiting, look)?;
    Ok(Kafka {
        topics,
        lags: groups.iter().flat_map(|(group, stands)| lags(group, stands, &ends, &found)).collect(),
    })
}

/// The topics of the instance, and the ends of their partitions.
fn partitions(config: &Config, reader: &Reader<'_>) -> Result<(Vec<Topic>, Partitions), Failure> {
    let there = reader.topics()?;
    let (mut topics, mut ends) = (Vec::new(), Partitions::new());
    let wanted = layout::topics(config);
    let shared = wanted.iter().filter(|topic| !topic.single).flat_map(|topic| places_of(topic, &there));
    // Read before the stable ends, so that records that are written meanwhile do not count as behind a transaction.
    let written = kafka::written_ends(&config.kafka, &shared.collect::<Vec<_>>())?;
    let all: Vec<Partition> = wanted.iter().flat_map(|topic| places_of(topic, &there)).collect();
    let found = reader.ends_of(&all)?;
    for topic in &wanted {
        let (mut records, mut all) = (0, 0);
        let places = places_of(topic, &there);
        for place in &places {
            let Some((low, stable)) = found.get(place).copied() else { continue };
            let withheld = written.get(place).map_or(0, |written| (written - stable).max(0));
            records += stable - low;
            all += stable;
            ends.insert(place.clone(), Ends { low, stable, withheld });
        }
        let partitions = there.get(&topic.name).copied().unwrap_or_default();
        topics.push(Topic { name: topic.name.clone(), partitions, records, written: all });
    }
    Ok((topics, ends))
}

fn places_of(topic: &layout::Topic, there: &BTreeMap<String, i32>) -> Vec<Partition> {
    let count = there.get(&topic.name).copied().unwrap_or_default();
    (0..count).map(|partition| (topic.name.clone(), partition)).collect()
}

/// The offsets of a group in a partition.
struct At<'a> {
    /// Its next record.
    next: Position,
    ends: Ends,
    stand: Option<&'a Stand>,
}

impl At<'_> {
    fn waits(&self) -> bool {
        self.next.offset < self.ends.stable
    }

    /// Records that were deleted before they were read; none for retry topics, whose records are copied again.
    fn deleted(&self) -> Option<Deleted> {
        let (from, to) = (self.stand?.applied, self.ends.low);
        (from < to).then_some(Deleted { partition: self.next.partition, from, to })
    }

    /// Its next record, if that cannot be fetched.
    fn unfetchable(&self, found: &Found) -> Option<Stuck> {
        match found.get(&self.next).filter(|_| self.waits())? {
            Oldest::Unfetchable(offset, code) => {
                Some(Stuck { partition: self.next.partition, offset: *offset, why: code.to_string() })
            }
            Oldest::At(..) | Oldest::Nothing => None,
        }
    }

    /// The number of records that it has not applied, and the timestamp of the oldest, if known.
    fn left(&self, found: &Found) -> (i64, Option<Option<i64>>) {
        match found.get(&self.next) {
            _ if !self.waits() => (0, None),
            Some(Oldest::Nothing) => (0, None),
            Some(Oldest::At(offset, _)) if *offset >= self.ends.stable => (0, None),
            Some(Oldest::At(offset, time)) => (self.ends.stable - offset, Some(*time)),
            Some(Oldest::Unfetchable(offset, _)) => (self.ends.stable - offset, Some(None)),
            None => (self.ends.stable - self.next.offset, Some(None)),
        }
    }
}

/// Each partition of a topic with the group's offsets.
fn places<'a>(
    group: &'a Group,
    topic: &'a str,
    stands: &'a [Stand],
    ends: &'a Partitions,
) -> impl Iterator<Item = At<'a>> {
    ends.iter().filter(move |((name, _), _)| name == topic).map(move |((_, partition), ends)| {
        let stand = stands
            .iter()
            .find(|stand| stand.group == group.id && stand.topic == topic && stand.partition == *partition);
        // Deleted records cannot be read.
        let offset = stand.map_or(ends.low, |stand| stand.applied.max(ends.low));
        At { next: Position { topic: topic.to_owned(), partition: *partition, offset }, ends: *ends, stand }
    })
}

/// The positions at which records seem to wait.
fn waiting(group: &Group, stands: &[Stand], ends: &Partitions) -> Vec<Position> {
    let of_topic = |topic: &String| {
        let places = places(group, topic, stands, ends);
        places.filter(At::waits).map(|at| at.next).collect::<Vec<_>>()
    };
    group.topics.iter().chain(&group.retry_topics).flat_map(of_topic).collect()
}

fn lags(group: &Group, stands: &[Stand], ends: &Partitions, found: &Found) -> Vec<Lag> {
    group
        .topics
        .iter()
        .chain(&group.retry_topics)
        .map(|topic| lag(group, topic, stands, ends, found))
        .collect()
}

fn lag(group: &Group, topic: &str, stands: &[Stand], ends: &Partitions, found: &Found) -> Lag {
    let mut lag = Lag { group: group.id.clone(), topic: topic.to_owned(), ..Lag::default() };
    let (mut oldest, mut all_read, mut unpublished) = (None::<i64>, true, 0);
    for at in places(group, topic, stands, ends) {
        let (records, time) = at.left(found);
        lag.records += records;
        lag.withheld += at.ends.withheld;
        lag.unfetchable.extend(at.unfetchable(found));
        lag.deleted.extend(at.deleted().filter(|_| group.topics.iter().any(|source| source == topic)));
        lag.unclaimed += i32::from(at.stand.is_none());
        unpublished += at.stand.map_or(0, |stand| stand.applied - stand.published);
        all_read &= time.is_none_or(|time| time.is_some());
        oldest = oldest.into_iter().chain(time.flatten()).min();
    }
    lag.seconds = all_read.then(|| oldest.map_or(0.0, seconds_since));
    lag.unpublished = group.publishes.then_some(unpublished);
    lag
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a lag are few")]
fn seconds_since(millis: i64) -> f64 {
    Utc::now().timestamp_millis().saturating_sub(millis).max(0) as f64 / 1_000.0
}

/// The first record from each of these positions on, within the timeout.
fn oldest(reader: &Reader<'_>, mut left: BTreeSet<Position>, look: Duration) -> Result<Found, Failure> {
    let until = Instant::now() + look;
    let mut found = Found::new();
    while let Some(Position { topic, .. }) = left.first().cloned()
        && Instant::now() < until
    {
        // One position of each partition per round, since groups have different offsets.
        let mut round: BTreeMap<i32, i64> = BTreeMap::new();
        for position in left.iter().filter(|position| position.topic == topic) {
            round.entry(position.partition).or_insert(position.offset);
        }
        left.retain(|position| {
            position.topic != topic || round.get(&position.partition) != Some(&position.offset)
        });
        let time = until.saturating_duration_since(Instant::now());
        let from: Vec<(i32, i64)> = round.clone().into_iter().collect();
        reader.visit(&topic, from, time, |seen| {
            let (partition, oldest) = match seen {
                Seen::End(partition) => (partition, Oldest::Nothing),
                Seen::Unfetchable(partition, offsets, code) => {
                    (partition, Oldest::Unfetchable(offsets.start, code))
                }
                Seen::Record(message) => {
                    let time = message.timestamp().to_millis().and_then(timestamp::stamp);
                    (
                        message.partition(),
                        Oldest::At(message.offset(), time.map(|time| time.timestamp_millis())),
                    )
                }
            };
            if let Some(offset) = round.remove(&partition) {
                found.insert(Position { topic: topic.clone(), partition, offset }, oldest);
            }
            if round.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let topics = vec!["t".to_owned()];
        Group {
            role: "g",
            id: "g".to_owned(),
            side: Side::Read,
            topics,
            retry_topics: Vec::new(),
            publishes: true,
        }
    }

    fn stand(partition: i32, applied: i64, published: i64) -> Stand {
        Stand { group: "g".to_owned(), topic: "t".to_owned(), partition, applied, published }
    }

    fn ends(of: &[(i64, i64)]) -> Partitions {
        let ends = |(partition, (low, stable)): (i32, &(i64, i64))| {
            (("t".to_owned(), partition), Ends { low: *low, stable: *stable, withheld: 0 })
        };
        (0..).zip(of).map(ends).collect()
    }

    #[test]
    fn a_lag_sums_its_partitions() {
        let (group, stands, ends) =
            (group(), [stand(0, 10, 8), stand(1, 5, 5)], ends(&[(0, 12), (0, 5), (3, 4)]));
        let waiting = waiting(&group, &stands, &ends);
        let offsets: Vec<(i32, i64)> = waiting.iter().map(|p| (p.partition, p.offset)).collect();
        assert_eq!(offsets, [(0, 10), (2, 3)]);
        let now = Utc::now().timestamp_millis();
        let found = waiting.iter().cloned().zip([now - 2_000, now - 5_000]);
        let found = found.map(|(at, time)| (at.clone(), Oldest::At(at.offset, Some(time)))).collect();
        let lag = lag(&group, "t", &stands, &ends, &found);
        assert_eq!((lag.records, lag.unpublished, lag.unclaimed), (3, Some(2), 1));
        assert!((5.0..6.0).contains(&lag.seconds.unwrap()), "{lag:?}");
        let unknown = super::lag(&group, "t", &stands, &ends, &Found::new());
        assert_eq!((unknown.records, unknown.seconds), (3, None));
    }

    #[test]
    fn what_was_deleted_before_it_was_read_is_an_alarm_and_half_of_its_time_a_warning() {
        let lag = lag(&group(), "t", &[stand(0, 10, 10)], &ends(&[(15, 15)]), &Found::new());
        assert_eq!((lag.records, lag.lost().unwrap().contains("10 to 14 of partition 0")), (0, true));
        let waiting =
            |seconds| Lag { records: 1, seconds: Some(seconds), kept_seconds: Some(100.0), ..Lag::default() };
        assert_eq!((waiting(49.0).expiring(), waiting(51.0).expiring().is_some()), (None, true));
        assert_eq!(Lag { kept_seconds: None, ..waiting(51.0) }.expiring(), None);
        assert_eq!(Lag { records: 0, ..waiting(51.0) }.expiring(), None);
    }

    #[test]
    fn what_cannot_be_fetched_is_named_with_its_place() {
        let (group, stands) = (group(), [stand(0, 10, 10)]);
        let at = Position { topic: "t".to_owned(), partition: 0, offset: 10 };
        let found = Found::from([(at, Oldest::Unfetchable(11, RDKafkaErrorCode::BadCompression))]);
        let lag = lag(&group, "t", &stands, &ends(&[(0, 14)]), &found);
        assert_eq!((lag.records, lag.seconds), (3, None));
        assert!(lag.stuck().unwrap().contains("offset 11 of partition 0"), "{lag:?}");
    }

    #[test]
    fn what_is_no_record_is_nothing_to_wait_for() {
        let (group, stands) = (group(), [stand(0, 10, 10)]);
        let lag = |oldest: Oldest| {
            let at = Position { topic: "t".to_owned(), partition: 0, offset: 10 };
            lag(&group, "t", &stands, &ends(&[(0, 14)]), &Found::from([(at, oldest)]))
        };
        assert_eq!((lag(Oldest::Nothing).records, lag(Oldest::Nothing).seconds), (0, Some(0.0)));
        assert_eq!(lag(Oldest::At(12, Some(0))).records, 2, "the first two are markers");
        assert_eq!(lag(Oldest::At(14, Some(0))).records, 0, "written since");
    }
}
