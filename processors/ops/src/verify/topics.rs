//! What the topics of events, rejections and commands hold against what the outbox has.
//!
//! Debezium is trusted to carry every row at least once. Here it is checked: each version of each stream, each
//! rejection, and each command that Millrace has sent and that is not decided must be on its topic, once Debezium has
//! confirmed that it is past the outbox as we saw it. An event must be there with its own id and payload, and nothing
//! else in its place.
//!
//! To read all topics may take hours: no transaction is open meanwhile, or Postgres could not clean up behind it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::slice;
use std::time::Duration;

use futures::TryStreamExt as _;
use millrace_engine::{Copier as _, Producer, Record, WorkError};
use millrace_schemas::Kind;
use millrace_store::outbox::{self, Span, Unversioned};
use millrace_store::write_side;
use rdkafka::message::{BorrowedMessage, Message as _};
use sqlx::PgConnection;
use uuid::Uuid;

use super::expected::{Expected, Slice, Unexpected};
use super::finding::Finding;

use super::horizon;
use super::what::What;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Reader, Seen};
use crate::layout;
use crate::outage;
use crate::outbox::pace::Pace;
use crate::outbox::{events, unversioned};
use crate::postgres::Database;
use crate::replay::session;
use crate::schema::Decoder;

/// Events, rejections and commands that are remembered in one reading of the topics, in nine bytes each; of more each
/// reading takes a part.
const REMEMBERED_MAX: i64 = 8_000_000;
/// A partition that brings nothing for so long has nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Streams whose missing events are listed, and rejections and commands that are missing.
const FOUND_MAX: usize = 1_000;
/// Events that are read and emitted at a time.
const EMITTED_AT_ONCE: i64 = 500;
/// Records in the place of an event that are looked at closer at a time.
const UNEXPECTED_AT_ONCE: usize = 500;

/// What the topics are like.
pub(super) struct Topics {
    /// Events, rejections and commands of the outbox.
    pub(super) events: i64,
    pub(super) lack: Lack,
}

/// What is missing: up to [`FOUND_MAX`] of it, and how much more.
#[derive(Default)]
pub(super) struct Lack {
    pub(super) listed: Vec<Missing>,
    pub(super) more: i64,
}

