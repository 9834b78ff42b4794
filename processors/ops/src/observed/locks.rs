//! Sessions of the instance that wait for a lock.

use super::family::{self, Figure, number};
use crate::failure::Failure;
use crate::postgres::Database;

/// By the `application_name` that all sessions of an instance have.
const WAITING: &str = "
    SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)::float8
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE NOT l.granted AND a.application_name = current_setting('application_name')
      AND a.datname = current_database()";

/// How many wait on each side, and for how long the first of them.
pub(super) async fn look(write: &Database, read: &Database) -> Result<Vec<Figure>, Failure> {
    let (on_write, on_read) = tokio::try_join!(of(write, "write"), of(read, "read"))?;
    Ok([on_write, on_read].concat())
}

async fn of(database: &Database, side: &'static str) -> Result<[Figure; 2], Failure> {
    let asked = async {
        let found = sqlx::query_as::<_, (i64, f64)>(WAITING).fetch_one(&database.pool).await;
        found.map_err(|error| database.failure(error))
    };
    let (count, longest) = database.in_time(asked).await?;
    Ok([family::LOCK_WAITS.is([side], number(count)), family::LOCK_WAIT_SECONDS.is([side], longest)])
}
