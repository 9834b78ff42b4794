//! The progress of a group, from its offsets in Postgres.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millrace_testkit::{Patience, Running};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::instance::Instance;
use crate::instance::PATIENCE;
use crate::stack::observer;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Which offset of which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Applied commands.
    Write,
    /// Applied events.
    Read,
    /// Events whose documents Elasticsearch has acknowledged.
    Search,
}

/// A group's claims and offsets since it is watched, over all partitions; topics are fresh, so it counts records.
pub(crate) struct Offsets {
    connection: PgConnection,
    backend: u32,
    sql: String,
    group: String,
    before: (i64, i64),
}

/// The progress of the group at a moment.
pub(crate) struct Seen {
    pub(crate) at: Instant,
    claims: i64,
    pub(crate) records: u64,
}

impl Offsets {
    /// Watches the group of a role from now on.
    pub(crate) async fn watch(instance: &Instance, side: Side, role: &str) -> Result<Self> {
        let (url, column) = match side {
            Side::Write => (instance.stack.write_database_url(), "applied"),
            Side::Read => (instance.stack.read_database_url(), "applied"),
            Side::Search => (instance.stack.read_database_url(), "published"),
        };
        let (connection, backend) = observer(url).await?;
        let sql = format!(
            "SELECT coalesce(sum(epoch), 0)::bigint, coalesce(sum({column}), 0)::bigint FROM \"{}\".consumer_offset
             WHERE grp = $1 AND topic NOT LIKE '%.retry.%'",
            instance.name
        );
        let mut offsets = Self { connection, backend, sql, group: instance.group(role), before: (0, 0) };
        offsets.before = offsets.sums().await?;
        Ok(offsets)
    }

    /// The process in Postgres that answers these questions.
    pub(crate) fn backend(&self) -> u32 {
        self.backend
    }

    /// Waits until the first partition is claimed.
    pub(crate) async fn claimed(&mut self, running: &mut Running) -> Result<Seen> {
        self.until("a partition is claimed", running, |seen| seen.claims > 0).await
    }

    /// Waits until this many records are done.
    pub(crate) async fn at_least(&mut self, wanted: u64, running: &mut Running) -> Result<Seen> {
        let what = format!("{wanted} records are done");
        self.until(&what, running, |seen| seen.records >= wanted).await
    }

    /// Fails when nothing moves for a while.
    async fn until(
        &mut self,
        what: &str,
        running: &mut Running,
        done: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            let seen = self.look().await?;
            if done(&seen) {
                return Ok(seen);
            }
            if patience.ends(seen.records) {
                bail!(
                    "nothing moved for {PATIENCE:?} after {} records, before {what}:\n{}",
                    seen.records,
                    running.log_tail()
                );
            }
            running.check()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its current progress.
    pub(crate) async fn look(&mut self) -> Result<Seen> {
        let ((claims, records), before) = (self.sums().await?, self.before);
        Ok(Seen {
            at: Instant::now(),
            claims: claims - before.0,
            records: u64::try_from(records - before.1)?,
        })
    }

    async fn sums(&mut self) -> Result<(i64, i64)> {
        let query = sqlx::query_as(AssertSqlSafe(self.sql.as_str())).bind(&self.group);
        Ok(query.fetch_one(&mut self.connection).await?)
    }
}
