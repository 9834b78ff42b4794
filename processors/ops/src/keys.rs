//! The keys of a published view's rows, page by page.

use sqlx::{AssertSqlSafe, PgConnection};

/// Keys in a page.
pub(crate) const PAGE: i64 = 500;

/// The first keys after a given one in a table that lists keys, possibly repeated.
pub(crate) async fn noted_after(
    connection: &mut PgConnection,
    (table, column): (&str, &str),
    after: &str,
) -> sqlx::Result<Vec<String>> {
    let keys = format!(
        "SELECT DISTINCT \"{column}\" FROM \"{table}\" WHERE \"{column}\" > $1 ORDER BY \"{column}\" LIMIT $2"
    );
    sqlx::query_scalar(AssertSqlSafe(keys)).bind(after).bind(PAGE).fetch_all(connection).await
}

/// The first keys after a given one, in order; of all rows, or only a single key.
pub(crate) async fn after(
    connection: &mut PgConnection,
    (table, column): (&str, &str),
    after: &str,
    only: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    let keys = format!(
        "SELECT \"{column}\" FROM \"{table}\"
         WHERE version > 0 AND \"{column}\" > $1 AND ($2::text IS NULL OR \"{column}\" = $2)
         ORDER BY \"{column}\" LIMIT $3"
    );
    sqlx::query_scalar(AssertSqlSafe(keys)).bind(after).bind(only).bind(PAGE).fetch_all(connection).await
}
