//! Topics and how far the groups are behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::Utc;
use millrace_runtime::envelope;
use rdkafka::Message as _;
use serde::Serialize;

use super::databases::{Facts, Stand};
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader};
use crate::layout::{self, Group, Side};
use crate::providers::Providers;

/// Looking at the oldest waiting records takes no longer.
const LOOK_TIME_MAX: Duration = Duration::from_secs(4);

/// What Kafka knows, next to the groups' offsets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Kafka {
    pub(super) topics: Vec<Topic>,
    pub(super) lags: Vec<Lag>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Topic {
    pub(super) name: String,
    /// 0 when it is not there.
    pub(super) partitions: i32,
    pub(super) records: i64,
}

/// How far a group is behind a topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Lag {
    pub(super) group: String,
    pub(super) topic: String,
    /// Records that are not applied.
    pub(super) records: i64,
    /// Age of the oldest of them; `None` when it could not be read in time.
    pub(super) seconds: Option<f64>,
    /// Applied records whose rows may not be in Elasticsearch yet.
    pub(super) unpublished: Option<i64>,
    /// Partitions that no worker ever claimed.
    pub(super) unclaimed: i32,
}

type Partition = (String, i32);
type Ends = BTreeMap<Partition, (i64, i64)>;

/// Asks Kafka. Groups whose database does not answer are left out.
pub(super) fn measure(
    config: &Config,
    write: &Result<Facts, Failure>,
    read: &Result<Facts, Failure>,
) -> Result<Kafka, Failure> {
    let reader = Reader::new(config)?;
    let there = reader.topics()?;
    let mut ends = Ends::new();
    let mut topics = Vec::new();
    for topic in layout::topics(config) {
        let partitions = there.get(&topic.name).copied().unwrap_or_default();
        let mut records = 0;
        for partition in 0..partitions {
            let (low, high) = reader.ends(&topic.name, partition)?;
            records += high - low;
            ends.insert((topic.name.clone(), partition), (low, high));
        }
        topics.push(Topic { name: topic.name, partitions, records });
    }
    let stands = |side| match side {
        Side::Write => write.as_ref().ok().map(|facts| &facts.stands),
        Side::Read => read.as_ref().ok().map(|facts| &facts.stands),
    };
    let unable = Providers::new(config)?.unable();
    let able = layout::groups(config).into_iter().filter(|group| !unable.contains(&group.role));
    let groups: Vec<(Group, &Vec<Stand>)> = able.filter_map(|g| stands(g.side).map(|s| (g, s))).collect();
    let oldest = groups.iter().flat_map(|(group, stands)| waiting(group, stands, &ends)).collect();
    let times = timestamps(&reader, oldest)?;
    Ok(Kafka {
        topics,
        lags: groups.iter().flat_map(|(group, stands)| lags(group, stands, &ends, &times)).collect(),
    })
}

/// Each partition of a topic with the group's next offset.
fn places<'a>(
    group: &'a Group,
    topic: &'a str,
    stands: &'a [Stand],
    ends: &'a Ends,
) -> impl Iterator<Item = (Position, i64, Option<&'a Stand>)> {
    ends.iter().filter(move |((name, _), _)| name == topic).map(move |((_, partition), (low, high))| {
        let stand = stands
            .iter()
            .find(|stand| stand.group == group.id && stand.topic == topic && stand.partition == *partition);
        let offset = stand.map_or(*low, |stand| stand.applied);
        (Position { topic: topic.to_owned(), partition: *partition, offset }, *high, stand)
    })
}

/// The oldest record that waits in each partition.
fn waiting(group: &Group, stands: &[Stand], ends: &Ends) -> Vec<Position> {
    let of_topic = |topic: &String| {
        let places = places(group, topic, stands, ends);
        places
            .filter(|(position, high, _)| position.offset < *high)
            .map(|(position, ..)| position)
            .collect::<Vec<_>>()
    };
    group.topics.iter().chain(&group.retry_topics).flat_map(of_topic).collect()
}

