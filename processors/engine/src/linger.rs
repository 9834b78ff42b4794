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
        if !self.pause.is_zero() {
            sleep_until(self.turn(Instant::now())).await;
        }
    }

    /// When a batch begins that could begin now.
    fn turn(&self, now: Instant) -> Instant {
        let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.max(*next_at);
        *next_at = at + self.pause;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_begin_a_pause_apart_and_the_first_after_a_rest_at_once() {
        let linger = Linger::new(Duration::from_millis(20));
        let began = Instant::now();
        let begins = [0, 1, 25, 90, 200].map(|asked| {
            let at = linger.turn(began + Duration::from_millis(asked));
            (at - began).as_millis()
        });
        assert_eq!(begins, [0, 20, 40, 90, 200]);
    }
}
