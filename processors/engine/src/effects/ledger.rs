//! The ledger of calls. What is written here before a call and after it keeps the call from being made twice.

use std::time::Duration;

use millrace_domain::{Effect, GaveUp};
use millrace_store::effect::{self, Settled};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::policy::Known;
use crate::dead_letters::storable;
use crate::error::WorkError;
use crate::outbox::Cause;

/// A leased call. No other process touches it before the lease ends.
pub(super) struct Leased {
    pub(super) key: Uuid,
    /// JSON.
    pub(super) request: String,
    /// This try's number: an older one means a lost lease.
    pub(super) attempt: i32,
    pub(super) known: Known,
    pub(super) cause: Cause,
}

impl From<effect::Leased> for Leased {
    fn from(leased: effect::Leased) -> Self {
        let effect::Leased { key, request, attempt, unknown, since_first, age, .. } = leased;
        let effect::Leased { event_id: id, correlation_id, traceparent, .. } = leased;
        let known = Known { unknown, since_first, age };
        let cause = Cause { id, correlation_id, traceparent, occurred_at: None };
        Self { key, request, attempt, known, cause }
    }
}

/// How a try ended, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The answer as JSON.
    Done(String),
    GaveUp(GaveUp),
    Later {
        error: String,
        unknown: bool,
        delay: Duration,
    },
}

/// Takes calls that are due, and commits that before any of them is made. A lease that has ended is due, too: its holder
/// may have made the call.
pub(super) async fn lease<E: Effect>(
    pool: &PgPool,
    most: usize,
    lease: Duration,
) -> Result<Vec<Leased>, WorkError> {
    let leased = effect::lease(pool, E::NAME, most, lease).await?;
    Ok(leased.into_iter().map(Leased::from).collect())
}

/// Takes a call whose outcome is not known, from the holder of its lease, to write the answer in the same transaction.
pub(super) async fn take<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
) -> Result<Option<Leased>, WorkError> {
    Ok(effect::take(connection, E::NAME, key).await?.map(Leased::from))
}

/// Writes how a try ended; false when the lease was lost to another process, whose outcome counts then.
pub(super) async fn settle<E: Effect>(
    connection: &mut PgConnection,
    leased: &Leased,
    entry: &Entry,
) -> Result<bool, WorkError> {
    let (status, unknown, answer, error, delay) = match entry {
        Entry::Done(answer) => ("done", false, Some(answer.as_str()), None, Duration::ZERO),
        Entry::GaveUp(why) => ("gave_up", why.unknown, None, Some(&why.reason), Duration::ZERO),
        Entry::Later { error, unknown, delay } => ("waiting", *unknown, None, Some(error), *delay),
    };
    let error = error.map(|error| storable(error));
    let settled = Settled { status, unknown, answer, error: error.as_deref(), delay };
    Ok(effect::settle(connection, E::NAME, (leased.key, leased.attempt), &settled).await?)
}
