//! A limit on the concurrent work that a process gives a dependency.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a worker waits for a permit before it works without one: a task that hangs must not stop all others.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// One task for each processor, and one that waits for a disk. More concurrent tasks would only divide the same work into smaller
/// transactions, each with its own round trips and WAL sync. A worker takes its batch only after it has a permit, with all
/// records that have arrived meanwhile: the busier the dependency, the larger the batches, and no batch waits to be filled.
#[derive(Debug, Clone)]
pub(crate) struct ConcurrencyLimit(Arc<Semaphore>);

/// Held during a task; given back when dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

impl ConcurrencyLimit {
    /// A limit of at most `most` concurrent tasks, for a dependency that takes no more.
    pub(crate) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self(Arc::new(Semaphore::new(most.min(processors + 1))))
    }

    /// Waits for a permit, first come, first served; `None` after [`PATIENCE`].
    pub(crate) async fn permit(&self) -> Option<Permit> {
        timeout(PATIENCE, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_is_given_back_goes_to_the_next() {
        let limit = ConcurrencyLimit::new(1);
        let taken = limit.permit().await;
        let (next, ()) = tokio::join!(limit.permit(), async { drop(taken) });
        assert!(next.is_some());
    }

    #[tokio::test]
    async fn after_a_long_wait_work_goes_ahead_without_a_permit() {
        let limit = ConcurrencyLimit::new(1);
        let _hangs = limit.permit().await;
        assert!(limit.permit().await.is_none());
    }
}
