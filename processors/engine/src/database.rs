//! The workers' connections to the two databases.

use std::ops::Deref;
use std::time::Duration;

use millrace_store::database::{self, Outdated};
use millrace_store::names::Namespace;
use sqlx::PgPool;

use crate::concurrency::{ConcurrencyLimit, Permit};
use crate::error::{Dependency, WorkError};

/// The workers' connections to a database, the limit on concurrent batches, and the timeout of each.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: PgPool,
    outdated: Outdated,
    answer_timeout: Duration,
    concurrency: ConcurrencyLimit,
}

impl Pool {
    /// These connections; see [`in_time`](Self::in_time) for the timeout.
    pub fn new(connections: PgPool, answer_timeout: Duration) -> Self {
        let concurrency = ConcurrencyLimit::new(connections.options().get_max_connections() as usize);
        Self { connections, outdated: Outdated::default(), answer_timeout, concurrency }
    }

    /// The timeout of [`in_time`](Self::in_time).
    pub fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// See [`ConcurrencyLimit::permit`].
    pub(crate) async fn permit(&self) -> Option<Permit> {
        self.concurrency.permit().await
    }

    /// Runs `work` with the answer timeout, since a connection whose packets are dropped reports no error. When a prepared statement
    /// is out of date, connections that may have it are not used again.
    ///
    /// # Errors
    /// Those of `work`, and [`WorkError::Outage`] after the timeout; it may have been committed.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
        let silence = format!("no answer within {} ms", self.answer_timeout.as_millis());
        let silent = |_| WorkError::outage(Dependency::Postgres, silence);
        let done = tokio::time::timeout(self.answer_timeout, work).await.map_err(silent).flatten();
        if let Err(WorkError::Outdated(_)) = done {
            self.outdated.all_now();
        }
        done
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.connections
    }
}

/// A pool of the connections of [`database::worker_pool`], with `answer_timeout` for [`Pool::in_time`].
///
/// # Errors
/// When the URL is not a Postgres URL.
pub fn worker_pool(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
    answer_timeout: Duration,
    connections_max: u32,
) -> Result<Pool, sqlx::Error> {
    let (pool, outdated) = database::worker_pool(url, namespace, transaction_timeout, connections_max)?;
    Ok(Pool { outdated, ..Pool::new(pool, answer_timeout) })
}