impl Lack {
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

/// Something that is not on its topic.
pub(super) struct Missing {
    pub(super) finding: Finding,
    /// What would repair it; `None` where nothing does that is written behind it.
    pub(super) rows: Option<Lost>,
}

/// Rows of the outbox that are not on their topic.
pub(super) enum Lost {
    /// Versions of a stream.
    Events(Vec<Span>),
    /// Context, stream and id of a rejection or a command.
    Unversioned(String, String, Uuid),
}

/// Compares every stream, every rejection and every command that is not decided. Debezium gets `patience` to carry what is in the outbox now.
pub(super) async fn check(
    config: &Config,
    write: &Database,
    patience: Duration,
    mut pace: Pace,
) -> Result<Topics, Failure> {
    let total = write_side::events_and_rejections(&write.pool).await.map_err(|error| write.failure(error))?;
    let of = total / REMEMBERED_MAX + 1;
    let mut topics = Topics { events: total, lack: Lack::default() };
    for number in 0..of {
        let mut expected = expect(write, Slice { number, of }).await.map_err(|error| write.failure(error))?;
        tokio::task::block_in_place(|| read(config, &mut expected, &mut pace))?;
        if !expected.is_whole() {
            // Or not there yet.
            horizon::carried(config, write, patience).await?;
            tokio::task::block_in_place(|| read(config, &mut expected, &mut pace))?;
        }
        topics.lack.append(lack(write, &expected).await.map_err(|error| write.failure(error))?);
    }
    Ok(topics)
}

/// What the topics must hold, as the outbox is now.
async fn expect(write: &Database, slice: Slice) -> sqlx::Result<Expected> {
    let mut connection = session::open(write).await?;
    let since = "SELECT (extract(epoch FROM now()) * 1000)::bigint";
    let since = sqlx::query_scalar(since).fetch_one(&mut connection).await?;
    let prints = outbox::prints_of_slice(&mut connection, slice.number, slice.of).try_collect().await?;
    let rows = rejections_and_commands(&mut connection).await?.into_iter();
    let unversioned =
        rows.map(|(what, (_, _, id))| (id, what)).filter(|(id, _)| slice.takes_unversioned(*id));
    Ok(Expected::new(slice, since, prints, unversioned.collect()))
}

/// Rejections and commands that must be there: context, stream, id.
async fn rejections_and_commands(connection: &mut PgConnection) -> sqlx::Result<Vec<(What, Unversioned)>> {
    let rejections = outbox::recent_rejections(connection).await?.into_iter();
    let commands = outbox::undecided_commands(connection).await?.into_iter();
    let mut all: Vec<_> = rejections.map(|row| (What::Rejection, row)).collect();
    all.extend(commands.map(|row| (What::Command, row)));
    Ok(all)
}

/// Reads the topics from their beginning to where they end now.
fn read(config: &Config, expected: &mut Expected, pace: &mut Pace) -> Result<(), Failure> {
    let reader = Reader::new(&config.kafka)?;
    let there = reader.topics()?;
    let kinds = [Kind::Event, Kind::Rejection, Kind::Command];
    for (context, kind) in
        layout::contexts(config).into_iter().flat_map(|context| kinds.map(|kind| (context, kind)))
    {
        let topic = config.namespace.topic(kind, context);
        let partitions = there.get(&topic).copied().unwrap_or_default();
        let mut left: HashMap<i32, (i64, i64)> = HashMap::new();
        for partition in 0..partitions {
            let (low, high) = reader.ends(&topic, partition)?;
            if low < high {
                left.insert(partition, (low, high));
            }
        }
        while !left.is_empty() {
            let before = left.clone();
            step(&reader, &topic, &mut left, |message| {
                pace.took_blocking(1);
                expected.see(kind, context, message);
            })?;
            if left == before {
                return Err(Failure::refused(format!("{topic} cannot be read to its end: {left:?}")));
            }
        }
    }
    Ok(())
}

/// Reads on for a while: each partition from its next offset to its end.
fn step(
    reader: &Reader<'_>,
    topic: &str,
    left: &mut HashMap<i32, (i64, i64)>,
    mut see: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), Failure> {
    let from: Vec<(i32, i64)> = left.iter().map(|(partition, (next, _))| (*partition, *next)).collect();
    reader.visit(topic, from, SILENCE_MAX, |seen| {
        match seen {
            // Its last offsets may be those of markers.
            Seen::End(partition) => {
                left.remove(&partition);
            }
            // What is missing with it shows in the end.
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

/// What was not seen, by the names that the outbox has for it, and what lies in the place of events.
async fn lack(write: &Database, expected: &Expected) -> sqlx::Result<Lack> {
    let (mut connection, mut lack) = (session::open(write).await?, Lack::default());
    if !expected.is_whole() {
        missing_events(&mut connection, expected, &mut lack).await?;
        for (what, (context, stream, id)) in rejections_and_commands(&mut connection).await? {
            if expected.unversioned.contains_key(&id) {
                lack.add(Missing::unversioned(what, &context, &stream, id));
            }
        }
    }
    for (unexpected, id) in in_the_place_of_events(&mut connection, expected).await? {
        lack.add(Missing { finding: Finding::unexpected(&unexpected, &id), rows: None });
    }
    Ok(lack)
}

/// Versions that were not seen, stream by stream.
async fn missing_events(
    connection: &mut PgConnection,
    expected: &Expected,
    lack: &mut Lack,
) -> sqlx::Result<()> {
    let mut events = outbox::prints(connection);
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

/// Adds the next version to ranges: each the version before the first, and the last.
fn longer(ranges: &mut Vec<(i64, i64)>, version: i64) {
    match ranges.last_mut() {
        Some((_, last)) if *last == version - 1 => *last = version,
        _ => ranges.push((version - 1, version)),
    }
}

/// Records that have a version of the outbox, and not its id and payload; with the id that the outbox has there.
async fn in_the_place_of_events(
    connection: &mut PgConnection,
    expected: &Expected,
) -> sqlx::Result<Vec<(Unexpected, String)>> {
    let unexpected: Vec<&Unexpected> = expected.unexpected.iter().collect();
    let mut found = Vec::new();
    for some in unexpected.chunks(UNEXPECTED_AT_ONCE) {
        let wanted: Vec<(&str, String, i64)> = some.iter().map(|unexpected| wanted(unexpected)).collect();
        for (number, id, print) in outbox::prints_at(connection, &wanted).await? {
            let unexpected = usize::try_from(number - 1).ok().and_then(|place| some.get(place));
            // Else the outbox did not have it yet when we began.
            found.extend(
                unexpected
                    .filter(|unexpected| unexpected.print != print)
                    .map(|unexpected| ((*unexpected).clone(), id)),
            );
        }
    }
    found.sort_by(|(a, _), (b, _)| {
        (&a.context, &a.stream, a.version).cmp(&(&b.context, &b.stream, b.version))
    });
    Ok(found)
}

/// Texts of Postgres have no zero.
fn wanted(unexpected: &Unexpected) -> (&str, String, i64) {
    (&unexpected.context, unexpected.stream.replace('\0', ""), unexpected.version)
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

    fn unversioned(what: What, context: &str, stream: &str, id: Uuid) -> Self {
        let rows = Some(Lost::Unversioned(context.to_owned(), stream.to_owned(), id));
        Self { finding: Finding::missing_unversioned(what, context, stream, id), rows }
    }
}

/// Emits rows again, each with its own id and bytes, those of a stream in their order. What cannot be read is kept back,
/// or every group would have it as a dead letter; false when there was such, or one that Kafka does not take.
pub(super) async fn emit(
    config: &Config,
    write: &Database,
    producer: &Producer,
    lost: &Lost,
) -> Result<bool, Failure> {
    let (mut decoder, fail) = (Decoder::new(config)?, |error| write.failure(error));
    match lost {
        Lost::Unversioned(context, stream, id) => {
            let place = (context.as_str(), stream.as_str());
            let record = unversioned(&write.pool, &config.namespace, place, *id).await.map_err(fail)?;
            send(config, producer, &mut decoder, record.as_slice()).await
        }
        Lost::Events(spans) => {
            let mut whole = true;
            for mut left in spans.iter().flat_map(|span| span.pieces(EMITTED_AT_ONCE)) {
                while left.above < left.upto {
                    let events = events(&write.pool, &config.namespace, slice::from_ref(&left)).await;
                    let events = events.map_err(fail)?;
                    left.above = events.last().map_or(left.upto, |event| event.version);
                    let records: Vec<Record> = events.into_iter().map(|event| event.record).collect();
                    whole &= send(config, producer, &mut decoder, &records).await?;
                }
            }
            Ok(whole)
        }
    }
}

async fn send(
    config: &Config,
    producer: &Producer,
    decoder: &mut Decoder,
    records: &[Record],
) -> Result<bool, Failure> {
    let mut whole = true;
    for record in records {
        if let Err(why) = send_one(config, producer, decoder, record).await? {
            tracing::warn!(topic = %record.topic, why, "a row of the outbox is not emitted");
            whole = false;
        }
    }
    Ok(whole)
}

/// Why a record cannot be emitted. One that was skipped has no value to be read.
async fn send_one(
    config: &Config,
    producer: &Producer,
    decoder: &mut Decoder,
    record: &Record,
) -> Result<Result<(), String>, Failure> {
    if let Some(value) = &record.value
        && let Err(why) = decoder.json(value).await?
    {
        return Ok(Err(why));
    }
    match producer.copy(record, &record.topic, &[]).await {
        Ok(_) => Ok(Ok(())),
        Err(WorkError::NotTaken(reason)) => Ok(Err(reason.to_string())),
        Err(error) => Err(outage::failure(config, layout::Side::Write, error)),
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
