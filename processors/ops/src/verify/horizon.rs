//! Waiting until everything that was written has been carried and applied; only then can anything be missing.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_store::consumer_offset::{self, Mark, Stand};
use millrace_store::{Group, verified};

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;
use crate::postgres::Database;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the auditor waits for a transaction that may write to the outbox.
pub(super) const OPEN_AT_MOST: Duration = Duration::from_secs(30);
const LOOK_SOON: Duration = Duration::from_millis(20);

/// A time on the write side's clock before which all rows of the outbox are visible, since all transactions that were open then
/// have ended. `None` when one of them does not end within `patience`.
pub(crate) async fn settled(write: &Database, patience: Duration) -> Result<Option<DateTime<Utc>>, Failure> {
    let fail = |error| write.failure(error);
    let (until, now) = (Instant::now() + patience, verified::now(&write.pool).await.map_err(fail)?);
    loop {
        // `pg_stat_activity` may show a transaction shortly after it has begun.
        tokio::time::sleep(LOOK_SOON).await;
        let mut connection = write.pool.acquire().await.map_err(fail)?;
        match verified::is_open_since(&mut connection, now).await.map_err(fail)? {
            false => return Ok(Some(now)),
            true if Instant::now() > until => return Ok(None),
            true => {}
        }
    }
}

/// Waits until Debezium has confirmed everything that is committed now.
pub(crate) async fn carried(config: &Config, write: &Database, patience: Duration) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let until = Instant::now() + patience;
    // The insert position, since a visible commit may not be flushed yet (`synchronous_commit`).
    let now = "SELECT pg_current_wal_insert_lsn()::text";
    let now: String = sqlx::query_scalar(now).fetch_one(&write.pool).await.map_err(fail)?;
    loop {
        let confirmed =
            "SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";
        let confirmed = sqlx::query_scalar(confirmed).bind(config.namespace.outbox()).bind(&now);
        let confirmed: Option<bool> = confirmed.fetch_optional(&write.pool).await.map_err(fail)?;
        match confirmed {
            Some(true) => return Ok(()),
            None => return Err(Failure::refused("there is no replication slot: run `millrace setup`")),
            Some(false) if Instant::now() > until => {
                return Err(Failure::refused(format!(
                    "Debezium has not carried the outbox within {} s: `millrace status` shows the connector and its slot",
                    patience.as_secs()
                )));
            }
            Some(false) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The current ends of topics. Blocks.
pub(crate) fn ends(config: &Config, topics: &[String]) -> Result<Vec<Stand>, Failure> {
    let reader = Reader::new(&config.kafka)?;
    let ends = reader.ends_of_topics(topics.iter().cloned())?.into_iter();
    Ok(ends.map(|((topic, partition), (_, end))| (topic, partition, end)).collect())
}

/// Waits until a group has reached these offsets.
pub(super) async fn reached(
    read: &Database,
    group: &Group,
    mark: Mark,
    stand: &[Stand],
    patience: Duration,
) -> Result<(), Failure> {
    let until = Instant::now() + patience;
    loop {
        let behind = consumer_offset::behind(&read.pool, group, mark, stand).await;
        let behind = behind.map_err(|error| read.failure(error))?;
        if behind == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            let done = match mark {
                Mark::Applied => "applied",
                Mark::Published => "published",
            };
            return Err(Failure::refused(format!(
                "{}: records of {behind} partitions are not {done} yet, so nothing can be said about them: is \
                 `millrace run` running?",
                group.id
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
