//! Compares the topics of events, rejections, outcomes and commands with the outbox.
//!
//! Debezium should carry every row at least once. This checks it: each version of each stream, each recent rejection and outcome,
//! and each undecided command that Millrace has sent must be on its topic, once Debezium has confirmed the outbox's WAL position.
//! An event must be there with its own id and payload, and nothing else in its place.
//!
//! Reading all topics may take hours. No transaction is open meanwhile, so that VACUUM is not blocked.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use millrace_schemas::Kind;
use millrace_store::outbox::{self, Span};
use millrace_store::{stream, verified};
use rdkafka::message::{BorrowedMessage, Message as _};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::expected::{Expected, Slice, Unexpected};
use super::finding::Finding;
use super::horizon;
use super::places::{self, Place};
use super::sample;
use super::unexpected::in_the_place_of_events;
use super::what::What;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Reader, Seen};
use crate::outbox::pace::Pace;
use crate::postgres::Database;
use crate::replay::session;

/// Events that are kept in memory during one pass over the topics, nine bytes each; if there are more, several passes are made.
const REMEMBERED_MAX: i64 = 8_000_000;
/// What a rejection, an outcome or a command counts beside an event: it has 17 bytes.
const UNVERSIONED_WEIGHT: i64 = 2;
/// A partition without a record for this long has none.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Streams with missing events, and missing rejections, outcomes and commands, that are listed, at most.
const FOUND_MAX: usize = 1_000;

/// The result of a comparison of the topics.
pub(super) struct Topics {
    /// The number of events, rejections, outcomes and commands of the outbox that were searched for.
    pub(super) events: i64,
    pub(super) lack: Lack,
    /// Whether these were all.
    whole: bool,
    /// The mark for the next comparison, if there are no findings.
    next: Option<Mark>,
}

const WHAT: &str = "topics";

/// The auditor's mark of the topics.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    /// Rows that were written before are compared.
    since: DateTime<Utc>,
    /// The records of later rows are at or after these positions.
    places: Vec<Place>,
    /// The stream after which the sample continues.
    stream: (String, String),
    /// When everything was last compared.
    whole_at: DateTime<Utc>,
}

/// What is missing: up to [`FOUND_MAX`] of it, and the number of further ones.
#[derive(Default)]
pub(super) struct Lack {
    pub(super) listed: Vec<Missing>,
    pub(super) more: i64,
}

