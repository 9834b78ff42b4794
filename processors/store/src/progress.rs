//! The table `progress`: the last version of each stream that was folded into a view (sequence check of an idempotent consumer), and
//! when, for readers: nothing is decided by the time.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::Group;
use crate::columns::{self, bind_columns};
use crate::statements::statements;

statements! {
    /// Each by its key: `OFFSET 0` keeps the planner, which may have outdated statistics of a growing table, from joining otherwise.
    LOAD = "SELECT place, found.* FROM UNNEST($1::text[], $2::int[], $3::text[], $4::text[])
             WITH ORDINALITY AS asked(grp, generation, context, stream, place)
         CROSS JOIN LATERAL (
             SELECT version, p.ctid::text, p.xmin::text FROM progress AS p
             WHERE p.grp = asked.grp AND p.generation = asked.generation AND p.context = asked.context
               AND p.stream = asked.stream OFFSET 0) AS found";
    /// By `ctid`: a join over the keys would be planned with the outdated statistics of a growing table. The time of the statement,
    /// not of the transaction, which may have begun before the one that wrote the row.
    MOVE_ON = "UPDATE progress SET version = moved.version, applied_at = CASE WHEN moved.version > progress.version
             THEN greatest(progress.applied_at, statement_timestamp()) ELSE progress.applied_at END
         FROM UNNEST($1::text[]::tid[], $2::text[]::xid[], $3::bigint[]) AS moved(at, written, version)
         WHERE progress.ctid = moved.at AND progress.xmin = moved.written";
    BEGIN = "INSERT INTO progress (grp, generation, context, stream, version, applied_at)
         SELECT grp, generation, context, stream, version, CASE WHEN version > 0 THEN statement_timestamp() END
         FROM UNNEST($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[]) AS new(grp, generation, context, stream, version)
         ON CONFLICT DO NOTHING";
    SKIP = "INSERT INTO progress AS known (grp, generation, context, stream, version, applied_at)
         SELECT $1, $2, $3, $4, $5::bigint, statement_timestamp() WHERE $5 = 1 OR EXISTS (
             SELECT FROM progress WHERE grp = $1 AND generation = $2 AND context = $3 AND stream = $4)
         ON CONFLICT (grp, generation, context, stream) DO UPDATE
         SET version = excluded.version, applied_at = greatest(known.applied_at, excluded.applied_at)
         WHERE known.version = excluded.version - 1";
    PUT_BACK = "UPDATE progress SET version = $5
             WHERE grp = $1 AND generation = $2 AND context = $3 AND stream = $4";
    AHEAD = "SELECT s.context, s.stream, coalesce(a.version, 0), s.version
             FROM progress AS s LEFT JOIN progress AS a
                 ON a.grp = s.grp AND a.generation = $3 AND a.context = s.context AND a.stream = s.stream
             WHERE s.grp = $1 AND s.generation = $2 AND (s.context, s.stream) > ($4, $5)
               AND s.version > coalesce(a.version, 0)
             ORDER BY s.context, s.stream LIMIT $6";
    AHEAD_OF = "SELECT s.context, s.stream, coalesce(a.version, 0), s.version
             FROM UNNEST($4::text[], $5::text[]) AS asked(context, stream)
             JOIN progress AS s ON s.grp = $1 AND s.generation = $2 AND s.context = asked.context AND s.stream = asked.stream
             LEFT JOIN progress AS a
                 ON a.grp = s.grp AND a.generation = $3 AND a.context = s.context AND a.stream = s.stream
             WHERE s.version > coalesce(a.version, 0)
             ORDER BY s.context, s.stream";
    UNFOLDED = "SELECT s.context, s.stream, s.version, coalesce(p.version, 0)
         FROM UNNEST($3::text[], $4::text[], $5::bigint[]) AS s(context, stream, version)
         LEFT JOIN progress AS p
             ON p.grp = $1 AND p.generation = $2 AND p.context = s.context AND p.stream = s.stream
         WHERE coalesce(p.version, 0) < s.version";
    REACHED = "SELECT p.grp, p.context, p.stream, p.version, p.applied_at
         FROM UNNEST($1::text[], $2::int[], $3::text[], $4::text[]) AS asked(grp, generation, context, stream)
         JOIN progress AS p ON p.grp = asked.grp AND p.generation = asked.generation AND p.context = asked.context
              AND p.stream = asked.stream";
    REMOVE = "DELETE FROM progress WHERE grp = $1 AND generation = $2";
}

/// The physical version of a row that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its `ctid`.
    pub ctid: String,
    /// Its `xmin`, the transaction that has written it.
    pub xmin: String,
}

/// A stream of a context, as a generation of a group has folded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'k> {
    /// The group's id.
    pub group: &'k str,
    /// Its generation.
    pub generation: i32,
    /// The context.
    pub context: &'k str,
    /// The stream.
    pub stream: &'k str,
}

