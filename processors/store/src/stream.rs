//! The table `stream`: one row for each stream, its version and the state that its events fold to.

use sqlx::{PgConnection, PgExecutor};

use crate::columns::bind_columns;
use crate::statements::statements;

statements! {
    INSERT_MISSING = "INSERT INTO stream (context, id, version, state_version)
         SELECT $1, id, 0, $2 FROM UNNEST($3::text[]) AS missing(id) ORDER BY id COLLATE \"C\"
         ON CONFLICT DO NOTHING";
    LOCK = "SELECT id, version, ctid::text, version > 0 AND state_version > $3 FROM stream
         WHERE context = $1 AND id = ANY($2) ORDER BY id COLLATE \"C\" FOR UPDATE";
    STATES = "SELECT id, version, CASE WHEN state_version = $3 THEN state::text END, state_version > $3 FROM stream
         WHERE context = $1 AND id = ANY($2)";
    /// Each by its key (enforced by OFFSET 0): a join would be planned with the outdated statistics of a growing table.
    REFERENCED = "SELECT s.* FROM UNNEST($2::text[], $3::bigint[]) AS known(id, version) CROSS JOIN LATERAL (
             SELECT id, version, version = known.version,
                    CASE WHEN version <> known.version AND state_version = $4 THEN state::text END, state_version > $4
             FROM stream WHERE context = $1 AND id = known.id AND version > 0 OFFSET 0) AS s";
    /// By `ctid` of the locked rows: a join over the ids would be planned with the outdated statistics of a table that may just
    /// have been filled.
    UPDATE = "UPDATE stream SET version = new.version, state_version = $1, state = new.state::json
         FROM UNNEST($2::text[]::tid[], $3::bigint[], $4::text[]) AS new(at, version, state)
         WHERE stream.ctid = new.at";
    USED = "SELECT wanted FROM UNNEST($1::text[]) AS wanted
         WHERE EXISTS (SELECT FROM stream WHERE context = wanted AND version > 0) LIMIT 1";
    /// Each by its key: no index begins with the id.
    CONTEXTS_OF = "SELECT context FROM stream WHERE context = ANY($1) AND id = $2 AND version > 0 ORDER BY 1";
    /// Each by its key.
    VERSIONS = "SELECT s.* FROM UNNEST($1::text[], $2::text[]) AS wanted(context, id) CROSS JOIN LATERAL (
             SELECT context, id, version FROM stream
             WHERE context = wanted.context AND id = wanted.id AND version > 0 OFFSET 0) AS s
         ORDER BY 1, 2";
    /// The stream that ends the next part, found by OFFSET.
    BEHIND = "SELECT context, id FROM stream WHERE (context, id) > ($1, $2) ORDER BY context, id OFFSET $3 LIMIT 1";
    IS_THERE = "SELECT to_regclass('stream') IS NOT NULL";
    LONG = "SELECT id, version FROM stream WHERE context = $1 AND id > $2 AND version > $3 AND state_version < $4
         ORDER BY id LIMIT $5";
    EVENTS = "SELECT coalesce(sum(version), 0)::bigint FROM stream";
    ABOUT = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'stream'::regclass";
}

/// Inserts missing streams at version 0, in a fixed order.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn insert_missing(
    connection: &mut PgConnection,
    context: &str,
    state_version: i32,
    ids: &[&String],
) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(INSERT_MISSING).bind(context).bind(state_version).bind(ids);
    insert.execute(connection).await.map(|_| ())
}

/// The number of events of all streams.
///
/// # Errors
/// Database errors.
pub async fn events(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(EVENTS).fetch_one(executor).await
}

/// The versions up to which some streams are written: context and id of each. Streams without events are left out.
///
/// # Errors
/// Database errors.
pub async fn versions(
    executor: impl PgExecutor<'_>,
    streams: &[(String, String)],
) -> sqlx::Result<Vec<(String, String, i64)>> {
    bind_columns!(sqlx::query_as(VERSIONS), streams, (context, id) => context.as_str(), id.as_str())
        .fetch_all(executor)
        .await
}

