//! Retention: removes rows that are no longer needed, in small batches. The transaction of a batch also writes marks that
//! recognise the removed rows' records, so that nothing is done twice (`docs/design/retention.md`).

mod batch;
mod copies;
mod kind;
mod look;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::command;
use millrace_store::prune::Aged;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::serde_as;
use sqlx::PgConnection;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::moment::Written;
use crate::outbox::pace::Pace;
use crate::postgres::Database;
use crate::replay::session;

use batch::Batches;
pub use kind::Kind;
use look::{carried, horizon};

/// A batch waits at most this long for locks of other sessions. Rows are found through the index on their time, in its order:
/// the planner, which knows the table by statistics from before the removal, would read and sort all old rows for each batch.
const SESSION: &str = "SET lock_timeout = '2s';
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off";

/// The number of rows of a kind on a side that would be removed, or were.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "PruneRows")]
pub struct Rows {
    /// The kind.
    pub kind: Kind,
    /// The database.
    pub side: Side,
    /// Their number.
    pub rows: u64,
    /// The time of the oldest; `None` after removal.
    #[serde_as(as = "Option<Written>")]
    #[schemars(with = "Option<Written>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<DateTime<Utc>>,
}

/// Removes old rows.
pub struct Pruner<'a> {
    config: &'a Config,
    write: Database,
    read: Database,
    pace: Pace,
    listener: Option<&'a dyn Listener>,
}

impl<'a> Pruner<'a> {
    /// Without a limit.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a URL cannot be used.
    pub fn new(config: &'a Config) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        Ok(Self { config, write, read, pace: Pace::unbounded(), listener: None })
    }

    /// Limits the removed rows per second.
    pub fn in_the_background(self, per_second: u32) -> Self {
        Self { pace: Pace::of(per_second), ..self }
    }

