//! How fast events are folded again, so that it leaves room for other work.

use std::time::Duration;

use tokio::time::Instant;

/// So many events a second at most.
pub(crate) struct Pace {
    per_second: Option<u32>,
    /// When the events up to now may have been read.
    due: Instant,
}

impl Pace {
    /// As fast as it goes.
    pub(crate) fn unbounded() -> Self {
        Self { per_second: None, due: Instant::now() }
    }

    /// At most this many events a second.
    pub(crate) fn of(per_second: u32) -> Self {
        Self { per_second: Some(per_second.max(1)), due: Instant::now() }
    }

    /// Waits until this many more events may have been read. Time that was lost is not made up for.
    pub(super) async fn took(&mut self, events: usize) {
        let Some(per_second) = self.per_second else { return };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.due = self.due.max(Instant::now()) + Duration::from_secs(events.into()) / per_second;
        tokio::time::sleep_until(self.due).await;
    }
}