/// The progress of streams: version and row of each, `None` for one that has no row. They need not be of one group.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn load(connection: &mut PgConnection, keys: &[Key<'_>]) -> sqlx::Result<Vec<Option<(i64, Row)>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let load = bind_columns!(sqlx::query_as(LOAD), keys, key =>
        key.group, key.generation, key.context, key.stream
    );
    let rows: Vec<(i64, i64, String, String)> = load.fetch_all(connection).await?;
    let mut found = vec![None; keys.len()];
    for (place, version, ctid, xmin) in rows {
        if let Some(at) = columns::place(place).and_then(|at| found.get_mut(at)) {
            *at = Some((version, Row { ctid, xmin }));
        }
    }
    Ok(found)
}

/// Sets the versions of rows that have not changed since they were read; returns how many.
///
/// # Errors
/// Database errors.
pub async fn move_on(connection: &mut PgConnection, rows: &[(&Row, i64)]) -> sqlx::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let moved = bind_columns!(sqlx::query(MOVE_ON), rows, (row, version) =>
        row.ctid.as_str(), row.xmin.as_str(), *version
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected())
}

/// Inserts rows of streams that have none, with their versions; returns how many.
///
/// # Errors
/// Database errors.
pub async fn begin(connection: &mut PgConnection, streams: &[(Key<'_>, i64)]) -> sqlx::Result<u64> {
    if streams.is_empty() {
        return Ok(0);
    }
    let begin = bind_columns!(sqlx::query(BEGIN), streams, (key, version) =>
        key.group, key.generation, key.context, key.stream, *version
    );
    let begun = begin.execute(connection).await?;
    Ok(begun.rows_affected())
}

/// Context, stream and version.
pub type At<'s> = (&'s str, &'s str, i64);

/// Sets the progress of a stream to a version if it is the next one.
///
/// # Errors
/// Database errors.
pub async fn skip(
    connection: &mut PgConnection,
    group: &Group,
    (context, stream, version): At<'_>,
) -> sqlx::Result<()> {
    let skip = sqlx::query(SKIP).bind(&group.id).bind(group.generation);
    skip.bind(context).bind(stream).bind(version).execute(connection).await.map(|_| ())
}

/// Sets the progress of a stream back to a version. `applied_at` stays at the time of the attempt: at that time it was there.
///
/// # Errors
/// Database errors.
pub async fn put_back(
    connection: &mut PgConnection,
    group: &Group,
    (context, stream, version): At<'_>,
) -> sqlx::Result<()> {
    let put_back = sqlx::query(PUT_BACK).bind(&group.id).bind(group.generation);
    put_back.bind(context).bind(stream).bind(version).execute(connection).await.map(|_| ())
}

/// Two generations of a group, and the stream after which the comparison begins.
#[derive(Debug, Clone, Copy)]
pub struct Behind<'b> {
    /// The group.
    pub group: &'b str,
    /// The generation that is ahead.
    pub serving: i32,
    /// The generation that is behind.
    pub generation: i32,
    /// Context and stream.
    pub after: (&'b str, &'b str),
}

/// The next streams that one generation has folded further than the other: context, stream, both versions, the lower first.
///
/// # Errors
/// Database errors.
pub async fn ahead(
    connection: &mut PgConnection,
    Behind { group, serving, generation, after: (context, stream) }: Behind<'_>,
    most: i64,
) -> sqlx::Result<Vec<(String, String, i64, i64)>> {
    let ahead = sqlx::query_as(AHEAD).bind(group).bind(serving).bind(generation);
    ahead.bind(context).bind(stream).bind(most).fetch_all(connection).await
}

/// Those of some streams that one generation has folded further than the other; columns as of [`ahead`].
///
/// # Errors
/// Database errors.
pub async fn ahead_of(
    connection: &mut PgConnection,
    (group, serving, generation): (&str, i32, i32),
    streams: &[(String, String)],
) -> sqlx::Result<Vec<(String, String, i64, i64)>> {
    let ahead = sqlx::query_as(AHEAD_OF).bind(group).bind(serving).bind(generation);
    bind_columns!(ahead, streams, (context, stream) => context.as_str(), stream.as_str())
        .fetch_all(connection)
        .await
}

/// Those of some streams (context, stream, version) that are not folded up to that version, with the progress of each.
///
/// # Errors
/// Database errors.
pub async fn unfolded(
    executor: impl PgExecutor<'_>,
    group: &Group,
    streams: &[(String, String, i64)],
) -> sqlx::Result<Vec<(String, String, i64, i64)>> {
    bind_columns!(sqlx::query_as(UNFOLDED).bind(&group.id).bind(group.generation), streams, stream =>
        stream.0.as_str(), stream.1.as_str(), stream.2
    )
    .fetch_all(executor)
    .await
}

/// Removes the rows of a generation.
///
/// # Errors
/// Database errors.
pub async fn remove(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(REMOVE).bind(group).bind(generation).execute(connection).await.map(|_| ())
}

/// How far a generation of a group has folded a stream: group, context, stream, version, and when.
pub type Reached = (String, String, String, i64, Option<DateTime<Utc>>);

/// How far generations of groups have folded streams; none for a stream that was never folded.
///
/// # Errors
/// Database errors.
pub async fn reached(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, i32, &str, &str)],
) -> sqlx::Result<Vec<Reached>> {
    bind_columns!(sqlx::query_as(REACHED), asked, (group, generation, context, stream) =>
        *group, *generation, *context, *stream
    )
    .fetch_all(executor)
    .await
}
