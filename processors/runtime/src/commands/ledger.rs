//! The ledger of commands: what was decided is not decided again, and every sender finds a receipt.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_store::{Group, Place};
use sqlx::PgConnection;

use super::arrived::Arrived;
use super::identity::{Fingerprint, Identity, unquoted};
use crate::dead_letters::{self, storable};
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::moments::{broken, mechanism};
use crate::record::Record;
use crate::role::Outcome;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Completed,
    Rejected,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Completed => "completed",
            Status::Rejected => "rejected",
        }
    }
}

/// A decided command's row.
pub(super) struct Receipt {
    pub(super) identity: Identity,
    pub(super) fingerprint: Fingerprint,
    pub(super) record_type: &'static str,
    pub(super) stream: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) produced_at: Option<DateTime<Utc>>,
    pub(super) status: Status,
    pub(super) code: Option<&'static str>,
    pub(super) message: Option<String>,
    /// The last version written of each stream, as JSON.
    pub(super) versions: Option<String>,
}

/// Where commands that died lay, by identity.
pub(super) type Died = HashMap<Identity, Place>;

/// The commands that were not decided yet, each identity once. The same identity with another body is a fault.
/// A dead command counts as not decided: it may be sent again. The record that died is read again only after a reset of
/// the group: it stays what its letter says.
pub(super) async fn fresh<'b, C: Context>(
    connection: &mut PgConnection,
    group: &Group,
    arrived: Vec<Arrived<'b, C>>,
    outcomes: &mut [Outcome],
) -> Result<(Vec<Arrived<'b, C>>, Died), WorkError> {
    let (mut known, died) = known(connection, &arrived).await?;
    let suspects: Vec<&Record> =
        arrived.iter().filter(|one| died.contains_key(&one.identity)).map(|one| one.record).collect();
    let ended = dead_letters::ended(connection, group, &suspects).await?;
    let mut fresh = Vec::with_capacity(arrived.len());
    for command in arrived {
        let outcome = match known.get(&command.identity) {
            None if ended.contains(&command.record.place()) => Outcome::Duplicate,
            None => {
                known.insert(command.identity.clone(), command.fingerprint.clone());
                fresh.push(command);
                continue;
            }
            Some(known) if known.is_of_the_same(&command.fingerprint) => Outcome::Duplicate,
            Some(_) => Outcome::Failed(reused(&command.identity)),
        };
        if let Some(known) = outcomes.get_mut(command.place) {
            *known = outcome;
        }
    }
    Ok((fresh, died))
}

fn reused(identity: &Identity) -> Fault {
    let Identity { source, id } = identity;
    Fault::hopeless(
        "id-reused",
        format!("the id `{id}` of `{source}` was used before for a command with another body"),
    )
}

/// Id, source, fingerprint, status, topic, partition and offset.
type Row = (String, String, Vec<u8>, String, String, i32, i64);