impl Lack {
    fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn add(&mut self, missing: Missing) {
        if self.listed.len() < FOUND_MAX {
            self.listed.push(missing);
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, other: Self) {
        other.listed.into_iter().for_each(|missing| self.add(missing));
        self.more += other.more;
    }
}

/// Something that is missing on its topic.
pub(super) struct Missing {
    pub(super) finding: Finding,
    /// The rows that repair it; `None` when writing a record at the end does not repair it.
    pub(super) rows: Option<Lost>,
}

/// Rows of the outbox that are missing on their topic.
pub(super) enum Lost {
    /// Versions of a stream.
    Events(Vec<Span>),
    /// Context, stream and id of a rejection, an outcome or a command.
    Unversioned(String, String, Uuid),
}

/// Compares every stream, every rejection and every undecided command; or, with `since`, what is new since the last comparison
/// and a sample of the rest, unless everything was last compared before `since`. Debezium gets `patience` to carry the current
/// rows of the outbox.
pub(super) async fn check(
    config: &Config,
    write: &Database,
    patience: Duration,
    mut pace: Pace,
    since: Option<DateTime<Utc>>,
) -> Result<Topics, Failure> {
    let before = match since {
        Some(since) => known(config, write).await?.filter(|mark| mark.whole_at >= since),
        None => None,
    };
    let mut reached = tokio::task::block_in_place(|| places::now(config))?;
    let now = horizon::settled(write, horizon::OPEN_AT_MOST).await?;
    let from = before.as_ref().map(|mark| mark.since);
    let (events, unversioned) = total(write, from).await.map_err(|error| write.failure(error))?;
    let of = (events + unversioned * UNVERSIONED_WEIGHT) / REMEMBERED_MAX + 1;
    let mut lack = Lack::default();
    for number in 0..of {
        let slice = Slice { number, of };
        let mut expected = expect(write, slice, from).await.map_err(|error| write.failure(error))?;
        let mut look = Reading { config, before: before.as_ref(), reached: &mut reached, pace: &mut pace };
        tokio::task::block_in_place(|| look.read(&mut expected))?;
        if !expected.is_whole() {
            // They may not be there yet.
            horizon::carried(config, write, patience).await?;
            tokio::task::block_in_place(|| look.read(&mut expected))?;
        }
        lack.append(lacking(write, &expected, from).await.map_err(|error| write.failure(error))?);
    }
    tokio::task::block_in_place(|| places::finish(config, &mut reached))?;
    let whole_at = before.as_ref().map(|mark| mark.whole_at).or(now);
    let mut stream = (String::new(), String::new());
    if let Some(mark) = &before {
        let wrong =
            sample::records(config, write, (mark.places.as_slice(), reached.as_mut_slice()), &mut pace)
                .await?;
        wrong.into_iter().for_each(|(unexpected, id)| lack.add(Missing::unexpected(&unexpected, &id)));
        let (wrong, behind) =
            sample::streams(write, &mark.stream).await.map_err(|error| write.failure(error))?;
        wrong.into_iter().for_each(|finding| lack.add(Missing { finding, rows: None }));
        stream = behind;
    }
    let next = now.zip(whole_at).map(|(since, whole_at)| Mark { since, places: reached, stream, whole_at });
    Ok(Topics { events: events + unversioned, lack, whole: before.is_none(), next })
}

impl Topics {
    /// Stores the mark for the next comparison. With findings, the next one compares the same again.
    pub(super) async fn remember(&self, write: &Database) -> Result<(), Failure> {
        let fail = |error| write.failure(error);
        match &self.next {
            Some(next) if self.lack.is_empty() => verified::set(&write.pool, WHAT, next).await.map_err(fail),
            _ if self.whole => verified::forget(&write.pool, WHAT).await.map_err(fail),
            _ => Ok(()),
        }
    }
}

/// The mark of the topics; `None` when they no longer have the records from before.
async fn known(config: &Config, write: &Database) -> Result<Option<Mark>, Failure> {
    let mark: Option<Mark> = verified::mark(&write.pool, WHAT).await.map_err(|error| write.failure(error))?;
    let Some(mark) = mark else { return Ok(None) };
    let same = tokio::task::block_in_place(|| places::are_as_they_were(config, &mark.places))?;
    if !same {
        tracing::warn!("topics of events are not as they were: all of them are compared again");
    }
    Ok(same.then_some(mark))
}

/// The number of events to search for, and that of rejections, outcomes and commands.
async fn total(write: &Database, since: Option<DateTime<Utc>>) -> sqlx::Result<(i64, i64)> {
    let (commands, _) = outbox::undecided(&write.pool, since).await?;
    let rejections = outbox::count_recent_answers(&write.pool, Kind::Rejection, since).await?;
    let outcomes = outbox::count_recent_answers(&write.pool, Kind::Outcome, since).await?;
    let events = match since {
        Some(since) => outbox::events_since(&write.pool, since).await?,
        None => stream::events(&write.pool).await?,
    };
    Ok((events, commands + rejections + outcomes))
}

/// The expected records of the topics, from the current outbox.
async fn expect(write: &Database, slice: Slice, since: Option<DateTime<Utc>>) -> sqlx::Result<Expected> {
    let mut connection = session::open(write).await?;
    let now = "SELECT (extract(epoch FROM now()) * 1000)::bigint";
    let now = sqlx::query_scalar(now).fetch_one(&mut connection).await?;
    let prints = outbox::prints_of_slice(&mut connection, (slice.number, slice.of), since);
    let prints = prints.try_collect().await?;
    let mut unversioned = Vec::new();
    for what in UNVERSIONED {
        let mut rows = of(what, &mut connection, since);
        while let Some((_, _, id)) = rows.try_next().await? {
            if slice.takes_unversioned(id) {
                unversioned.push(id);
            }
        }
    }
    Ok(Expected::new(slice, now, prints, unversioned))
}

/// What the topics have beside events.
const UNVERSIONED: [What; 3] = [What::Rejection, What::Outcome, What::Command];

/// The rows of one of these kinds that must be on their topics.
fn of(
    what: What,
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'_, sqlx::Result<outbox::Unversioned>> {
    match what {
        What::Rejection => outbox::recent_answers(connection, Kind::Rejection, since),
        What::Outcome => outbox::recent_answers(connection, Kind::Outcome, since),
        _ => outbox::undecided_commands(connection, since),
    }
}

/// One pass over the topics.
struct Reading<'r> {
    config: &'r Config,
    /// From this mark on; from the beginning without it.
    before: Option<&'r Mark>,
    /// The ends of the topics before the outbox was read.
    reached: &'r mut [Place],
    pace: &'r mut Pace,
}

impl Reading<'_> {
    /// Reads up to the current ends of the topics.
    fn read(&mut self, expected: &mut Expected) -> Result<(), Failure> {
        let reader = Reader::new(&self.config.kafka)?;
        for (kind, context) in places::kinds(self.config) {
            let topic = self.config.namespace.topic(kind, context);
            let mut left: HashMap<i32, (i64, i64)> = HashMap::new();
            for ((_, partition), (low, high)) in reader.ends_of_topics([topic.clone()])? {
                let known = self.before.and_then(|mark| places::find(&mark.places, &topic, partition));
                // A topic that ends before was created again.
                let from =
                    known.map_or(low, |place| if place.next > high { low } else { place.next.max(low) });
                if from < high {
                    left.insert(partition, (from, high));
                }
            }
            while !left.is_empty() {
                let before = left.clone();
                step(&reader, &topic, &mut left, |message| {
                    self.pace.took_blocking(1);
                    places::pass(self.reached, &topic, message);
                    expected.see(kind, context, message);
                })?;
                if left == before {
                    return Err(Failure::refused(format!("{topic} cannot be read to its end: {left:?}")));
                }
            }
        }
        Ok(())
    }
}

