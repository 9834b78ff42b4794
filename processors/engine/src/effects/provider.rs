//! Providers: the external systems that an effect calls.

use std::time::Duration;

use crate::reason::Reason;
use async_trait::async_trait;
use millrace_domain::Effect;
use uuid::Uuid;

/// Makes the calls of the effect `E`.
#[async_trait]
pub trait Provider<E: Effect>: Send + Sync + 'static {
    /// How long the external system remembers an idempotency key: within this time a second call with the key has no second
    /// effect. `None` when it supports neither keys nor queries; then a call with an unknown outcome is not made again.
    fn key_window(&self) -> Option<Duration>;

    /// Waits until the call is within the external system's rate limit; false when it is not in time. Nothing has been sent then.
    async fn admit(&self, _request: &E::Request, _within: Duration) -> bool {
        true
    }

    /// Makes a call; `key` is the same at every attempt.
    ///
    /// # Errors
    /// [`CallError`]; when it is not certain that nothing has happened, [`CallError::Unknown`].
    async fn call(&self, key: Uuid, request: &E::Request) -> Result<E::Answer, CallError>;

    /// Queries the outcome of an earlier call; `None` when the external system does not know the call.
    ///
    /// # Errors
    /// [`CallError`]; after any of them, the query is repeated.
    async fn ask(&self, key: Uuid, request: &E::Request) -> Result<Option<E::Answer>, CallError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The external system refuses the call, and would refuse it again.
    #[error("refused: {0}")]
    Refused(#[source] Reason),
    /// Nothing was done; a later call may succeed.
    #[error("not available: {0}")]
    Unavailable(#[source] Reason),
    /// It may have been done or not.
    #[error("no answer: {0}")]
    Unknown(#[source] Reason),
    /// The answer is about something else than was asked for: what was done is not known either.
    #[error("another answer: {0}")]
    Contradicts(#[source] Reason),
}
