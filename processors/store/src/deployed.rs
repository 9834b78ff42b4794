//! The table `deployed`: which releases have set an instance up, each side for itself.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    IS_THERE = "SELECT to_regclass('deployed') IS NOT NULL";
    RELEASE = "SELECT release FROM deployed ORDER BY id DESC LIMIT 1";
    INSERT = "INSERT INTO deployed (release, tables, oldest) VALUES ($1, $2, $3)";
    SUPPORT = "SELECT max(tables), max(oldest) FROM deployed";
}

/// The release that has set the instance up last; `None` before one with a number did.
///
/// # Errors
/// The database's, as of every function here.
pub async fn release(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    match sqlx::query_scalar(IS_THERE).fetch_one(&mut *connection).await? {
        true => sqlx::query_scalar(RELEASE).fetch_optional(connection).await,
        false => Ok(None),
    }
}

/// Which releases may work on the tables that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Support {
    /// The version of the tables for which that is known.
    pub tables: i64,
    /// The lowest release that may.
    pub oldest: i32,
}

/// What releases have written down of the tables.
///
/// # Errors
/// The database's, also before the tables have the columns for it.
pub async fn support(connection: &mut PgConnection) -> sqlx::Result<Support> {
    let (tables, oldest): (Option<i64>, Option<i32>) = sqlx::query_as(SUPPORT).fetch_one(connection).await?;
    Ok(Support { tables: tables.unwrap_or_default(), oldest: oldest.unwrap_or_default() })
}

/// Writes down that a release sets the instance up.
///
/// # Errors
/// The database's.
pub async fn insert(connection: &mut PgConnection, release: i32, support: Support) -> sqlx::Result<()> {
    let Support { tables, oldest } = support;
    sqlx::query(INSERT).bind(release).bind(tables).bind(oldest).execute(connection).await.map(|_| ())
}
