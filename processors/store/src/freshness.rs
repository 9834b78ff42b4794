//! The SQL view `freshness`: how far the serving generation of each view has folded each stream. Readers see it instead of the tables
//! of the engine.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::columns::bind_columns;
use crate::names::Namespace;

/// The SQL view, with a placeholder for the namespace.
pub const FRESHNESS: &str = include_str!("freshness.sql");
/// Each stream by its key, as its index has it.
const OF_STREAMS: &str = "SELECT f.context, f.stream, f.view, f.version, f.applied_at
    FROM UNNEST($1::text[], $2::text[]) AS wanted (context, stream)
    CROSS JOIN LATERAL (
        SELECT context, stream, view, version, applied_at FROM freshness
        WHERE context = wanted.context AND stream = wanted.stream OFFSET 0) AS f
    ORDER BY 1, 2, 3";
const REACHED: &str = "SELECT version FROM freshness WHERE view = $1 AND context = $2 AND stream = $3";

/// The statement that creates the SQL view in the schema of the session, which is the namespace's.
pub fn create(namespace: &Namespace) -> String {
    FRESHNESS.replace("{namespace}", &namespace.to_string())
}

/// Context, stream, view, version, and when the view applied that.
pub type Shown = (String, String, String, i64, Option<DateTime<Utc>>);

/// How far the views are with some streams: context and id of each.
///
/// # Errors
/// Database errors.
pub async fn of_streams(
    executor: impl PgExecutor<'_>,
    streams: &[(String, String)],
) -> sqlx::Result<Vec<Shown>> {
    bind_columns!(sqlx::query_as(OF_STREAMS), streams, (context, id) => context.as_str(), id.as_str())
        .fetch_all(executor)
        .await
}

/// The version of a stream that a view has folded; `None` for a stream of which it has folded nothing.
///
/// # Errors
/// Database errors.
pub async fn reached(
    executor: impl PgExecutor<'_>,
    view: &str,
    (context, stream): (&str, &str),
) -> sqlx::Result<Option<i64>> {
    let reached = sqlx::query_scalar(REACHED).bind(view).bind(context).bind(stream);
    reached.fetch_optional(executor).await
}

/// The same as an expression of a statement whose first parameter is the stream. View and context are names of this build.
pub fn of_first_parameter(view: &'static str, context: &'static str) -> String {
    format!("(SELECT version FROM freshness WHERE view = '{view}' AND context = '{context}' AND stream = $1)")
}
