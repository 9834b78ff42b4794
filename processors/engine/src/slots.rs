//! How much is asked of a dependency at once.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Whoever has waited for so long goes ahead: a slot saves work, and what hangs in one must not hold up everybody else.
const PATIENCE: Duration = Duration::from_millis(100);

/// One piece of work for each processor, and one that waits for a disk. More at once would only cut the same work smaller,
/// each piece with its own round trips and its own sync of a log. What a worker takes only when it has a slot is all that
/// has arrived meanwhile: the busier the dependency, the larger the batches, and no batch waits to be filled.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Semaphore>);

/// Held while a piece of work is under way.
pub(crate) type Slot = OwnedSemaphorePermit;

impl Slots {
    /// For a dependency that is asked for at most so much at once in any case.
    pub(crate) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self(Arc::new(Semaphore::new(most.min(processors + 1))))
    }

    /// Waits for a slot, in the order of asking; `None` when none was free for long.
    pub(crate) async fn take(&self) -> Option<Slot> {
        timeout(PATIENCE, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_that_is_given_back_is_the_next_ones() {
        let slots = Slots::new(1);
        let held = slots.take().await;
        let (next, ()) = tokio::join!(slots.take(), async { drop(held) });
        assert!(next.is_some());
    }

    #[tokio::test]
    async fn who_has_waited_for_long_goes_ahead_without_one() {
        let slots = Slots::new(1);
        let _hangs = slots.take().await;
        assert!(slots.take().await.is_none());
    }
}
