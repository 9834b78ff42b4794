//! Facts from the two databases: offsets, dead letters, blocked keys, the replication slot.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::timestamp::Nearest;
use millrace_store::{blocked_key, consumer_offset, dead_letter, outbox};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::{self, Side};
use crate::postgres::Database;
use crate::replay::generations::{self, Generation, State};
use crate::replay::shapes;
use crate::verify::horizon;

/// The offsets of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next offset.
    pub applied: i64,
    /// The published offset.
    pub published: i64,
}

/// Open dead letters of a group, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadLetters {
    /// The consumer group.
    pub group: String,
    /// The error code.
    pub code: String,
    /// Their number.
    pub count: i64,
    /// The time of the last.
    pub last: chrono::DateTime<chrono::Utc>,
}

/// Blocked keys of a group, by status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "BlockedKeys")]
pub struct Blocked {
    /// The consumer group.
    pub group: String,
    /// `retrying`, `dead` or `gap`.
    pub status: String,
    /// The number of keys.
    pub keys: i64,
    /// Records that wait, the blocking records included.
    pub records: i64,
    /// When the first of them was blocked.
    pub since: chrono::DateTime<chrono::Utc>,
}

/// Held partitions of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "HeldPartitions")]
pub struct Held {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The first of them.
    pub first: i32,
    /// The last of them.
    pub last: i32,
    /// The end of the hold time; after it, the lower partitions must be applied. `None` while the topic is not enlarged.
    pub until: Option<chrono::DateTime<chrono::Utc>>,
}

/// The facts from one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The offsets of each group.
    pub stands: Vec<Stand>,
    /// Dead letters by group and code.
    pub dead: Vec<DeadLetters>,
    /// Blocked keys by group and status.
    pub blocked: Vec<Blocked>,
    /// Held partitions.
    pub held: Vec<Held>,
}

/// Queries a database.
pub(crate) async fn facts(database: &Database) -> Result<Facts, Failure> {
    let asked = async {
        Ok(Facts {
            stands: stands(database).await?,
            dead: dead(database).await?,
            blocked: blocked(database).await?,
            held: held(database).await?,
        })
    };
    asked.await.map_err(|error| database.failure(error))
}

/// The generations of views that have more than one.
pub(super) async fn generations(read: &Database) -> Result<Vec<Generation>, Failure> {
    let live = generations::live(&read.pool).await.map_err(|error| read.failure(error))?;
    let several = |view: &str| live.iter().filter(|one| one.view == view).count() > 1;
    Ok(live.iter().filter(|one| several(&one.view)).cloned().collect())
}

/// A serving generation that this build cannot fold into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "UnfitGeneration")]
pub struct Unfit {
    /// The view.
    pub view: String,
    /// Why.
    pub why: String,
    /// The generation that will replace it, or into which this build folds beside it.
    pub other: Option<i32>,
    /// Whether that one was compared and differs, so that it is not swapped.
    pub differs: bool,
}

/// The serving generations into which this build cannot fold.
pub(super) async fn unfit(config: &Config, read: &Database) -> Result<Vec<Unfit>, Failure> {
    let live = generations::live(&read.pool).await.map_err(|error| read.failure(error))?;
    let unfit = shapes::unfit(read, layout::read_models(config).iter(), &live).await?;
    let why = |one: &Generation| unfit.get(&(one.view.clone(), one.generation));
    let of = |serving: &Generation| {
        let beside = live.iter().filter(|one| one.view == serving.view);
        let other = beside.rev().find(|one| one.state == State::Building || why(one).is_none());
        let differs = other.is_some_and(|one| one.state == State::Building && one.comparison.is_some());
        let (view, other) = (serving.view.clone(), other.map(|one| one.generation));
        why(serving).map(|why| Unfit { view, why: why.clone(), other, differs })
    };
    Ok(live.iter().filter(|one| one.state == State::Serving).filter_map(of).collect())
}

/// The outbox at a point in time.
pub(super) struct Decided {
    /// The number of events, rejections and outcomes of each topic.
    pub(super) rows: HashMap<String, i64>,
    /// The WAL position after all of them.
    upto: String,
    /// The counts of rows that were written before a time, which need not be counted again.
    counted: Option<(DateTime<Utc>, HashMap<String, i64>)>,
}

#[cfg(test)]
impl Decided {
    pub(super) fn of<const N: usize>(rows: [(&str, i64); N]) -> Self {
        let rows = rows.map(|(topic, count)| (topic.to_owned(), count)).into();
        Self { rows, upto: "0/0".to_owned(), counted: None }
    }
}

