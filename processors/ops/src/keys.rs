//! The keys of a published view's rows, page by page.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};

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

/// The first keys after a given one, in order; of all rows, or only of those with a value in a column.
pub(crate) async fn after(
    connection: &mut PgConnection,
    (table, column): (&str, &str),
    after: &str,
    only: Option<(&str, &str)>,
) -> sqlx::Result<Vec<String>> {
    let (restricted, value) = only.map_or((column, None), |(restricted, value)| (restricted, Some(value)));
    let keys = format!(
        "SELECT \"{column}\" FROM \"{table}\"
         WHERE version > 0 AND \"{column}\" > $1 AND ($2::text IS NULL OR \"{restricted}\" = $2)
         ORDER BY \"{column}\" LIMIT $3"
    );
    sqlx::query_scalar(AssertSqlSafe(keys)).bind(after).bind(value).bind(PAGE).fetch_all(connection).await
}

/// The first keys of a customer's rows in an SQL view, in order.
pub(crate) async fn of_customer(
    executor: impl PgExecutor<'_>,
    (view, column): (&str, &str),
    customer_id: &str,
    most: i64,
) -> sqlx::Result<Vec<String>> {
    let keys = format!("SELECT \"{column}\" FROM \"{view}\" WHERE customer_id = $1 ORDER BY 1 LIMIT $2");
    sqlx::query_scalar(AssertSqlSafe(keys)).bind(customer_id).bind(most).fetch_all(executor).await
}