/// Reads for a limited time: each partition from its next offset to its end.
fn step(
    reader: &Reader<'_>,
    topic: &str,
    left: &mut HashMap<i32, (i64, i64)>,
    mut see: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), Failure> {
    let from: Vec<(i32, i64)> = left.iter().map(|(partition, (next, _))| (*partition, *next)).collect();
    reader.visit(topic, from, SILENCE_MAX, |seen| {
        match seen {
            // Its last offsets may be transaction markers.
            Seen::End(partition) => {
                left.remove(&partition);
            }
            // Events that are missing because of it are reported at the end.
            Seen::Unfetchable(partition, offsets, _) => {
                left.entry(partition).and_modify(|(expected, _)| *expected = offsets.end);
            }
            Seen::Record(message) => {
                let (partition, next) = (message.partition(), message.offset() + 1);
                if left.get(&partition).is_some_and(|(expected, _)| next > *expected) {
                    see(message);
                    left.entry(partition).and_modify(|(expected, _)| *expected = next);
                }
            }
        }
        left.retain(|_, (next, end)| next < end);
        if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// What was not read, with its identity from the outbox, and records in the place of events.
async fn lacking(write: &Database, expected: &Expected, since: Option<DateTime<Utc>>) -> sqlx::Result<Lack> {
    let (mut connection, mut lack) = (session::open(write).await?, Lack::default());
    if !expected.is_whole() {
        missing_events(&mut connection, (expected, since), &mut lack).await?;
        missing_unversioned(&mut connection, (expected, since), &mut lack).await?;
    }
    let unexpected: Vec<&Unexpected> = expected.unexpected.iter().collect();
    for (unexpected, id) in in_the_place_of_events(&mut connection, &unexpected).await? {
        lack.add(Missing::unexpected(&unexpected, &id));
    }
    Ok(lack)
}

/// Rejections, outcomes and commands that were not read.
async fn missing_unversioned(
    connection: &mut PgConnection,
    (expected, since): (&Expected, Option<DateTime<Utc>>),
    lack: &mut Lack,
) -> sqlx::Result<()> {
    for what in UNVERSIONED {
        let mut rows = of(what, connection, since);
        while let Some((context, stream, id)) = rows.try_next().await? {
            if expected.lacks_unversioned(id) {
                lack.add(Missing::unversioned(what, &context, &stream, id));
            }
        }
    }
    Ok(())
}

/// Versions that were not read, by stream.
async fn missing_events(
    connection: &mut PgConnection,
    (expected, since): (&Expected, Option<DateTime<Utc>>),
    lack: &mut Lack,
) -> sqlx::Result<()> {
    let mut events = outbox::prints(connection, since);
    let (mut of, mut ranges) = ((String::new(), String::new()), Vec::new());
    while let Some((context, stream, version, print)) = events.try_next().await? {
        if !expected.lacks(print) {
            continue;
        }
        if of != (context.clone(), stream.clone()) {
            let (context, stream) = std::mem::replace(&mut of, (context, stream));
            Missing::of(context, stream, &std::mem::take(&mut ranges)).into_iter().for_each(|m| lack.add(m));
        }
        longer(&mut ranges, version);
    }
    Missing::of(of.0, of.1, &ranges).into_iter().for_each(|missing| lack.add(missing));
    Ok(())
}

/// Adds the next version to ranges; a range has the version before its first, and its last.
fn longer(ranges: &mut Vec<(i64, i64)>, version: i64) {
    match ranges.last_mut() {
        Some((_, last)) if *last == version - 1 => *last = version,
        _ => ranges.push((version - 1, version)),
    }
}

impl Missing {
    fn of(context: String, stream: String, ranges: &[(i64, i64)]) -> Option<Self> {
        let finding = Finding::missing(&context, &stream, ranges)?;
        let span = |(above, upto): &(i64, i64)| Span {
            context: context.clone(),
            stream: stream.clone(),
            above: *above,
            upto: *upto,
        };
        Some(Self { finding, rows: Some(Lost::Events(ranges.iter().map(span).collect())) })
    }

    fn unexpected(unexpected: &Unexpected, id: &str) -> Self {
        Self { finding: Finding::unexpected(unexpected, id), rows: None }
    }

    fn unversioned(what: What, context: &str, stream: &str, id: Uuid) -> Self {
        let rows = Some(Lost::Unversioned(context.to_owned(), stream.to_owned(), id));
        Self { finding: Finding::missing_unversioned(what, context, stream, id), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_follow_each_other_are_one_range() {
        let mut ranges = Vec::new();
        [4, 6, 8, 9, 10].into_iter().for_each(|version| longer(&mut ranges, version));
        assert_eq!(ranges, [(3, 4), (5, 6), (7, 10)]);
    }
}
