//! The table `deployed`: which releases have set an instance up, each side for itself.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    IS_THERE = "SELECT to_regclass('deployed') IS NOT NULL";
    RELEASE = "SELECT release FROM deployed ORDER BY id DESC LIMIT 1";
    INSERT = "INSERT INTO deployed (release) VALUES ($1)";
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

/// Writes down that a release sets the instance up.
///
/// # Errors
/// The database's.
pub async fn insert(connection: &mut PgConnection, release: i32) -> sqlx::Result<()> {
    sqlx::query(INSERT).bind(release).execute(connection).await.map(|_| ())
}
