//! What retention removes, some rows at a time.

use chrono::{DateTime, Utc};

use crate::timestamp::{Nearest, believable};

/// Rows that are removed at a time.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Older than this.
    pub before: DateTime<Utc>,
    /// Where the batch before ended: what it left behind is not looked at again.
    pub from: Option<DateTime<Utc>>,
    /// At most so many.
    pub most: i64,
}

/// How many rows are to be removed, and how old they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aged {
    /// The rows.
    pub rows: i64,
    /// The age of the oldest begins here.
    pub oldest: Option<DateTime<Utc>>,
}

impl Aged {
    pub(crate) fn of((rows, oldest): (i64, Option<Nearest>)) -> Self {
        Self { rows, oldest: oldest.map(|Nearest(oldest)| oldest) }
    }
}

/// How far a batch came. A time that no clock has is none to go on from.
pub(crate) fn reached(times: impl Iterator<Item = Nearest>) -> Option<DateTime<Utc>> {
    times.map(|Nearest(time)| time).filter(believable).max()
}
