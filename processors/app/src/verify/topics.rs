//! What the topics of events, rejections and commands hold against what the outbox has.
//!
//! Debezium is trusted to carry every row at least once. Here it is checked: each version of each stream, each
//! rejection, and each command that Millrace has sent and that is not decided must be on its topic, once Debezium has
//! confirmed that it is past the outbox as we saw it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::slice;
use std::time::Duration;

use futures::TryStreamExt as _;
use millrace_runtime::{Copier as _, Producer, Record};
use millrace_schemas::Kind;
use rdkafka::message::{BorrowedMessage, Message as _};
use sqlx::PgConnection;
use uuid::Uuid;

use super::finding::{Finding, What};
use super::held::{Held, Slice};
use super::horizon;
use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::{Position, Reader};
use crate::layout;
use crate::outbox::pace::Pace;
use crate::outbox::{self, Span};
use crate::postgres::Database;
use crate::replay::session::{self, begin};

/// Streams, rejections and commands that are remembered in one reading of the topics; of more each reading takes a part.
const REMEMBERED_MAX: i64 = 2_000_000;
/// A partition that brings nothing for so long has nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Streams whose missing events are told, and rejections and commands that are missing.
const FOUND_MAX: usize = 1_000;
/// Kafka keeps rejections for a while only: those of the last day must be there.
const RECENT_REJECTIONS: &str = "
    SELECT o.aggregatetype, o.aggregateid, o.id
    FROM command AS c
    JOIN outbox AS o ON o.aggregatetype = c.context AND o.aggregateid = c.stream AND o.version IS NULL
                    AND o.command_id = c.id
    WHERE c.status = 'rejected' AND c.decided_at > now() - interval '1 day' ORDER BY o.id";
/// Commands that sagas and effects have sent. The ledger answers for those that are decided.
const UNDECIDED_COMMANDS: &str = "
    SELECT aggregatetype, aggregateid, id FROM outbox
    WHERE version IS NULL AND starts_with(topic, current_schema() || '.cmd.')
      AND NOT EXISTS (SELECT FROM command WHERE command.id = outbox.id::text AND source = '/' || current_schema())
    ORDER BY id";
/// Events that are read and emitted at a time.
const EMITTED_AT_ONCE: i64 = 500;

/// What the topics are like.
pub(super) struct Topics {
    /// Events, rejections and commands of the outbox.
    pub(super) events: i64,
    pub(super) lack: Lack,
}

/// What is missing: up to [`FOUND_MAX`] of it, and how much more.
#[derive(Default)]
pub(super) struct Lack {
    pub(super) told: Vec<Missing>,
    pub(super) more: i64,
}

impl Lack {
    fn add(&mut self, missing: Missing) {
        if self.told.len() < FOUND_MAX {
            self.told.push(missing);
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, other: Self) {
        other.told.into_iter().for_each(|missing| self.add(missing));
        self.more += other.more;
    }
}

/// Something that is not on its topic.
pub(super) struct Missing {
    pub(super) finding: Finding,
    pub(super) rows: Lost,
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
    let fail = |error| write.failure(error);
    let mut snapshot = session::open(write).await.map_err(fail)?;
    begin(&mut snapshot, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(fail)?;
    let counts = "SELECT count(*), coalesce(sum(version), 0)::bigint,
                         (SELECT count(*) FROM command
                          WHERE status = 'rejected' AND decided_at > now() - interval '1 day') FROM stream";
    let (streams, events, rejections): (i64, i64, i64) =
        sqlx::query_as(counts).fetch_one(&mut snapshot).await.map_err(fail)?;
    let of = u64::try_from((streams + rejections) / REMEMBERED_MAX + 1).unwrap_or(1);
    let mut topics = Topics { events: events + rejections, lack: Lack::default() };
    for number in 0..of {
        let slice = Slice { number, of };
        let mut lack = compare(config, write, &mut snapshot, slice, &mut pace).await?;
        if !lack.told.is_empty() {
            // Or not there yet.
            horizon::carried(config, write, patience).await?;
            lack = compare(config, write, &mut snapshot, slice, &mut pace).await?;
        }
        topics.lack.append(lack);
    }
    Ok(topics)
}

/// Reads the topics from their beginning to where they end now.
fn read(config: &Config, slice: Slice, pace: &mut Pace) -> Result<Held, Failure> {
    let reader = Reader::new(config)?;
    let there = reader.topics()?;
    let mut held = Held::default();
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
                held.see(kind, context, slice, message);
            })?;
            if left == before {
                return Err(Failure::refused(format!("{topic} cannot be read to its end: {left:?}")));
            }
        }
    }
    Ok(held)
}

