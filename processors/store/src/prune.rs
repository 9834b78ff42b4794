//! Batches of rows that retention removes.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::timestamp::{Nearest, believable};

/// A batch of rows to remove.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Older than this.
    pub before: DateTime<Utc>,
    /// The time that the previous batch has reached: rows before it are not examined again.
    pub from: Option<DateTime<Utc>>,
    /// At most this many.
    pub most: i64,
}

/// The number and age of rows to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aged {
    /// The rows.
    pub rows: i64,
    /// The time of the oldest.
    pub oldest: Option<DateTime<Utc>>,
}

impl Aged {
    pub(crate) fn of((rows, oldest): (i64, Option<Nearest>)) -> Self {
        Self { rows, oldest: oldest.map(|Nearest(oldest)| oldest) }
    }
}

/// Executes a statement that removes a batch (`$1` before, `$2` from, `$3` at most) and returns the time of each row; returns how
/// many, and the time that it has reached.
pub(crate) async fn remove(
    connection: &mut PgConnection,
    statement: &'static str,
    Batch { before, from, most }: Batch,
) -> sqlx::Result<(usize, Option<DateTime<Utc>>)> {
    let gone = sqlx::query_scalar(statement).bind(before).bind(from).bind(most).fetch_all(connection);
    let gone: Vec<Nearest> = gone.await?;
    Ok((gone.len(), reached(gone.into_iter())))
}

/// The time that a batch has reached; `None` when it is out of range.
pub(crate) fn reached(times: impl Iterator<Item = Nearest>) -> Option<DateTime<Utc>> {
    times.map(|Nearest(time)| time).filter(believable).max()
}
