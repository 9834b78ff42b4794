//! Retention: rows that nothing needs any more go, some at a time, each batch in a transaction of its own that also writes down
//! what can be told of them afterwards. So what was removed is never done twice (`docs/design/retention.md`).

mod batch;
mod kind;
mod look;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::command;
use millrace_store::prune::Aged;
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

/// A batch waits at most this long for what another session has locked.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '2s'";

/// Rows of a kind on a side: how many are to be removed, or were.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Which kind.
    pub kind: Kind,
    /// Which database.
    pub side: Side,
    /// How many.
    pub rows: u64,
    /// The oldest of them; not known of those that were removed.
    #[serde_as(as = "Option<Written>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<DateTime<Utc>>,
}

/// Removes what is old enough.
pub struct Pruner<'a> {
    config: &'a Config,
    write: Database,
    read: Database,
    pace: Pace,
    listener: Option<&'a dyn Listener>,
}

impl<'a> Pruner<'a> {
    /// As fast as it goes.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a URL cannot be used.
    pub fn new(config: &'a Config) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        Ok(Self { config, write, read, pace: Pace::unbounded(), listener: None })
    }

    /// Removes so many rows a second at most.
    pub fn in_the_background(self, per_second: u32) -> Self {
        Self { pace: Pace::of(per_second), ..self }
    }

    /// Reports how far it is.
    pub fn with_listener(self, listener: &'a dyn Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// What would be removed now, of these kinds, once Debezium has carried it. Changes nothing.
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

    /// Removes it; `removed` has what was, also when it fails on the way. What keeps one kind does not keep the others: the first
    /// failure is returned when all was tried.
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

    /// What is kept for a while, and since when it is too old, by the clock of the write side.
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
        Ok(())
    }
}

/// Older than this is too old; `None` for what is kept for ever. A transaction that writes rows of the outbox ends in time: what is
/// older than it lasts is committed.
fn before(now: DateTime<Utc>, kind: Kind, config: &Config) -> Option<DateTime<Utc>> {
    let kept = kind.kept(&config.retention)?;
    let least = if kind == Kind::Outbox { config.postgres.transaction_timeout } else { kept };
    now.checked_sub_signed(TimeDelta::from_std(kept.max(least)).ok()?)
}

/// A connection that waits for no one for long; it is closed when dropped.
async fn session(database: &Database) -> Result<PgConnection, Failure> {
    let fail = |error| database.failure(error);
    let mut connection = database.pool.acquire().await.map_err(fail)?.detach();
    session::set(&mut connection, LOCK_TIMEOUT).await.map_err(fail)?;
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
