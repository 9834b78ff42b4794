//! The table `refolded`: intermediate states of long streams that are being folded again from their events.

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

/// The latest stored state of a stream up to a version, with its version.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn load(
    connection: &mut PgConnection,
    of: Of<'_>,
    upto: i64,
) -> sqlx::Result<Option<(i64, Option<String>)>> {
    let load = sqlx::query_as(LOAD).bind(of.context).bind(of.id).bind(of.state_version).bind(upto);
    load.fetch_optional(connection).await
}

/// Writes a state unless a later one is stored.
///
/// # Errors
/// Database errors.
pub async fn put(
    connection: &mut PgConnection,
    of: Of<'_>,
    version: i64,
    state: Option<&str>,
) -> sqlx::Result<()> {
    let put = sqlx::query(PUT).bind(of.context).bind(of.id).bind(of.state_version);
    put.bind(version).bind(state).execute(connection).await.map(|_| ())
}