/// Counts the outbox without its commands, which are in progress until they are decided. Without new rows the earlier WAL
/// position is kept, since the WAL also grows for other reasons.
pub(super) async fn decided(write: &Database, before: Option<Decided>) -> Result<Decided, Failure> {
    let fail = |error| write.failure(error);
    let known = before.as_ref().and_then(|before| before.counted.clone());
    let counted = match known {
        Some(counted) => Some(counted),
        None => count(write).await?,
    };
    let since = counted.as_ref().map(|(since, _)| *since);
    let new = outbox::decided_by_topic(&write.pool, [since, None]).await.map_err(fail)?;
    let mut rows = counted.as_ref().map(|(_, rows)| rows.clone()).unwrap_or_default();
    new.into_iter().for_each(|(topic, count)| *rows.entry(topic).or_default() += count);
    if let Some(same) = before.filter(|before| before.rows == rows) {
        return Ok(Decided { counted, ..same });
    }
    let upto = "SELECT pg_current_wal_lsn()::text";
    let upto = sqlx::query_scalar(upto).fetch_one(&write.pool).await.map_err(fail)?;
    Ok(Decided { rows, upto, counted })
}

/// Counts rows that were written before now; `None` while an open transaction may still write such rows.
async fn count(write: &Database) -> Result<Option<(DateTime<Utc>, HashMap<String, i64>)>, Failure> {
    let Some(now) = horizon::settled(write, Duration::ZERO).await? else { return Ok(None) };
    let rows = outbox::decided_by_topic(&write.pool, [None, Some(now)]).await;
    Ok(Some((now, rows.map_err(|error| write.failure(error))?.into_iter().collect())))
}

/// Whether Debezium has confirmed the WAL position of what was decided.
pub(super) async fn is_carried(
    config: &Config,
    write: &Database,
    decided: &Decided,
) -> Result<bool, Failure> {
    let confirmed = "SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";
    let confirmed = sqlx::query_scalar(confirmed).bind(config.namespace.outbox()).bind(&decided.upto);
    let confirmed: Option<Option<bool>> =
        confirmed.fetch_optional(&write.pool).await.map_err(|error| write.failure(error))?;
    Ok(confirmed.flatten().unwrap_or_default())
}

/// The offsets of all groups; for a view those of the serving generation.
async fn stands(database: &Database) -> sqlx::Result<Vec<Stand>> {
    let rows = match database.side {
        Side::Write => consumer_offset::everywhere(&database.pool).await?,
        Side::Read => consumer_offset::serving(&database.pool).await?,
    };
    let stand =
        |(group, topic, partition, applied, published)| Stand { group, topic, partition, applied, published };
    Ok(rows.into_iter().map(stand).collect())
}

async fn dead(database: &Database) -> sqlx::Result<Vec<DeadLetters>> {
    let rows = dead_letter::counts(&database.pool).await?;
    let dead = |(group, code, count, Nearest(last))| DeadLetters { group, code, count, last };
    Ok(rows.into_iter().map(dead).collect())
}

async fn blocked(database: &Database) -> sqlx::Result<Vec<Blocked>> {
    let rows = blocked_key::counts(&database.pool).await?;
    let blocked =
        |(group, status, keys, records, Nearest(since))| Blocked { group, status, keys, records, since };
    Ok(rows.into_iter().map(blocked).collect())
}

async fn held(database: &Database) -> sqlx::Result<Vec<Held>> {
    let held = consumer_offset::held(&database.pool, None).await?.into_iter();
    let held = held.map(|consumer_offset::Held { group, topic, first, last, until, .. }| Held {
        group,
        topic,
        first,
        last,
        until,
    });
    Ok(held.collect())
}

/// The replication slot of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether its connector reads from it.
    pub active: bool,
    /// Bytes of WAL that Debezium has not confirmed.
    pub lag_bytes: i64,
    /// Bytes of WAL that Postgres keeps for it; 0 when it is lost.
    pub kept_bytes: i64,
    /// Postgres's `wal_status`.
    pub wal_status: String,
}

impl Slot {
    /// Whether its WAL is lost.
    pub fn is_lost(&self) -> bool {
        self.wal_status == "lost"
    }
}

/// Queries the slot; `None` when there is none.
pub(crate) async fn slot(config: &Config, write: &Database) -> Result<Option<Slot>, Failure> {
    let name = config.namespace.outbox();
    let row: Option<(bool, i64, i64, String)> = sqlx::query_as(
        "SELECT active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint,
                coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint, wal_status
         FROM pg_replication_slots WHERE slot_name = $1",
    )
    .bind(&name)
    .fetch_optional(&write.pool)
    .await
    .map_err(|error| write.failure(error))?;
    let slot = |(active, lag_bytes, kept_bytes, wal_status)| Slot {
        name,
        active,
        lag_bytes,
        kept_bytes,
        wal_status,
    };
    Ok(row.map(slot))
}
