//! The ledger of calls: rows that are written before and after each call, so that it is not made twice.

use std::time::Duration;

use millrace_domain::{Effect, GaveUp};
use millrace_store::effect::{self, Settled};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::policy::Known;
use crate::dead_letters::storable;
use crate::error::WorkError;
use crate::failpoints::{broken, mechanism};
use crate::outbox::Cause;
use crate::release::{refuse_if_later, release};

/// A leased call. No other process makes it before the lease ends.
pub(super) struct Leased {
    pub(super) key: Uuid,
    /// The request as JSON.
    pub(super) request: String,
    /// The number of this attempt: a higher one in the row means that the lease was lost.
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

/// The result of an attempt, to be written.
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

/// Leases due calls, and commits the leases before any call is made. A call whose lease has expired is due, too, with an unknown
/// outcome: its holder may have made it. Calls of a later release are left to its processes.
pub(super) async fn lease<E: Effect>(
    pool: &PgPool,
    most: usize,
    lease: Duration,
) -> Result<Vec<Leased>, WorkError> {
    let version = if broken(mechanism::LATER_CALL) { i32::MAX } else { E::REQUEST_VERSION };
    let leased = effect::lease(pool, E::NAME, (version, release()), most, lease).await?;
    Ok(leased.into_iter().map(Leased::from).collect())
}

/// Takes the lease of a call without outcome from its holder, to write the answer in the same transaction. A call of a later
/// release is `BuildTooOld`.
pub(super) async fn take<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
) -> Result<Option<Leased>, WorkError> {
    let taken = effect::take(&mut *connection, E::NAME, key).await?;
    if taken.as_ref().is_some_and(|taken| taken.request_version > E::REQUEST_VERSION) {
        refuse_if_later(connection, &format!("the request of call {key} is of a later version")).await?;
    }
    Ok(taken.map(Leased::from))
}

/// Writes the result of an attempt; false when the lease was lost to another process, whose result counts then.
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
