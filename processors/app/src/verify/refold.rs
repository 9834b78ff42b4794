//! A view folded again from the outbox, beside the serving generation: as far as that has come, and no further.
//!
//! Kafka, offsets and retries have no part in it, so what they got wrong shows. The fold itself is the same; whether
//! it is right, the view's own SQL says (`CHECK`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use millrace_runtime::names::table;
use millrace_runtime::views::ddl;
use millrace_runtime::{Outcome, Record, Role};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::outbox::{self, Span, Stored};
use super::pace::Pace;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{ReadModel, Side, Table};
use crate::postgres::Database;
use crate::replay::session::begin;
use crate::schema::Decoder;

/// The generation that only the auditor sees.
pub(super) const AUDITED: i32 = 0;
/// Streams that are looked up at a time.
const STREAMS_MAX: i64 = 500;
/// Events that are folded in one transaction.
const EVENTS_MAX: i64 = 2_000;
/// What is left after so many rounds is folded inside the snapshot.
const ROUNDS_MAX: usize = 20;
/// So few events are not worth another round.
const FEW: usize = 500;

/// A stream of a context.
pub(super) type Stream = (String, String);

/// Folds one view again.
pub(super) struct Refold<'r> {
    config: &'r Config,
    write: &'r Database,
    read: &'r Database,
    name: &'static str,
    table: &'r Table,
    role: Arc<dyn Role>,
    serving: i32,
    pace: Pace,
    decoder: Decoder,
    /// Topic, key and version of what an operator gave up: folding goes on behind it.
    given_up: HashSet<(String, Vec<u8>, i64)>,
    /// Streams that cannot be folded to their end, and why.
    pub(super) stuck: Vec<(Stream, String)>,
    /// How many events were folded.
    pub(super) events: u64,
}

