//! Folds a view from the outbox up to the progress of the serving generation, without Kafka, offsets and retries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_engine::{Fault, Outcome, Record, Role, WorkError};
use millrace_schemas::short_name;
use millrace_store::Group;
use millrace_store::dead_letter::{self, DOCUMENT_REFUSED};
use millrace_store::outbox::Span;
use millrace_store::progress::{self, Behind};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::pace::Pace;
use super::{Stored, events, reached};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::outage;
use crate::postgres::Database;
use crate::schema::Decoder;

/// Streams of a page, at most.
const STREAMS_MAX: i64 = 500;
/// Events of a transaction, at most.
const EVENTS_MAX: i64 = 2_000;
/// Rounds, at most; the rest is folded inside the snapshot.
const ROUNDS_MAX: usize = 20;
/// A round with fewer events is the last one.
const FEW: usize = 500;

/// A stream of a context.
pub(crate) type Stream = (String, String);

/// Folds a view into a generation that no other process works on.
pub(crate) struct Refold<'r> {
    config: &'r Config,
    write: &'r Database,
    read: &'r Database,
    /// The role of that generation.
    role: Arc<dyn Role>,
    serving: i32,
    /// The table of folded events, if any.
    log: Option<Log>,
    pace: Pace,
    listener: Option<&'r dyn Listener>,
    /// Topic, key and version of events that operators have discarded; folding continues after them.
    given_up: HashSet<(String, Vec<u8>, i64)>,
    /// Streams that cannot be folded to their end, and why.
    pub(crate) stuck: Vec<(Stream, String)>,
    /// The number of folded events.
    pub(crate) events: u64,
}

/// A table of events for SQL checks.
struct Log {
    table: String,
    decoder: Decoder,
}

