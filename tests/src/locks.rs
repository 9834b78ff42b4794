//! Lock waits in Postgres.

use sqlx::{PgConnection, PgPool};

use crate::Instance;

const WAITING: &str = "
    WITH RECURSIVE waiting AS (
        SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)) AND application_name = $2
        UNION
        SELECT behind.pid FROM pg_stat_activity AS behind
        JOIN waiting ON waiting.pid = ANY(pg_blocking_pids(behind.pid)) AND application_name = $2)
    SELECT count(*) FROM waiting";

/// A session of a story that holds locks.
#[derive(Debug, Clone, Copy)]
pub struct Foreign(i32);

impl Foreign {
    /// The session of this connection.
    ///
    /// # Panics
    /// When Postgres does not answer.
    pub async fn of(connection: &mut PgConnection) -> Self {
        Self(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await.expect("our pid"))
    }

    /// Its backend's process id.
    pub fn pid(self) -> i32 {
        self.0
    }

    /// How many sessions of an instance wait for a lock that this one holds, or for one of a session that does. Those of
    /// other instances do not count: creating a replication slot waits for all sessions.
    ///
    /// # Panics
    /// When Postgres does not answer.
    pub async fn is_waited_for(self, instance: &Instance, database: &PgPool) -> i64 {
        let waiting = sqlx::query_scalar(WAITING).bind(self.0).bind(instance.session_name());
        waiting.fetch_one(database).await.expect("sessions")
    }
}