fn lags(group: &Group, stands: &[Stand], ends: &Ends, times: &BTreeMap<Position, i64>) -> Vec<Lag> {
    let lag = |topic: &String| {
        let (mut records, mut unpublished, mut unclaimed) = (0, 0, 0);
        let (mut oldest, mut all_read) = (None::<i64>, true);
        for (position, high, stand) in places(group, topic, stands, ends) {
            records += (high - position.offset).max(0);
            unpublished += stand.map_or(0, |stand| stand.applied - stand.published);
            unclaimed += i32::from(stand.is_none());
            if position.offset < high {
                let time = times.get(&position).copied();
                all_read &= time.is_some();
                oldest = oldest.into_iter().chain(time).min();
            }
        }
        let seconds = if all_read { Some(oldest.map_or(0.0, seconds_since)) } else { None };
        let unpublished = group.publishes.then_some(unpublished);
        Lag { group: group.id.clone(), topic: topic.clone(), records, seconds, unpublished, unclaimed }
    };
    group.topics.iter().chain(&group.retry_topics).map(lag).collect()
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a lag are few")]
fn seconds_since(millis: i64) -> f64 {
    Utc::now().timestamp_millis().saturating_sub(millis).max(0) as f64 / 1_000.0
}

/// When the records at these positions were written, as far as there is time to look.
fn timestamps(reader: &Reader<'_>, mut left: BTreeSet<Position>) -> Result<BTreeMap<Position, i64>, Failure> {
    let until = Instant::now() + LOOK_TIME_MAX;
    let mut times = BTreeMap::new();
    while !left.is_empty() && Instant::now() < until {
        // One position of each partition at a time: groups stand at different ones.
        let mut round: BTreeMap<Partition, Position> = BTreeMap::new();
        for position in &left {
            round.entry((position.topic.clone(), position.partition)).or_insert_with(|| position.clone());
        }
        let from: Vec<Position> = round.values().cloned().collect();
        left.retain(|position| !from.contains(position));
        reader.visit(&from, until.saturating_duration_since(Instant::now()), |message| {
            if let Some(position) = round.remove(&(message.topic().to_owned(), message.partition())) {
                let time = message.timestamp().to_millis().and_then(envelope::stamp);
                times.extend(time.map(|time| (position, time.timestamp_millis())));
            }
            if round.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_sums_its_partitions() {
        let topics = vec!["t".to_owned()];
        let group = Group {
            role: "g",
            id: "g".to_owned(),
            side: Side::Read,
            topics,
            retry_topics: Vec::new(),
            publishes: true,
        };
        let stand = |partition, applied, published| Stand {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            partition,
            applied,
            published,
        };
        let stands = [stand(0, 10, 8), stand(1, 5, 5)];
        let ends = Ends::from([
            (("t".to_owned(), 0), (0, 12)),
            (("t".to_owned(), 1), (0, 5)),
            (("t".to_owned(), 2), (3, 4)),
        ]);
        let oldest = waiting(&group, &stands, &ends);
        let offsets: Vec<(i32, i64)> = oldest.iter().map(|p| (p.partition, p.offset)).collect();
        assert_eq!(offsets, [(0, 10), (2, 3)]);
        let now = Utc::now().timestamp_millis();
        let times = oldest.iter().cloned().zip([now - 2_000, now - 5_000]).collect();
        let lags = lags(&group, &stands, &ends, &times);
        let [lag] = lags.as_slice() else { panic!("one lag") };
        assert_eq!((lag.records, lag.unpublished, lag.unclaimed), (3, Some(2), 1));
        assert!((5.0..6.0).contains(&lag.seconds.unwrap()), "{lag:?}");
        let unknown = super::lags(&group, &stands, &ends, &BTreeMap::new());
        assert_eq!(unknown[0].seconds, None);
    }
}
