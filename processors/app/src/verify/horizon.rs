//! Waiting until what is on its way has arrived: only then can anything be missing.

use std::time::{Duration, Instant};

use millrace_store::Group;
use sqlx::AssertSqlSafe;

use crate::config::Config;
use crate::failure::Failure;
use crate::kafka::Reader;
use crate::postgres::Database;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where a group or a topic stands: topic, partition, next offset.
pub(super) type Stand = (String, i32, i64);

/// What a group has done with the records below an offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// Folded them.
    Applied,
    /// And sent the documents.
    Published,
}

impl Mark {
    /// The column of `consumer_offset`.
    fn column(self) -> &'static str {
        match self {
            Mark::Applied => "applied",
            Mark::Published => "published",
        }
    }
}

/// Waits until Debezium has confirmed all that is committed now.
pub(crate) async fn carried(config: &Config, write: &Database, patience: Duration) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let until = Instant::now() + patience;
    // A commit that is seen may not be written yet (`synchronous_commit`), only inserted.
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

/// Where topics end now. It blocks.
pub(super) fn ends(config: &Config, topics: &[String]) -> Result<Vec<Stand>, Failure> {
    let reader = Reader::new(config)?;
    let there = reader.topics()?;
    let mut ends = Vec::new();
    for topic in topics {
        for partition in 0..there.get(topic).copied().unwrap_or_default() {
            let (_, end) = reader.ends(topic, partition)?;
            ends.push((topic.clone(), partition, end));
        }
    }
    Ok(ends)
}

/// Waits until a group has come this far.
pub(super) async fn reached(
    read: &Database,
    group: &Group,
    mark: Mark,
    stand: &[Stand],
    patience: Duration,
) -> Result<(), Failure> {
    let until = Instant::now() + patience;
    let column = mark.column();
    let behind = format!(
        "SELECT count(*) FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS stand(topic, partition, reached)
         LEFT JOIN consumer_offset AS o
             ON o.grp = $1 AND o.generation = $2 AND o.topic = stand.topic AND o.partition = stand.partition
         WHERE coalesce(o.{column}, 0) < stand.reached"
    );
    loop {
        let behind: i64 = sqlx::query_scalar(AssertSqlSafe(behind.as_str()))
            .bind(&group.id)
            .bind(group.generation)
            .bind(stand.iter().map(|stand| stand.0.as_str()).collect::<Vec<_>>())
            .bind(stand.iter().map(|stand| stand.1).collect::<Vec<_>>())
            .bind(stand.iter().map(|stand| stand.2).collect::<Vec<_>>())
            .fetch_one(&read.pool)
            .await
            .map_err(|error| read.failure(error))?;
        if behind == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::refused(format!(
                "{}: records of {behind} partitions are not {column} yet, so nothing can be said about them: is \
                 `millrace run` running?",
                group.id
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
