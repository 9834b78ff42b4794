//! The table `folded_ahead`: up to which version of the code setup has folded the states of a context's long streams.

use sqlx::PgExecutor;

use crate::statements::statements;

statements! {
    IS_THERE = "SELECT to_regclass('folded_ahead') IS NOT NULL";
    BEHIND = "SELECT ours.context FROM UNNEST($1::text[], $2::integer[]) AS ours(context, state_version)
         LEFT JOIN folded_ahead AS known USING (context)
         WHERE known.state_version IS NULL OR known.state_version < ours.state_version ORDER BY 1";
    PUT = "INSERT INTO folded_ahead AS known (context, state_version) VALUES ($1, $2)
         ON CONFLICT (context) DO UPDATE SET state_version = greatest(known.state_version, excluded.state_version)";
}

/// Whether the table exists yet.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn is_there(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(IS_THERE).fetch_one(executor).await
}

/// Those of some contexts, each with the version of this build's code, whose streams were folded by no code of that version yet.
///
/// # Errors
/// Database errors.
pub async fn behind(
    executor: impl PgExecutor<'_>,
    contexts: &[&str],
    versions: &[i32],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(BEHIND).bind(contexts).bind(versions).fetch_all(executor).await
}

/// Records the version of the code that has folded a context's streams.
///
/// # Errors
/// Database errors.
pub async fn put(executor: impl PgExecutor<'_>, context: &str, state_version: i32) -> sqlx::Result<()> {
    sqlx::query(PUT).bind(context).bind(state_version).execute(executor).await.map(|_| ())
}
