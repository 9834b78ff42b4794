//! The outside world, as an effect's calls meet it.

use std::time::Duration;

use async_trait::async_trait;
use millrace_domain::Effect;
use uuid::Uuid;

/// Makes the calls of the effect `E`.
#[async_trait]
pub trait Provider<E: Effect>: Send + Sync + 'static {
    /// How long the outside knows a call by its key: so long a second call with the key has no second effect. `None` when
    /// it knows no keys and cannot be asked; then a call whose outcome is unknown is not made again.
    fn key_window(&self) -> Option<Duration>;

    /// Waits for the call's turn where the outside takes only so much a second; false when that does not come in time.
    /// This is no part of the call, and nothing has happened yet.
    async fn admit(&self, _request: &E::Request, _within: Duration) -> bool {
        true
    }

    /// Makes a call; `key` is the same at every try.
    ///
    /// # Errors
    /// [`CallError`]: whoever cannot be sure that nothing has happened says [`CallError::Unknown`].
    async fn call(&self, key: Uuid, request: &E::Request) -> Result<E::Answer, CallError>;

    /// Asks what became of an earlier call; `None` when the outside knows nothing of it.
    ///
    /// # Errors
    /// [`CallError`]; whatever it is, the call is asked for again.
    async fn ask(&self, key: Uuid, request: &E::Request) -> Result<Option<E::Answer>, CallError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The outside will not do it, however often it is asked to.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing was done; a later call may succeed.
    #[error("not available: {0}")]
    Unavailable(String),
    /// It may have been done or not.
    #[error("no answer: {0}")]
    Unknown(String),
}
