//! A limit on what a process asks of a dependency at once.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// After so long a worker goes ahead without a permit: the limit saves work, and one that hangs must not stop all others.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// One piece of work for each processor, and one that waits for a disk. More at once would only cut the same work smaller,
/// each piece with its own round trips and its own sync of a log. A worker takes its batch only once it has a permit, with
/// all that has arrived meanwhile: the busier the dependency, the larger the batches, and no batch waits to be filled.
#[derive(Debug, Clone)]
pub(crate) struct ConcurrencyLimit(Arc<Semaphore>);

/// Taken while a piece of work is under way, and given back when it is dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

impl ConcurrencyLimit {
    /// For a dependency that in any case takes at most so much at once.
    pub(crate) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self(Arc::new(Semaphore::new(most.min(processors + 1))))
    }

    /// Waits for a permit, first come, first served; `None` when none was free for long.
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