/// A locked stream: id, version, `ctid`, which does not change while the row is locked, and whether its state was written by code
/// of a later version.
pub type Locked = (String, i64, String, bool);

/// Locks streams in a fixed order.
///
/// # Errors
/// Database errors.
pub async fn lock(
    connection: &mut PgConnection,
    context: &str,
    state_version: i32,
    ids: Vec<&String>,
) -> sqlx::Result<Vec<Locked>> {
    sqlx::query_as(LOCK).bind(context).bind(ids).bind(state_version).fetch_all(connection).await
}

/// Id, version, the state as JSON (`None` when it is missing or was written by code of another version), and whether that version
/// is a later one.
pub type State = (String, i64, Option<String>, bool);

/// The states of streams.
///
/// # Errors
/// Database errors.
pub async fn states(
    connection: &mut PgConnection,
    context: &str,
    state_version: i32,
    ids: Vec<String>,
) -> sqlx::Result<Vec<State>> {
    sqlx::query_as(STATES).bind(context).bind(ids).bind(state_version).fetch_all(connection).await
}

/// A stream as in [`State`], with whether its version is the known one; then without the state.
pub type Referenced = (String, i64, bool, Option<String>, bool);

/// Existing streams, by id and known version.
///
/// # Errors
/// Database errors.
pub async fn referenced(
    connection: &mut PgConnection,
    context: &str,
    state_version: i32,
    (ids, known): (Vec<String>, Vec<i64>),
) -> sqlx::Result<Vec<Referenced>> {
    let referenced = sqlx::query_as(REFERENCED).bind(context).bind(ids).bind(known).bind(state_version);
    referenced.fetch_all(connection).await
}

/// The new values of a locked stream.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'s> {
    /// The `ctid` from [`lock`].
    pub ctid: &'s str,
    /// The new version.
    pub version: i64,
    /// The new state.
    pub state: &'s str,
}

/// Writes locked streams.
///
/// # Errors
/// Database errors.
pub async fn update(
    connection: &mut PgConnection,
    state_version: i32,
    streams: &[Changed<'_>],
) -> sqlx::Result<()> {
    bind_columns!(sqlx::query(UPDATE).bind(state_version), streams, stream =>
        stream.ctid, stream.version, stream.state
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// One of some contexts that has streams, if there is one.
///
/// # Errors
/// Database errors.
pub async fn used(executor: impl PgExecutor<'_>, contexts: &[&str]) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(USED).bind(contexts).fetch_optional(executor).await
}

/// Those of some contexts that have a stream of this id.
///
/// # Errors
/// Database errors.
pub async fn contexts_of(
    executor: impl PgExecutor<'_>,
    contexts: &[&str],
    id: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(CONTEXTS_OF).bind(contexts).bind(id).fetch_all(executor).await
}

/// The stream that comes a number of streams after another; `None` when there are fewer.
///
/// # Errors
/// Database errors.
pub async fn behind(
    executor: impl PgExecutor<'_>,
    (context, id): &(String, String),
    many: i64,
) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as(BEHIND).bind(context).bind(id).bind(many - 1).fetch_optional(executor).await
}

/// Whether the table exists yet.
///
/// # Errors
/// Database errors.
pub async fn is_there(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(IS_THERE).fetch_one(executor).await
}

/// The next streams of a context, by id, with more than `min` events and a state of an earlier version of the code: id and version.
///
/// # Errors
/// Database errors.
pub async fn long(
    executor: impl PgExecutor<'_>,
    context: &str,
    state_version: i32,
    (after, min, limit): (&str, i64, i64),
) -> sqlx::Result<Vec<(String, i64)>> {
    let long = sqlx::query_as(LONG).bind(context).bind(after).bind(min).bind(state_version).bind(limit);
    long.fetch_all(executor).await
}

/// An estimate of the number of streams.
///
/// # Errors
/// Database errors.
pub async fn about(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(ABOUT).fetch_one(executor).await
}
