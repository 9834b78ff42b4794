//! Transactions of setup, and short tries for locks. A statement that waits for a lock on a table makes everything wait that comes
//! after it, workers too; so it waits for a moment, gives up its transaction, and is tried again.

use std::error::Error as _;
use std::time::{Duration, Instant};

use millrace_engine::failpoints::{broken, mechanism};
use millrace_store::Means;
use millrace_store::database::unfit_session;
use sqlx::{PgConnection, Postgres, Transaction};

use super::holders::Waiting;
use crate::config::Config;
use crate::failure::Failure;
use crate::postgres::{Database, execute};

/// How long a try waits for each lock.
const EACH: &str = "SET LOCAL lock_timeout = '2s'";
/// The rest after the first try, in which waiting batches are done; after each further one it is twice as long.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(8);

/// A transaction with a lock that excludes other setups of this namespace.
pub(crate) async fn begin(
    config: &Config,
    database: &Database,
) -> Result<Transaction<'static, Postgres>, Failure> {
    let fail = |error| database.failure(error);
    let mut transaction = database.pool.begin().await.map_err(fail)?;
    let unfit = unfit_session(&mut transaction, &config.namespace).await.map_err(fail)?;
    unfit.map_or(Ok(()), |reason| Err(database.unfit(reason)))?;
    // Notices about existing objects would fill the log.
    execute(&mut transaction, "SET LOCAL client_min_messages = warning".to_owned()).await.map_err(fail)?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('millrace setup ' || $1, 0))")
        .bind(config.namespace.database_schema())
        .execute(&mut *transaction)
        .await
        .map_err(fail)?;
    Ok(transaction)
}

/// The tries at one side.
pub(super) struct Tries<'c> {
    pub(super) config: &'c Config,
    pub(super) database: &'c Database,
    /// Since when tries at one thing fail.
    since: Option<Instant>,
    rest: Duration,
    /// What waited last, and for whom.
    last: (String, Vec<String>),
}

impl<'c> Tries<'c> {
    pub(super) fn of(config: &'c Config, database: &'c Database) -> Self {
        Self { config, database, since: None, rest: REST, last: Default::default() }
    }

    /// A transaction with short waits for locks, that excludes other setups of this namespace.
    pub(super) async fn begin(&self) -> Result<(Transaction<'static, Postgres>, Waiting<'c>), Failure> {
        let fail = |error| self.database.failure(error);
        let mut transaction = begin(self.config, self.database).await?;
        short_waits(&mut transaction).await.map_err(fail)?;
        let waiting = Waiting::of(self.database, &mut transaction).await.map_err(fail)?;
        Ok((transaction, waiting))
    }

    /// Awaits what a try does; the log names those for whom it waits.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        mut waiting: Waiting<'_>,
        done: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = waiting.until(what, done).await;
        self.last = (what.to_owned(), waiting.holders);
        if done.is_ok() {
            (self.since, self.rest) = (None, REST);
        }
        done
    }

    /// After a try that failed: returns when it is time for the next one.
    ///
    /// # Errors
    /// The failure, unless others were in the way; the sessions that were, when the time is over.
    pub(super) async fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        if !is_in_the_way(&failure) {
            return Err(failure);
        }
        let (what, holders) = &self.last;
        let limit = self.config.postgres.setup_lock_timeout;
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.rest > limit {
            return Err(self.database.locked(what, limit, holders).with_source(failure));
        }
        tracing::info!(rest = ?self.rest, "{what} is tried again: others go on meanwhile");
        tokio::time::sleep(self.rest).await;
        self.rest = (self.rest * 2).min(REST_MAX);
        Ok(())
    }
}

/// From here on the transaction waits for a moment only, whatever a migration of it has set.
pub(super) async fn short_waits(connection: &mut PgConnection) -> sqlx::Result<()> {
    match broken(mechanism::SHORT_TRIES) {
        true => Ok(()),
        false => execute(connection, EACH.to_owned()).await,
    }
}

/// Another session had a lock for too long, or needed one of ours.
fn is_in_the_way(failure: &Failure) -> bool {
    let error = failure.source().and_then(|source| source.downcast_ref::<sqlx::Error>());
    error.is_some_and(|error| Means::of(error) == Means::InTheWay)
}
