//! Statements that wait until other sessions end their transactions: the log names those sessions.

use std::pin::pin;
use std::time::Duration;

use sqlx::PgConnection;

use crate::postgres::Database;

/// How long a statement waits before the log names whom it waits for. From then on the times between are twice as long.
const NAMED_AFTER: Duration = Duration::from_secs(1);
/// The longest time between.
const NAMED_EVERY: Duration = Duration::from_secs(60);

/// A prepared transaction has no session.
const HOLDERS: &str = "
    SELECT DISTINCT CASE WHEN pid = 0 THEN 'a prepared transaction (pg_prepared_xacts)'
        ELSE concat_ws(', ', 'pid ' || pid, nullif(application_name, ''), 'user ' || usename, 'database ' || datname, state,
                       extract(epoch FROM clock_timestamp() - xact_start)::bigint || ' s in this transaction') END
    FROM unnest(pg_blocking_pids($1)) AS blocking(pid) LEFT JOIN pg_stat_activity USING (pid) ORDER BY 1";

/// A session whose statements may wait.
pub(super) struct Waiting<'d> {
    database: &'d Database,
    pid: i32,
    /// Those that the last statement waited for, when the log has named them.
    pub(super) holders: Vec<String>,
}

impl<'d> Waiting<'d> {
    /// The session of this connection.
    pub(super) async fn of(database: &'d Database, connection: &mut PgConnection) -> sqlx::Result<Self> {
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
        Ok(Self { database, pid, holders: Vec::new() })
    }

    /// Awaits the session's statements. While one waits for locks, the log names the sessions that hold them.
    pub(super) async fn until<T, E>(
        &mut self,
        what: &str,
        statements: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let (mut statements, mut after) = (pin!(statements), NAMED_AFTER);
        loop {
            match tokio::time::timeout(after, &mut statements).await {
                Ok(done) => return done,
                Err(_elapsed) => self.name_holders(what).await,
            }
            after = (after * 2).min(NAMED_EVERY);
        }
    }

    /// A statement that works and does not wait has none.
    async fn name_holders(&mut self, what: &str) {
        let holders = sqlx::query_scalar(HOLDERS).bind(self.pid).fetch_all(&self.database.pool).await;
        let holders: Vec<String> = match holders {
            Ok(holders) => holders,
            // The statement goes on.
            Err(error) => return tracing::debug!(%error, what, "whom it waits for is not known"),
        };
        if !holders.is_empty() {
            tracing::warn!(?holders, "{what} waits until these sessions end their transactions");
            self.holders = holders;
        }
    }
}
