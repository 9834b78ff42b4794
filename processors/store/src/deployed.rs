//! The table `deployed`: the releases that have set an instance up, separately for each side.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    IS_THERE = "SELECT to_regclass('deployed') IS NOT NULL";
    RELEASE = "SELECT release FROM deployed ORDER BY id DESC LIMIT 1";
    INSERT = "INSERT INTO deployed (release, tables, oldest) VALUES ($1, $2, $3)";
    SAYS_SUPPORT = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('deployed') AND attname = 'oldest')";
    SUPPORT = "SELECT max(tables), max(oldest) FROM deployed";
}

/// The release that has set the instance up last; `None` when only releases without a number have.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn release(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    match sqlx::query_scalar(IS_THERE).fetch_one(&mut *connection).await? {
        true => sqlx::query_scalar(RELEASE).fetch_optional(connection).await,
        false => Ok(None),
    }
}

/// The releases that can work on the existing tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Support {
    /// The version of the tables to which this refers.
    pub tables: i64,
    /// The lowest release that can.
    pub oldest: i32,
}

/// Whether there are the columns for [`Support`] yet.
///
/// # Errors
/// Database errors.
pub async fn says_support(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(SAYS_SUPPORT).fetch_one(connection).await
}

/// The stored [`Support`] of the tables.
///
/// # Errors
/// Database errors, also before the tables have the columns for it ([`says_support`]).
pub async fn support(connection: &mut PgConnection) -> sqlx::Result<Support> {
    let (tables, oldest): (Option<i64>, Option<i32>) = sqlx::query_as(SUPPORT).fetch_one(connection).await?;
    Ok(Support { tables: tables.unwrap_or_default(), oldest: oldest.unwrap_or_default() })
}

/// Records that a release sets the instance up.
///
/// # Errors
/// Database errors.
pub async fn insert(connection: &mut PgConnection, release: i32, support: Support) -> sqlx::Result<()> {
    let Support { tables, oldest } = support;
    sqlx::query(INSERT).bind(release).bind(tables).bind(oldest).execute(connection).await.map(|_| ())
}