impl<'r> Refold<'r> {
    /// Begins, or continues an interrupted one into the same generation.
    pub(crate) fn new(
        config: &'r Config,
        [write, read]: [&'r Database; 2],
        role: Arc<dyn Role>,
        serving: i32,
    ) -> Self {
        let (given_up, stuck, pace) = (HashSet::new(), Vec::new(), Pace::unbounded());
        Self {
            config,
            write,
            read,
            role,
            serving,
            log: None,
            pace,
            listener: None,
            given_up,
            stuck,
            events: 0,
        }
    }

    /// With this rate limit.
    pub(crate) fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Reports its progress.
    pub(crate) fn with_listener(self, listener: &'r dyn Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// Stores the folded events in a table with the columns `context, stream, version, type, occurred_at, data`.
    ///
    /// # Errors
    /// When the registry's client cannot be set up.
    pub(crate) fn log(&mut self, table: String) -> Result<(), Failure> {
        let decoder = Decoder::new(self.config)?;
        self.log = Some(Log { table, decoder });
        Ok(())
    }

    /// Folds some streams up to their progress in the serving generation.
    pub(crate) async fn follow_in(
        &mut self,
        connection: &mut PgConnection,
        streams: &[Stream],
    ) -> Result<(), Failure> {
        for _ in 0..ROUNDS_MAX {
            if self.round_in(connection, streams).await? < FEW {
                break;
            }
        }
        Ok(())
    }

    /// Folds the rest of these streams, inside a snapshot.
    pub(crate) async fn finish_in(
        &mut self,
        snapshot: &mut PgConnection,
        streams: &[Stream],
    ) -> Result<(), Failure> {
        while self.round_in(snapshot, streams).await? > 0 {}
        Ok(())
    }

    /// Folds until it has almost caught up with the serving generation.
    pub(crate) async fn follow(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        for _ in 0..ROUNDS_MAX {
            if self.round(connection).await? < FEW {
                break;
            }
        }
        if let Some(listener) = self.listener {
            listener.counted();
        }
        Ok(())
    }

    /// Folds the rest inside the open transaction: in a snapshot, exactly the progress of the serving generation.
    pub(crate) async fn finish(&mut self, snapshot: &mut PgConnection) -> Result<(), Failure> {
        while self.round(snapshot).await? > 0 {}
        Ok(())
    }

    /// Reads the discarded events. Call it after reading the progress that continues after them, or they would be folded.
    async fn give_up(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        let serving = (self.role.group().id.as_str(), self.serving);
        // A refused document does not affect the fold of its event; a record that is not an event of its topic's context has no
        // version.
        let but_for = [DOCUMENT_REFUSED, Fault::UNKNOWN_TYPE];
        let given_up = dead_letter::discarded_events(connection, serving, &but_for).await;
        let given_up = given_up.map_err(|error| self.read.failure(error))?;
        self.given_up = given_up.into_iter().collect();
        Ok(())
    }

    /// Folds once up to the progress of the serving generation; returns the number of events.
    async fn round(&mut self, connection: &mut PgConnection) -> Result<usize, Failure> {
        let (mut folded, mut after) = (0, Stream::default());
        loop {
            let ahead = self.ahead(connection, &after).await?;
            let Some(last) = ahead.last().map(Span::stream) else { return Ok(folded) };
            let (events, reached) = self.some(connection, ahead).await?;
            folded += events;
            // A stream that did not fit continues in the next page.
            after = match reached {
                Reached::All => last,
                Reached::Upto(stream) => stream,
                Reached::Nothing => after,
            };
        }
    }

    /// The same for some streams.
    async fn round_in(
        &mut self,
        connection: &mut PgConnection,
        streams: &[Stream],
    ) -> Result<usize, Failure> {
        let mut folded = 0;
        for streams in streams.chunks(usize::try_from(STREAMS_MAX).unwrap_or(1)) {
            loop {
                let Group { id: group, generation } = self.role.group();
                let ahead = progress::ahead_of(connection, (group, self.serving, *generation), streams).await;
                let ahead = spans(ahead.map_err(|error| self.read.failure(error))?);
                let (events, reached) = self.some(connection, ahead).await?;
                folded += events;
                if matches!(reached, Reached::All) {
                    break;
                }
            }
        }
        Ok(folded)
    }

    /// Folds the first events that are ahead; returns their number and the last stream.
    async fn some(
        &mut self,
        connection: &mut PgConnection,
        mut ahead: Vec<Span>,
    ) -> Result<(usize, Reached), Failure> {
        if ahead.is_empty() {
            return Ok((0, Reached::All));
        }
        self.give_up(connection).await?;
        ahead.retain(|span| !self.is_stuck(&span.stream()));
        let wanted = cut(&ahead);
        let events = events(&self.write.pool, &self.config.namespace, &wanted).await;
        let events = events.map_err(|error| self.write.failure(error))?;
        let spans = reached(&wanted, &events);
        let folded = self.page(connection, &spans, events).await?;
        let whole = ahead.iter().zip(&spans).take_while(|(all, read)| all == read).count();
        Ok(match ahead.get(..whole).and_then(<[Span]>::last) {
            _ if whole == ahead.len() => (folded, Reached::All),
            Some(span) => (folded, Reached::Upto(span.stream())),
            None => (folded, Reached::Nothing),
        })
    }

    /// The next streams that the serving generation has folded further than this one.
    async fn ahead(
        &self,
        connection: &mut PgConnection,
        (context, stream): &Stream,
    ) -> Result<Vec<Span>, Failure> {
        let Group { id: group, generation } = self.role.group();
        let behind =
            Behind { group, serving: self.serving, generation: *generation, after: (context, stream) };
        let rows = progress::ahead(connection, behind, STREAMS_MAX).await;
        Ok(spans(rows.map_err(|error| self.read.failure(error))?))
    }

    /// Folds some events in a transaction, or in an open transaction after a savepoint.
    async fn page(
        &mut self,
        connection: &mut PgConnection,
        spans: &[Span],
        mut events: Vec<Stored>,
    ) -> Result<usize, Failure> {
        self.find_holes(spans, &events);
        events.retain(|event| !self.is_stuck(&event.stream()));
        self.pace.took(u32::try_from(events.len()).unwrap_or(u32::MAX)).await;
        let mut transaction = connection.begin().await.map_err(|error| self.read.failure(error))?;
        for events in events.chunk_by(|a, b| a.context == b.context) {
            self.fold(&mut transaction, events).await?;
        }
        self.keep(&mut transaction, &events).await?;
        transaction.commit().await.map_err(|error| self.read.failure(error))?;
        self.events += u64::try_from(events.len()).unwrap_or(u64::MAX);
        if let Some(listener) = self.listener {
            listener.count("events folded", self.events);
        }
        Ok(events.len())
    }

    /// Finds missing versions: the outbox keeps all events, so every folded event must exist.
    fn find_holes(&mut self, spans: &[Span], events: &[Stored]) {
        let mut there: HashMap<(&str, &str), HashSet<i64>> = HashMap::new();
        for Stored { context, stream, version, .. } in events {
            there.entry((context, stream)).or_default().insert(*version);
        }
        for span in spans {
            let versions = there.get(&(span.context.as_str(), span.stream.as_str()));
            let has = |version: &i64| versions.is_some_and(|versions| versions.contains(version));
            if let Some(hole) = (span.above + 1..=span.upto).find(|version| !has(version)) {
                self.stuck.push((span.stream(), format!("the outbox has no version {hole} of it")));
            }
        }
    }

    fn is_stuck(&self, stream: &Stream) -> bool {
        self.stuck.iter().any(|(stuck, _)| stuck == stream)
    }

    fn is_given_up(&self, Stored { record, version, .. }: &Stored) -> bool {
        let key = record.key.as_deref().unwrap_or_default().to_vec();
        !self.given_up.is_empty() && self.given_up.contains(&(record.topic.to_string(), key, *version))
    }

    /// Folds events of one context.
    async fn fold(&mut self, connection: &mut PgConnection, events: &[Stored]) -> Result<(), Failure> {
        let fail = |error| outage::failure(self.config, Side::Read, error);
        let mut failed = Vec::new();
        for run in events.chunk_by(|a, b| self.is_given_up(a) == self.is_given_up(b)) {
            if run.iter().any(|event| self.is_given_up(event)) {
                for event in run {
                    self.role.skip(connection, &event.record).await.map_err(fail)?;
                }
                continue;
            }
            let outcomes = self.fold_or_halve(connection, run).await.map_err(fail)?;
            for (event, outcome) in run.iter().zip(outcomes) {
                if let Outcome::Failed(fault) = outcome {
                    failed.push((event.stream(), format!("version {}: {}", event.version, fault.message)));
                }
            }
        }
        self.stuck.extend(failed);
        Ok(())
    }

    /// Folds events; finds those whose result Postgres refuses by bisection.
    fn fold_or_halve<'f>(
        &'f self,
        connection: &'f mut PgConnection,
        run: &'f [Stored],
    ) -> BoxFuture<'f, Result<Vec<Outcome>, WorkError>> {
        Box::pin(async move {
            let records: Vec<&Record> = run.iter().map(|event| &event.record).collect();
            let mut savepoint = connection.begin().await?;
            let reason = match self.role.fold(&mut savepoint, &records).await {
                Ok(folded) => {
                    savepoint.commit().await?;
                    return Ok(folded.outcomes);
                }
                Err(WorkError::Refused(reason)) => reason,
                Err(error) => return Err(error),
            };
            savepoint.rollback().await?;
            if run.len() < 2 {
                return Ok(vec![Outcome::Failed(Fault::refused(reason.text()))]);
            }
            let (left, right) = run.split_at(run.len() / 2);
            let mut outcomes = self.fold_or_halve(connection, left).await?;
            outcomes.extend(self.fold_or_halve(connection, right).await?);
            Ok(outcomes)
        })
    }

