//! Keys whose records wait: one row each, which main and retry workers lock before they touch the key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_store::Group;
use millrace_store::database::milliseconds;
use sqlx::PgConnection;

use crate::dead_letters::storable;
use crate::error::{Fault, WorkError};
use crate::record::Record;

/// What a key waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Its head's next try.
    Retrying,
    /// Somebody who redrives or discards its head, a dead letter.
    Dead,
    /// A version that is not here.
    Gap,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Retrying => "retrying",
            Status::Dead => "dead",
            Status::Gap => "gap",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "retrying" => Status::Retrying,
            "dead" => Status::Dead,
            _ => Status::Gap,
        }
    }
}

/// The row of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) status: Status,
    /// Partition and offset of the head; none while a version is missing.
    pub(super) head: Option<(i32, i64)>,
    /// How often the head was tried.
    pub(super) attempts: usize,
    due_in: Duration,
    code: Option<&'static str>,
    message: Option<String>,
}

impl Blocked {
    pub(super) fn gap() -> Self {
        let due_in = Duration::ZERO;
        Self { status: Status::Gap, head: None, attempts: 0, due_in, code: None, message: None }
    }

    pub(super) fn at(status: Status, head: &Record, attempts: usize, fault: Option<&Fault>) -> Self {
        Self {
            status,
            head: Some((head.partition, head.offset)),
            attempts,
            code: fault.map(|fault| fault.code),
            message: fault.map(|fault| storable(&fault.message)),
            ..Self::gap()
        }
    }

    pub(super) fn due_in(self, due_in: Duration) -> Self {
        Self { due_in, ..self }
    }
}

/// Key, status, partition and offset of the head, attempts.
type Row = (Vec<u8>, String, Option<i32>, Option<i64>, i32);

/// Whether any key of a topic is blocked; most of the time none is.
pub(super) async fn any(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
) -> Result<bool, WorkError> {
    let any = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM blocked_key WHERE grp = $1 AND generation = $2 AND topic = $3)",
    );
    Ok(any.bind(&group.id).bind(group.generation).bind(topic).fetch_one(connection).await?)
}

/// Locks the blocked ones among the keys of a topic's records.
pub(super) async fn lock(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    records: &[&Record],
) -> Result<BTreeMap<Vec<u8>, Blocked>, WorkError> {
    let keys: BTreeSet<&[u8]> = records.iter().map(|record| record.turn()).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT key, status, partition, \"offset\", attempts FROM blocked_key
         WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = ANY($4)
         ORDER BY key FOR UPDATE",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(topic)
    .bind(keys.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let blocked = rows.into_iter().map(|(key, status, partition, offset, attempts)| {
        let (status, attempts) = (Status::of(&status), usize::try_from(attempts).unwrap_or_default());
        (key, Blocked { status, head: partition.zip(offset), attempts, ..Blocked::gap() })
    });
    Ok(blocked.collect())
}

/// Blocks keys of a topic, or changes why they are.
pub(super) async fn put(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    rows: &BTreeMap<Vec<u8>, Blocked>,
) -> Result<(), WorkError> {
    write(connection, group, topic, rows, true).await
}

/// Blocks keys of a topic that were not blocked; one that an operator's redrive has blocked since stays as it is.
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
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO blocked_key
             (grp, generation, topic, key, status, partition, \"offset\", attempts, due_at, code, message)
         SELECT $1, $2, $3, key, status, partition, \"offset\", attempts, now() + due_in * interval '1 ms', code, message
         FROM UNNEST($4::bytea[], $5::text[], $6::int[], $7::bigint[], $8::int[], $9::bigint[], $10::text[], $11::text[])
              AS waiting(key, status, partition, \"offset\", attempts, due_in, code, message)
         ORDER BY key
         ON CONFLICT (grp, generation, topic, key) DO UPDATE
         SET status = excluded.status, partition = excluded.partition, \"offset\" = excluded.\"offset\",
             attempts = excluded.attempts, due_at = excluded.due_at, code = excluded.code, message = excluded.message
         WHERE $12",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(topic)
    .bind(rows.keys().map(Vec::as_slice).collect::<Vec<_>>())
    .bind(rows.values().map(|b| b.status.as_str()).collect::<Vec<_>>())
    .bind(rows.values().map(|b| b.head.map(|(partition, _)| partition)).collect::<Vec<_>>())
    .bind(rows.values().map(|b| b.head.map(|(_, offset)| offset)).collect::<Vec<_>>())
    .bind(rows.values().map(|b| i32::try_from(b.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(rows.values().map(|b| milliseconds(b.due_in)).collect::<Vec<_>>())
    .bind(rows.values().map(|b| b.code).collect::<Vec<_>>())
    .bind(rows.values().map(|b| b.message.as_deref()).collect::<Vec<_>>())
    .bind(over)
    .execute(connection)
    .await?;
    Ok(())
}

/// Nothing of the key waits any more.
pub(super) async fn free(
    connection: &mut PgConnection,
    group: &Group,
    topic: &str,
    key: &[u8],
) -> Result<(), WorkError> {
    sqlx::query("DELETE FROM blocked_key WHERE grp = $1 AND generation = $2 AND topic = $3 AND key = $4")
        .bind(&group.id)
        .bind(group.generation)
        .bind(topic)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}