    /// Reports its progress.
    pub fn with_listener(self, listener: &'a dyn Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The rows of these kinds that would be removed now, once Debezium has carried them. Changes nothing.
    ///
    /// # Errors
    /// When a database or Kafka does not answer.
    pub async fn count(&self, kinds: &[Kind]) -> Result<Vec<Rows>, Failure> {
        let mut all = Vec::new();
        for (kind, side, before) in self.due(kinds).await? {
            let database = self.database(side);
            let aged = horizon(self.config, kind)?.count(&database.pool, (kind, side), before).await;
            let Aged { rows, oldest } = aged.map_err(|error| database.failure(error))?;
            all.push(Rows { kind, side, rows: u64::try_from(rows).unwrap_or_default(), oldest });
        }
        Ok(all)
    }

    /// Removes them; `removed` has what was removed, also after an error. A failure of one kind does not stop the others; the
    /// first failure is returned at the end.
    ///
    /// # Errors
    /// [`Failure::Busy`] when another process removes, [`Failure::Refused`] when Debezium is behind; as of [`count`](Self::count).
    pub async fn prune(&mut self, kinds: &[Kind], removed: &mut Vec<Rows>) -> Result<(), Failure> {
        let fail = |error| self.write.failure(error);
        let mut alone = self.write.pool.acquire().await.map_err(fail)?.detach();
        if !session::alone(&mut alone, "prune", &self.config.namespace, "all").await.map_err(fail)? {
            return Err(Failure::Busy(
                "another process removes what is old enough: try again later".to_owned(),
            ));
        }
        let mut failed = Ok(());
        for (kind, side, before) in self.due(kinds).await? {
            let mut rows = Rows { kind, side, rows: 0, oldest: None };
            failed = failed.and(self.prune_one(&mut rows, before).await);
            removed.push(rows);
        }
        self.listener.inspect(|listener| listener.counted());
        failed
    }

    /// The kinds that are not kept for ever, with the time before which rows are too old, by the clock of the write side.
    async fn due(&self, kinds: &[Kind]) -> Result<Vec<(Kind, Side, DateTime<Utc>)>, Failure> {
        let now = command::clock(&self.write.pool).await.map_err(|error| self.write.failure(error))?;
        let before = |kind: Kind| before(now, kind, self.config);
        let chosen = Kind::ALL.into_iter().filter(|kind| kinds.contains(kind));
        let dated = chosen.filter_map(|kind| Some((kind, before(kind)?)));
        let all = dated.flat_map(|(kind, before)| kind.sides().iter().map(move |side| (kind, *side, before)));
        Ok(all.collect())
    }

    fn database(&self, side: Side) -> &Database {
        match side {
            Side::Write => &self.write,
            Side::Read => &self.read,
        }
    }

    async fn prune_one(&mut self, rows: &mut Rows, before: DateTime<Utc>) -> Result<(), Failure> {
        let Rows { kind, side, .. } = *rows;
        let database = self.database(side).clone();
        carried(self.config, &database, kind, before).await?;
        let horizon = horizon(self.config, kind)?;
        let mut connection = session(&database).await?;
        let mut batches = Batches::new(self.config, (kind, side), &horizon, before);
        while let Some(gone) = batches.next(&mut connection).await.map_err(|error| database.failure(error))? {
            rows.rows += u64::from(gone);
            self.listener.inspect(|listener| listener.count("rows removed", rows.rows));
            self.pace.took(gone).await;
        }
        match kind {
            Kind::DeadLetters => self.copies_go(&database, before).await,
            _ => Ok(()),
        }
    }

    /// Copies of dead letters go with their rows, also those that an earlier run has left. Since transactions have a timeout, the letters of
    /// all older copies are committed.
    async fn copies_go(&self, database: &Database, before: DateTime<Utc>) -> Result<(), Failure> {
        let now = command::clock(&self.write.pool).await.map_err(|error| self.write.failure(error))?;
        let open = TimeDelta::from_std(self.config.postgres.transaction_timeout).unwrap_or(TimeDelta::MAX);
        let before = now.checked_sub_signed(open).map_or(DateTime::<Utc>::MIN_UTC, |open| open.min(before));
        let copies = copies::remove(self.config, database, before).await?;
        if copies > 0 {
            let side = database.side;
            tracing::info!(
                ?side,
                copies,
                "copies of dead letters that were removed are deleted from their topics"
            );
        }
        Ok(())
    }
}

/// The time before which rows of a kind are too old; `None` for ever. Since transactions have a timeout, all older rows of the
/// outbox are committed.
fn before(now: DateTime<Utc>, kind: Kind, config: &Config) -> Option<DateTime<Utc>> {
    let kept = kind.kept(&config.retention)?;
    let least = if kind == Kind::Outbox { config.postgres.transaction_timeout } else { kept };
    now.checked_sub_signed(TimeDelta::from_std(kept.max(least)).ok()?)
}

/// A connection with the settings for batches; it is closed when dropped.
async fn session(database: &Database) -> Result<PgConnection, Failure> {
    let fail = |error| database.failure(error);
    let mut connection = database.pool.acquire().await.map_err(fail)?.detach();
    session::set(&mut connection, SESSION).await.map_err(fail)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_ever_is_never_too_old() {
        let config = Config::with(&["retention.audit=forever", "retention.outbox=1ms"]).unwrap();
        let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(10_000);
        assert_eq!(before(now, Kind::Audit, &config), None);
        let since = now - before(now, Kind::Outbox, &config).unwrap();
        assert_eq!(
            since.to_std().unwrap(),
            config.postgres.transaction_timeout,
            "or it may not be committed"
        );
        let receipts = now - before(now, Kind::Receipts, &config).unwrap();
        assert_eq!(Some(receipts.to_std().unwrap()), config.retention.receipts);
    }

    #[test]
    fn receipts_outlast_the_topics_of_commands() {
        let problem = |settings: &[&str]| Config::with(settings).err().map(|failure| failure.to_string());
        assert_eq!(problem(&["topics.command_retention=10d", "retention.receipts=11d"]), None);
        let short = problem(&["topics.command_retention=10d", "retention.receipts=10d"]).unwrap();
        assert!(short.contains("retention.receipts (10days) must be 11days or more"), "{short}");
        assert_eq!(problem(&["topics.command_retention=forever"]), None, "Kafka has every record");
    }
}
