//! The least time between the begins of two batches.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets batches begin one `pause` apart, so that they are larger and fewer; the first after a rest at once.
pub(crate) struct Linger {
    pause: Duration,
    next_at: Mutex<Instant>,
}

impl Linger {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, next_at: Mutex::new(Instant::now()) }
    }

    /// Waits until the next batch may begin, which it then does.
    pub(crate) async fn pass(&self) {
        if self.pause.is_zero() {
            return;
        }
        let next_at = *self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        sleep_until(next_at).await;
        *self.next_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_begin_a_pause_apart_and_the_first_after_a_rest_at_once() {
        let (linger, began) = (Linger::new(Duration::from_millis(20)), Instant::now());
        let mut begins = Vec::new();
        for rest in [0, 5, 0, 50, 0] {
            tokio::time::sleep(Duration::from_millis(rest)).await;
            linger.pass().await;
            begins.push(began.elapsed().as_millis());
        }
        assert_eq!(begins, [0, 20, 40, 90, 110]);
    }
}
