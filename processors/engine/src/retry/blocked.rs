//! Blocked keys: one row each, which workers of source and retry topics lock before they process records of the key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_store::Group;
use millrace_store::blocked_key::{self, Row, Status};
use sqlx::PgConnection;

use crate::dead_letters::storable;
use crate::error::{Fault, WorkError};
use crate::record::Record;

/// The row of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) status: Status,
    /// Partition and offset of the blocking record; none while a version is missing.
    pub(super) blocking: Option<(i32, i64)>,
    /// Failed attempts at the blocking record.
    pub(super) attempts: usize,
    due_in: Duration,
    code: Option<&'static str>,
    message: Option<String>,
}

impl Blocked {
    pub(super) fn gap() -> Self {
        let due_in = Duration::ZERO;
        Self { status: Status::Gap, blocking: None, attempts: 0, due_in, code: None, message: None }
    }

    pub(super) fn at(status: Status, blocking: &Record, attempts: usize, fault: Option<&Fault>) -> Self {
        Self {
            status,
            blocking: Some((blocking.partition, blocking.offset)),
            attempts,
            code: fault.map(|fault| fault.code),
            message: fault.map(|fault| storable(&fault.message)),
            ..Self::gap()
        }
    }

    pub(super) fn due_in(self, due_in: Duration) -> Self {
        Self { due_in, ..self }
    }

    fn row<'r>(&'r self, key: &'r [u8]) -> Row<'r> {
        let Self { status, blocking, attempts, due_in, code, message } = self;
        let (status, attempts) = (status.as_str(), i32::try_from(*attempts).unwrap_or(i32::MAX));
        let message = message.as_deref();
        Row { key, status, blocking: *blocking, attempts, due_in: *due_in, code: *code, message }
    }
}

/// Locks the rows of those keys of a topic's records that are blocked.
pub(super) async fn lock(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    records: &[&Record],
) -> Result<BTreeMap<Vec<u8>, Blocked>, WorkError> {
    let keys: BTreeSet<&[u8]> = records.iter().map(|record| record.ordering_key()).collect();
    let rows = blocked_key::lock(connection, group, topic, keys.into_iter().collect()).await?;
    let blocked = rows.into_iter().map(|(key, status, partition, offset, attempts)| {
        let (status, attempts) = (Status::of(&status), usize::try_from(attempts).unwrap_or_default());
        (key, Blocked { status, blocking: partition.zip(offset), attempts, ..Blocked::gap() })
    });
    Ok(blocked.collect())
}

/// Blocks keys of a topic, or updates what they wait for.
pub(super) async fn put(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    rows: &BTreeMap<Vec<u8>, Blocked>,
) -> Result<(), WorkError> {
    write(connection, group, topic, rows, true).await
}

/// Blocks keys of a topic that are not blocked; the row of a key that an operator's redrive has blocked meanwhile stays as it is.
pub(super) async fn put_new(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    rows: &BTreeMap<Vec<u8>, Blocked>,
) -> Result<(), WorkError> {
    write(connection, group, topic, rows, false).await
}

async fn write(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    rows: &BTreeMap<Vec<u8>, Blocked>,
    over: bool,
) -> Result<(), WorkError> {
    let rows: Vec<Row<'_>> = rows.iter().map(|(key, blocked)| blocked.row(key)).collect();
    Ok(blocked_key::put(connection, group, topic, &rows, over).await?)
}