/// The fingerprints of those that are decided, and the places of those that died. Earlier builds took an id in the quotes
/// of JSON as it is: looked for as well.
async fn known<C: Context>(
    connection: &mut PgConnection,
    arrived: &[Arrived<'_, C>],
) -> Result<(HashMap<Identity, Fingerprint>, Died), WorkError> {
    let mut ids: HashSet<&str> = arrived.iter().map(|command| command.identity.id.as_str()).collect();
    ids.extend(arrived.iter().filter_map(|command| command.record.header(envelope::ID)));
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, source, fingerprint, status, topic, partition, \"offset\" FROM command WHERE id = ANY($1)",
    )
    .bind(ids.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let (mut decided, mut died) = (HashMap::new(), Died::new());
    for (id, source, fingerprint, status, topic, partition, offset) in rows {
        let identity = Identity { source: unquoted(&source).into_owned(), id: unquoted(&id).into_owned() };
        if status == "dead" {
            died.insert(identity, Place { topic, partition, offset });
        } else if !broken(mechanism::LEDGER) {
            decided.insert(identity, Fingerprint::stored(fingerprint));
        }
    }
    Ok((decided, died))
}

/// A dead command that came again and is decided now needs its letter no more, whoever sent it.
pub(super) async fn settle_letters(
    connection: &mut PgConnection,
    group: &Group,
    died: &Died,
    receipts: &[Receipt],
) -> Result<(), WorkError> {
    if died.is_empty() {
        return Ok(());
    }
    let places: Vec<&Place> = receipts.iter().filter_map(|receipt| died.get(&receipt.identity)).collect();
    dead_letters::settle(connection, group, &places).await
}

/// Writes the receipts. When another partition has decided one of these identities in the meantime, the batch is
/// tried again and finds it.
pub(super) async fn insert(
    connection: &mut PgConnection,
    context: &str,
    received_at: DateTime<Utc>,
    receipts: &[Receipt],
) -> Result<(), WorkError> {
    let column = |get: fn(&Receipt) -> &str| receipts.iter().map(get).collect::<Vec<_>>();
    let written = sqlx::query(
        "INSERT INTO command AS known
             (context, received_at, id, source, fingerprint, type, stream, topic, partition, \"offset\",
              status, code, message, versions, produced_at)
         SELECT $1, $2, r.id, r.source, r.fingerprint, r.type, r.stream, r.topic, r.partition, r.\"offset\",
                r.status, r.code, r.message, r.versions::json, r.produced_at
         FROM UNNEST($3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::int[], $10::bigint[],
                     $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[])
              AS r(id, source, fingerprint, type, stream, topic, partition, \"offset\",
                   status, code, message, versions, produced_at)
         ON CONFLICT (id, source) DO UPDATE
         SET fingerprint = excluded.fingerprint, type = excluded.type, context = excluded.context,
             stream = excluded.stream, topic = excluded.topic, partition = excluded.partition,
             \"offset\" = excluded.\"offset\", status = excluded.status, code = excluded.code,
             message = excluded.message, versions = excluded.versions, produced_at = excluded.produced_at,
             received_at = CASE WHEN (known.topic, known.partition, known.\"offset\")
                                     = (excluded.topic, excluded.partition, excluded.\"offset\")
                                THEN known.received_at ELSE excluded.received_at END,
             decided_at = excluded.decided_at, attempts = excluded.attempts
         WHERE known.status = 'dead'",
    )
    .bind(context)
    .bind(received_at)
    .bind(column(|r| &r.identity.id))
    .bind(column(|r| &r.identity.source))
    .bind(receipts.iter().map(|r| r.fingerprint.as_bytes()).collect::<Vec<_>>())
    .bind(column(|r| r.record_type))
    .bind(column(|r| &r.stream))
    .bind(column(|r| &r.topic))
    .bind(receipts.iter().map(|r| r.partition).collect::<Vec<_>>())
    .bind(receipts.iter().map(|r| r.offset).collect::<Vec<_>>())
    .bind(column(|r| r.status.as_str()))
    .bind(receipts.iter().map(|r| r.code).collect::<Vec<_>>())
    .bind(receipts.iter().map(|r| r.message.as_deref()).collect::<Vec<_>>())
    .bind(receipts.iter().map(|r| r.versions.as_deref()).collect::<Vec<_>>())
    .bind(receipts.iter().map(|r| r.produced_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    if written.rows_affected() == receipts.len() as u64 || broken(mechanism::LEDGER) {
        return Ok(());
    }
    Err(WorkError::Contended("a command of this batch was decided in another partition".to_owned()))
}

/// Writes the receipt of a dead command, in place of an earlier death; a decision under the same identity stays.
pub(super) async fn insert_dead(
    connection: &mut PgConnection,
    context: &str,
    identity: &Identity,
    record: &Record,
    fault: &Fault,
) -> Result<(), WorkError> {
    sqlx::query(
        "INSERT INTO command AS known
             (id, source, fingerprint, type, context, stream, topic, partition, \"offset\",
              status, code, message, produced_at, received_at)
         VALUES ($1, $2, '', $3, $4, $5, $6, $7, $8, 'dead', $9, $10, $11, clock_timestamp())
         ON CONFLICT (id, source) DO UPDATE
         SET type = excluded.type, context = excluded.context, stream = excluded.stream, topic = excluded.topic,
             partition = excluded.partition, \"offset\" = excluded.\"offset\", code = excluded.code,
             message = excluded.message, produced_at = excluded.produced_at,
             received_at = CASE WHEN (known.topic, known.partition, known.\"offset\")
                                     = (excluded.topic, excluded.partition, excluded.\"offset\")
                                THEN known.received_at ELSE excluded.received_at END,
             decided_at = excluded.decided_at, attempts = excluded.attempts
         WHERE known.status = 'dead'",
    )
    .bind(&identity.id)
    .bind(&identity.source)
    .bind(storable(record.header(envelope::TYPE).unwrap_or_default()))
    .bind(context)
    .bind(storable(&String::from_utf8_lossy(record.told_turn().unwrap_or_default())))
    .bind(&*record.topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(fault.code)
    .bind(storable(&fault.message))
    .bind(record.stamped_at())
    .execute(connection)
    .await?;
    Ok(())
}

/// Receipts of commands that have waited say when those arrived, not when their last try began, and how often they were
/// tried.
pub(super) async fn correct_waited(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
) -> Result<(), WorkError> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE command AS c
         SET received_at = least(c.received_at, p.parked_at), attempts = coalesce(b.attempts, 0) + 1
         FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
         JOIN parked AS p ON p.grp = $1 AND p.generation = $2 AND p.topic = done.topic
              AND p.partition = done.partition AND p.\"offset\" = done.\"offset\"
         LEFT JOIN blocked_key AS b ON b.grp = p.grp AND b.generation = p.generation AND b.topic = p.topic
              AND b.key = p.key AND b.partition = p.partition AND b.\"offset\" = p.\"offset\"
         WHERE c.id = p.record_id AND c.source = p.record_source
           AND c.topic = p.topic AND c.partition = p.partition AND c.\"offset\" = p.\"offset\"",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(records.iter().map(|record| &*record.topic).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.partition).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.offset).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