    /// Stores folded events as JSON.
    async fn keep(&mut self, connection: &mut PgConnection, events: &[Stored]) -> Result<(), Failure> {
        let Some(mut log) = self.log.take() else { return Ok(()) };
        let mut rows: Vec<Value> = Vec::with_capacity(events.len());
        let folded = |event: &&Stored| !self.is_given_up(event) && !self.is_stuck(&event.stream());
        for event in events.iter().filter(folded) {
            rows.push(log.row(event).await?);
        }
        let table = &log.table;
        let insert = format!(
            "INSERT INTO \"{table}\" SELECT * FROM json_populate_recordset(null::\"{table}\", $1::json)
             ON CONFLICT DO NOTHING"
        );
        let inserted = sqlx::query(AssertSqlSafe(insert)).bind(Value::from(rows)).execute(connection).await;
        self.log = Some(log);
        inserted.map(|_| ()).map_err(|error| self.read.failure(error))
    }
}

impl Log {
    async fn row(&mut self, event: &Stored) -> Result<Value, Failure> {
        let data = self.decoder.json(event.record.value.as_deref().unwrap_or_default()).await?;
        let Stored { context, stream, version, type_, occurred_at, .. } = event;
        Ok(json!({
            "context": context, "stream": stream, "version": version, "occurred_at": occurred_at,
            "type": short_name(type_), "data": data.ok(),
        }))
    }
}

/// The end of a page of events.
enum Reached {
    All,
    /// Up to this stream; the next one possibly in part.
    Upto(Stream),
    /// Only a part of the first stream.
    Nothing,
}

fn spans(rows: Vec<(String, String, i64, i64)>) -> Vec<Span> {
    let span = |(context, stream, above, upto)| Span { context, stream, above, upto };
    rows.into_iter().map(span).collect()
}

/// The events of one transaction: the first streams, the last of them possibly in part.
fn cut(ahead: &[Span]) -> Vec<Span> {
    let mut room = EVENTS_MAX;
    let fits = ahead.iter().map_while(|span| {
        let upto = span.upto.min(span.above + room);
        room -= upto - span.above;
        (upto > span.above).then(|| Span { upto, ..span.clone() })
    });
    fits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(stream: &str, above: i64, upto: i64) -> Span {
        Span { context: "orders".to_owned(), stream: stream.to_owned(), above, upto }
    }

    #[test]
    fn a_page_has_whole_streams_and_a_part_of_the_last() {
        let ahead = [span("a", 0, 1_500), span("b", 3, 1_003), span("c", 0, 1)];
        assert_eq!(cut(&ahead), [span("a", 0, 1_500), span("b", 3, 503)]);
        assert_eq!(cut(&ahead[2..]), [span("c", 0, 1)]);
    }
}
