//! The table `refolded`: states of long streams that are folded again from their events, up to a version.

use sqlx::PgConnection;

use crate::statements::statements;

statements! {
    LOAD = "SELECT version, state::text FROM refolded WHERE context = $1 AND id = $2 AND state_version = $3 AND version <= $4";
    PUT = "INSERT INTO refolded AS known (context, id, state_version, version, state) VALUES ($1, $2, $3, $4, $5::json)
         ON CONFLICT (context, id) DO UPDATE
         SET state_version = excluded.state_version, version = excluded.version, state = excluded.state
         WHERE known.state_version <> excluded.state_version OR known.version < excluded.version";
}

/// A stream and the version of the code that folds it.
#[derive(Debug, Clone, Copy)]
pub struct Of<'s> {
    /// The context.
    pub context: &'s str,
    /// The stream.
    pub id: &'s str,
    /// The version of the code.
    pub state_version: i32,
}

/// How far a stream is folded, no further than a version, and its state then.
///
/// # Errors
/// The database's, as of every function here.
pub async fn load(
    connection: &mut PgConnection,
    of: Of<'_>,
    upto: i64,
) -> sqlx::Result<Option<(i64, Option<String>)>> {
    let load = sqlx::query_as(LOAD).bind(of.context).bind(of.id).bind(of.state_version).bind(upto);
    load.fetch_optional(connection).await
}

/// Writes a state, if none is there that was folded further.
///
/// # Errors
/// The database's.
pub async fn put(
    connection: &mut PgConnection,
    of: Of<'_>,
    version: i64,
    state: Option<&str>,
) -> sqlx::Result<()> {
    let put = sqlx::query(PUT).bind(of.context).bind(of.id).bind(of.state_version);
    put.bind(version).bind(state).execute(connection).await.map(|_| ())
}