/// Reads on for a while: each partition from its next offset to its end.
fn step(
    reader: &Reader<'_>,
    topic: &str,
    left: &mut HashMap<i32, (i64, i64)>,
    mut see: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), Failure> {
    let position = |(partition, (next, _)): (&i32, &(i64, i64))| Position {
        topic: topic.to_owned(),
        partition: *partition,
        offset: *next,
    };
    let from: Vec<Position> = left.iter().map(position).collect();
    reader.visit(&from, SILENCE_MAX, |message| {
        let ours = message.topic() == topic;
        if let Some((next, end)) =
            left.get_mut(&message.partition()).filter(|(next, _)| ours && message.offset() >= *next)
        {
            *next = message.offset() + 1;
            let done = *next >= *end;
            see(message);
            if done {
                left.remove(&message.partition());
            }
        }
        if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Reads the topics and compares them with the outbox as it is in a snapshot.
async fn compare(
    config: &Config,
    write: &Database,
    snapshot: &mut PgConnection,
    slice: Slice,
    pace: &mut Pace,
) -> Result<Lack, Failure> {
    let fail = |error| write.failure(error);
    let held = tokio::task::block_in_place(|| read(config, slice, pace))?;
    let streams =
        "SELECT aggregatetype, aggregateid, max(version) FROM outbox WHERE version IS NOT NULL GROUP BY 1, 2";
    let mut streams = sqlx::query_as::<_, (String, String, i64)>(streams).fetch(&mut *snapshot);
    let mut lack = Lack::default();
    while let Some((context, stream, last)) = streams.try_next().await.map_err(fail)? {
        let Some(hash) = slice.takes(&context, &stream) else { continue };
        let versions = held.missing(hash, last);
        Missing::of(context, stream, &versions).into_iter().for_each(|missing| lack.add(missing));
    }
    drop(streams);
    for (what, sql) in [(What::Rejection, RECENT_REJECTIONS), (What::Command, UNDECIDED_COMMANDS)] {
        let mut rows = sqlx::query_as::<_, (String, String, Uuid)>(sql).fetch(&mut *snapshot);
        while let Some((context, stream, id)) = rows.try_next().await.map_err(fail)? {
            if slice.takes_unversioned(id) && !held.unversioned.contains(&id) {
                lack.add(Missing::unversioned(what, &context, &stream, id));
            }
        }
    }
    Ok(lack)
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
        Some(Self { finding, rows: Lost::Events(ranges.iter().map(span).collect()) })
    }

    fn unversioned(what: What, context: &str, stream: &str, id: Uuid) -> Self {
        let rows = Lost::Unversioned(context.to_owned(), stream.to_owned(), id);
        Self { finding: Finding::missing_unversioned(what, context, stream, id), rows }
    }
}

/// Emits rows again, each with its own id and bytes, those of a stream in their order.
pub(super) async fn emit(
    config: &Config,
    write: &Database,
    producer: &Producer,
    lost: &Lost,
) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    match lost {
        Lost::Unversioned(context, stream, id) => {
            let place = (context.as_str(), stream.as_str());
            let record =
                outbox::unversioned(&write.pool, &config.namespace, place, *id).await.map_err(fail)?;
            send(config, producer, record.as_slice()).await
        }
        Lost::Events(spans) => {
            for mut left in spans.iter().flat_map(|span| span.pieces(EMITTED_AT_ONCE)) {
                while left.above < left.upto {
                    let events = outbox::events(&write.pool, &config.namespace, slice::from_ref(&left)).await;
                    let events = events.map_err(fail)?;
                    left.above = events.last().map_or(left.upto, |event| event.version);
                    let records: Vec<Record> = events.into_iter().map(|event| event.record).collect();
                    send(config, producer, &records).await?;
                }
            }
            Ok(())
        }
    }
}

async fn send(config: &Config, producer: &Producer, records: &[Record]) -> Result<(), Failure> {
    for record in records {
        let sent = producer.copy(record, &record.topic, &[]).await;
        sent.map_err(|error| Failure::of_work(config, layout::Side::Write, error))?;
    }
    Ok(())
}
