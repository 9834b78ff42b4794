//! Compares the rows of a view with the auditor's copy: those that have changed since the last comparison, and a part of the
//! others in turn.
//!
//! New events of the outbox are folded into the copy. A difference leads to a comparison of the whole view, which folds it again;
//! so a wrong copy repairs nothing.

use chrono::{DateTime, Utc};
use millrace_store::outbox::Span;
use millrace_store::{outbox, verified};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::audited::Audited;
use super::finding::Finding;
use super::rows::{Looked, Rows, SHOWN_MAX};
use super::sample;
use super::what::What;
use crate::failure::Failure;
use crate::layout::{ReadModel, Table};
use crate::outbox::refold::{Refold, Stream};
use crate::postgres::Database;
use crate::replay::compare::{Counterparts, key_of};
use crate::replay::session;

/// Pages of a table that are compared each time, at least.
const PAGES_LEAST: i64 = 64;
/// With more changed streams than this, all streams are checked for progress instead.
const STREAMS_MAX: usize = 100_000;

/// The auditor's mark of a view's copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The generation that served.
    pub(super) serving: i32,
    pub(super) shape: String,
    /// Events that were written before are folded, except those that the view had not folded either.
    pub(super) since: DateTime<Utc>,
    /// When the whole view was last folded again.
    pub(super) whole_at: DateTime<Utc>,
    /// The next pages of the sample, in the view's table and in the copy.
    pub(super) pages: [i64; 2],
    /// The operation from which documents are next checked for a row.
    pub(super) operation: i64,
}

impl Mark {
    /// The mark after a comparison of the whole view.
    pub(super) fn whole(model: &ReadModel, serving: i32, now: DateTime<Utc>) -> Self {
        let shape = model.shape.fingerprint.clone();
        Self { serving, shape, since: now, whole_at: now, pages: [0, 0], operation: 0 }
    }

    /// The mark of a view; `None` when this generation has none, or was last compared as a whole before `since`.
    pub(super) async fn of(
        read: &Database,
        model: &ReadModel,
        serving: i32,
        since: DateTime<Utc>,
    ) -> Result<Option<Self>, Failure> {
        let mark: Option<Self> =
            verified::mark(&read.pool, model.name).await.map_err(|error| read.failure(error))?;
        Ok(mark.filter(|mark| {
            (mark.serving, &mark.shape) == (serving, &model.shape.fingerprint) && mark.whole_at >= since
        }))
    }
}

/// The streams that have events since a time; `None` when they are too many for memory.
pub(super) async fn changed(
    write: &Database,
    model: &ReadModel,
    since: DateTime<Utc>,
) -> Result<Option<Vec<Stream>>, Failure> {
    let most = i64::try_from(STREAMS_MAX + 1).unwrap_or(i64::MAX);
    let spans = outbox::new(&write.pool, &model.contexts, since, most).await;
    let spans = spans.map_err(|error| write.failure(error))?;
    Ok((spans.len() <= STREAMS_MAX).then(|| spans.iter().map(Span::stream).collect()))
}

/// Folds new events into the copy, compares, and moves the mark's sample forward.
pub(super) async fn check(
    [write, read]: [&Database; 2],
    model: &ReadModel,
    refold: &mut Refold<'_>,
    connection: &mut PgConnection,
    (looked, audited, mark): (&Looked<'_>, &Audited, &mut Mark),
) -> Result<Rows, Failure> {
    let fail = |error| read.failure(error);
    follow(refold, connection, changed(write, model, mark.since).await?.as_deref()).await?;
    let sampled = take_sample(connection, (looked.serving.1.as_str(), audited), mark.pages).await;
    mark.pages = sampled.map_err(fail)?;
    let mut snapshot = session::snapshot(connection).await.map_err(fail)?;
    // Everything that the serving generation has in this snapshot is in the outbox.
    match changed(write, model, mark.since).await? {
        Some(streams) => refold.finish_in(&mut snapshot, &streams).await?,
        None => refold.finish(&mut snapshot).await?,
    }
    let mut found = differing(&mut snapshot, looked, audited).await.map_err(fail)?;
    if !found.is_empty() {
        // The view may also have folded older events that had waited behind a failed one.
        refold.finish(&mut snapshot).await?;
        found = differing(&mut snapshot, looked, audited).await.map_err(fail)?;
    }
    let count = format!(
        "SELECT count(*) FROM (SELECT DISTINCT {} FROM \"{}\") AS k",
        audited.columns, audited.touched
    );
    let count: i64 =
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *snapshot).await.map_err(fail)?;
    snapshot.commit().await.map_err(fail)?;
    let more = found.first().map_or(0, |row| row.1) - i64::try_from(found.len()).unwrap_or(i64::MAX);
    let mut findings: Vec<Finding> =
        found.into_iter().map(|(pair, _)| Finding::of(What::Row, looked.name, pair)).collect();
    findings.extend(refold.stuck.iter().map(|((context, stream), why)| {
        Finding::unfolded(looked.name, (context, stream), why, [None, None])
    }));
    let (stuck, events) = (!refold.stuck.is_empty(), refold.events);
    Ok(Rows { count, events, stuck, drifted: Vec::new(), more, findings })
}