impl<'r> Refold<'r> {
    /// Nothing is folded yet. `role` folds into the audited generation.
    pub(super) fn new(
        config: &'r Config,
        [write, read]: [&'r Database; 2],
        (model, table): (&'r ReadModel, &'r Table),
        role: Arc<dyn Role>,
        serving: i32,
        pace: Pace,
    ) -> Result<Self, Failure> {
        let (name, decoder) = (model.name, Decoder::new(config)?);
        let (given_up, stuck) = (HashSet::new(), Vec::new());
        Ok(Self {
            config,
            write,
            read,
            name,
            table,
            role,
            serving,
            pace,
            decoder,
            given_up,
            stuck,
            events: 0,
        })
    }

    /// The table that is folded into.
    pub(super) fn rows(&self) -> String {
        table(self.name, AUDITED)
    }

    /// The table with the folded events.
    pub(super) fn log(&self) -> String {
        format!("{}_events", self.rows())
    }

    /// Folds until nearly level with the serving generation.
    pub(super) async fn follow(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        self.empty(connection).await?;
        for _ in 0..ROUNDS_MAX {
            if self.round(connection, true).await? < FEW {
                break;
            }
        }
        let analyse = format!("ANALYZE \"{}\", \"{}\"", self.rows(), self.log());
        self.run(connection, analyse).await
    }

    /// Folds what is left, inside the transaction whose snapshot is compared.
    pub(super) async fn finish(&mut self, snapshot: &mut PgConnection) -> Result<(), Failure> {
        while self.round(snapshot, false).await? > 0 {}
        Ok(())
    }

    /// Removes what was folded.
    pub(super) async fn remove(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let (rows, log) = (self.rows(), self.log());
        let drop = format!("SET client_min_messages = warning; DROP TABLE IF EXISTS \"{rows}\", \"{log}\"");
        self.run(connection, drop).await?;
        let forget = sqlx::query("DELETE FROM progress WHERE grp = $1 AND generation = $2");
        let forgotten = forget.bind(&self.role.group().id).bind(AUDITED).execute(connection).await;
        forgotten.map(|_| ()).map_err(|error| self.read.failure(error))
    }

    async fn empty(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        self.remove(connection).await?;
        let rows = ddl(self.table.table, &self.config.namespace, self.name, AUDITED);
        let log = format!(
            "CREATE TABLE \"{}\" (context text, stream text, version bigint, type text, occurred_at timestamptz,
                                  data jsonb, PRIMARY KEY (context, stream, version))",
            self.log()
        );
        self.run(connection, format!("{rows};{log}")).await?;
        let given_up: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT topic, key, version FROM dead_letter
             WHERE grp = $1 AND generation = $2 AND status = 'discarded' AND version IS NOT NULL AND key IS NOT NULL",
        )
        .bind(&self.role.group().id)
        .bind(self.serving)
        .fetch_all(connection)
        .await
        .map_err(|error| self.read.failure(error))?;
        self.given_up = given_up.into_iter().collect();
        Ok(())
    }

    /// Folds once what the serving generation is ahead of; returns how many events that were. Either in transactions of
    /// its own, or in the one that is open.
    async fn round(&mut self, connection: &mut PgConnection, commit: bool) -> Result<usize, Failure> {
        let (mut folded, mut after) = (0, Stream::default());
        loop {
            let ahead = self.ahead(connection, &after).await?;
            if ahead.is_empty() {
                return Ok(folded);
            }
            let spans = cut(&ahead);
            folded += self.page(connection, &spans, commit).await?;
            // A stream that did not fit goes on with the next page.
            let done =
                spans.iter().zip(&ahead).rfind(|(cut, whole)| cut == whole || self.is_stuck(&whole.stream()));
            after = done.map_or(after, |(span, _)| span.stream());
        }
    }

    /// The next streams whose progress in the serving generation is ahead of that in ours.
    async fn ahead(
        &self,
        connection: &mut PgConnection,
        (context, stream): &Stream,
    ) -> Result<Vec<Span>, Failure> {
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT s.context, s.stream, coalesce(a.version, 0), s.version
             FROM progress AS s LEFT JOIN progress AS a
                 ON a.grp = s.grp AND a.generation = $3 AND a.context = s.context AND a.stream = s.stream
             WHERE s.grp = $1 AND s.generation = $2 AND (s.context, s.stream) > ($4, $5)
               AND s.version > coalesce(a.version, 0)
             ORDER BY s.context, s.stream LIMIT $6",
        )
        .bind(&self.role.group().id)
        .bind(self.serving)
        .bind(AUDITED)
        .bind(context)
        .bind(stream)
        .bind(STREAMS_MAX)
        .fetch_all(connection)
        .await
        .map_err(|error| self.read.failure(error))?;
        let span = |(context, stream, above, upto)| Span { context, stream, above, upto };
        Ok(rows.into_iter().map(span).collect())
    }

    async fn page(
        &mut self,
        connection: &mut PgConnection,
        spans: &[Span],
        commit: bool,
    ) -> Result<usize, Failure> {
        let spans: Vec<Span> = spans.iter().filter(|span| !self.is_stuck(&span.stream())).cloned().collect();
        let events = outbox::events(&self.write.pool, &self.config.namespace, &spans).await;
        let mut events = events.map_err(|error| self.write.failure(error))?;
        self.find_holes(&spans, &events);
        events.retain(|event| !self.is_stuck(&event.stream()));
        self.pace.took(events.len()).await;
        if commit {
            begin(connection, "BEGIN").await.map_err(|error| self.read.failure(error))?;
        }
        for events in events.chunk_by(|a, b| a.context == b.context) {
            self.fold(connection, events).await?;
        }
        self.log_events(connection, &events).await?;
        if commit {
            begin(connection, "COMMIT").await.map_err(|error| self.read.failure(error))?;
        }
        self.events += u64::try_from(events.len()).unwrap_or(u64::MAX);
        Ok(events.len())
    }

    /// The outbox never forgets, so whatever was folded once must be there.
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
        let key = record.key.clone().unwrap_or_default();
        !self.given_up.is_empty() && self.given_up.contains(&(record.topic.to_string(), key, *version))
    }

    /// Folds events of one context.
    async fn fold(&mut self, connection: &mut PgConnection, events: &[Stored]) -> Result<(), Failure> {
        let fail = |error| Failure::of_work(self.config, Side::Read, error);
        let mut failed = Vec::new();
        for run in events.chunk_by(|a, b| self.is_given_up(a) == self.is_given_up(b)) {
            if run.iter().any(|event| self.is_given_up(event)) {
                for event in run {
                    self.role.skip(connection, &event.record).await.map_err(fail)?;
                }
                continue;
            }
            let records: Vec<&Record> = run.iter().map(|event| &event.record).collect();
            let folded = self.role.fold(connection, &records).await.map_err(fail)?;
            for (event, outcome) in run.iter().zip(folded.outcomes) {
                if let Outcome::Failed(fault) = outcome {
                    failed.push((event.stream(), format!("version {}: {}", event.version, fault.message)));
                }
            }
        }
        self.stuck.extend(failed);
        Ok(())
    }

    /// Keeps what was folded as JSON, for SQL.
    async fn log_events(&mut self, connection: &mut PgConnection, events: &[Stored]) -> Result<(), Failure> {
        let mut rows: Vec<Value> = Vec::with_capacity(events.len());
        for event in events {
            if self.is_given_up(event) {
                continue;
            }
            let data = self.decoder.json(event.record.value.as_deref().unwrap_or_default()).await?;
            let Stored { context, stream, version, type_, occurred_at, .. } = event;
            rows.push(json!({
                "context": context, "stream": stream, "version": version, "occurred_at": occurred_at,
                "type": type_.rsplit('.').next(), "data": data.ok(),
            }));
        }
        let log = self.log();
        let insert = format!(
            "INSERT INTO \"{log}\" SELECT * FROM json_populate_recordset(null::\"{log}\", $1::json)
             ON CONFLICT DO NOTHING"
        );
        let inserted = sqlx::query(AssertSqlSafe(insert)).bind(Value::from(rows)).execute(connection).await;
        inserted.map(|_| ()).map_err(|error| self.read.failure(error))
    }

    async fn run(&self, connection: &mut PgConnection, sql: String) -> Result<(), Failure> {
        let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        ran.map(|_| ()).map_err(|error| self.read.failure(error))
    }
}

/// As many events as one transaction takes: the first streams, the last of them perhaps in part.
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
