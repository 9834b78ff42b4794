//! A rate limit for folding events again, which leaves capacity for other work.

use std::time::Duration;

use tokio::time::Instant;

/// A limit of events per second.
pub(crate) struct Pace {
    per_second: Option<u32>,
    /// The earliest time for the next events.
    due: Instant,
}

impl Pace {
    /// Without a limit.
    pub(crate) fn unbounded() -> Self {
        Self { per_second: None, due: Instant::now() }
    }

    /// At most this many events per second.
    pub(crate) fn of(per_second: u32) -> Self {
        Self { per_second: Some(per_second.max(1)), due: Instant::now() }
    }

    /// Waits until this many more events are within the limit.
    pub(crate) async fn took(&mut self, events: u32) {
        tokio::time::sleep_until(self.due_after(events)).await;
    }

    /// As [`took`](Self::took), blocking the thread.
    pub(crate) fn took_blocking(&mut self, events: u32) {
        std::thread::sleep(self.due_after(events).saturating_duration_since(Instant::now()));
    }

    /// Unused time is not accumulated.
    fn due_after(&mut self, events: u32) -> Instant {
        if let Some(per_second) = self.per_second {
            self.due = self.due.max(Instant::now()) + Duration::from_secs(events.into()) / per_second;
        }
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_take_their_time_when_there_is_a_pace() {
        assert!(Pace::unbounded().due_after(1_000_000) <= Instant::now());
        let mut pace = Pace::of(2_000);
        let first = pace.due_after(1_000);
        assert_eq!(pace.due_after(1_000) - first, Duration::from_millis(500));
    }
}