async fn follow(
    refold: &mut Refold<'_>,
    connection: &mut PgConnection,
    streams: Option<&[Stream]>,
) -> Result<(), Failure> {
    match streams {
        Some(streams) => refold.follow_in(connection, streams).await,
        None => refold.follow(connection).await,
    }
}

/// Records the keys of the rows in the next pages of either table. A row that is not updated stays in its page; one that is
/// updated is compared anyway.
async fn take_sample(
    connection: &mut PgConnection,
    (serving, audited): (&str, &Audited),
    [of_serving, of_copy]: [i64; 2],
) -> sqlx::Result<[i64; 2]> {
    let Audited { rows: copy, touched, columns, .. } = audited;
    let (first, next_of_serving) = pages(connection, serving, of_serving).await?;
    let (second, next_of_copy) = pages(connection, copy, of_copy).await?;
    let note = format!(
        "INSERT INTO \"{touched}\" SELECT {columns} FROM \"{serving}\" WHERE {first}
         UNION SELECT {columns} FROM \"{copy}\" WHERE {second}"
    );
    sqlx::raw_sql(AssertSqlSafe(note)).execute(connection).await?;
    Ok([next_of_serving, next_of_copy])
}

/// The condition for the next pages of a table, and the page after them; 0 after the last.
async fn pages(connection: &mut PgConnection, table: &str, from: i64) -> sqlx::Result<(String, i64)> {
    let size = "SELECT pg_relation_size(to_regclass(quote_ident($1))) / current_setting('block_size')::int";
    let all: i64 = sqlx::query_scalar(size).bind(table).fetch_one(connection).await?;
    let next = from + (all / sample::LOOKS + 1).max(PAGES_LEAST);
    let within = format!("ctid >= '({from},0)'::tid AND ctid < '({next},0)'::tid");
    Ok((within, if next < all { next } else { 0 }))
}

/// The recorded rows that differ, up to a limit, and their number.
async fn differing(
    connection: &mut PgConnection,
    looked: &Looked<'_>,
    Audited { rows: copy, touched, columns, .. }: &Audited,
) -> sqlx::Result<Vec<(Counterparts, i64)>> {
    let key = key_of(looked.table);
    // Each by its key (OFFSET 0 says so).
    let side = |table: &str| {
        format!(
            "LEFT JOIN LATERAL (SELECT to_jsonb(t) AS fields FROM \"{table}\" AS t
                                WHERE ({}) = ({}) AND version > 0 OFFSET 0)",
            qualified("t", looked.table),
            qualified("k", looked.table)
        )
    };
    let sql = format!(
        "SELECT key, found.fields, expected.fields, count(*) OVER ()
         FROM (SELECT DISTINCT {columns}, {key} AS key FROM \"{touched}\") AS k
         {} AS found ON true {} AS expected ON true
         WHERE found.fields IS DISTINCT FROM expected.fields ORDER BY key LIMIT $1",
        side(&looked.serving.1),
        side(copy)
    );
    let rows: Vec<(String, Option<Value>, Option<Value>, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(SHOWN_MAX).fetch_all(connection).await?;
    let pair = |(key, serving, building, count)| (Counterparts { key, serving, building }, count);
    Ok(rows.into_iter().map(pair).collect())
}

/// The columns of the key of a table under another name.
fn qualified(alias: &str, table: &Table) -> String {
    table.key.iter().map(|column| format!("{alias}.\"{column}\"")).collect::<Vec<_>>().join(", ")
}
