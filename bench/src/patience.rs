//! How long nothing may move before a measurement is given up.

use std::time::{Duration, Instant};

/// How long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What has moved, and when.
pub(crate) struct Patience {
    last: u64,
    moved: Instant,
}

impl Patience {
    /// From now on.
    pub(crate) fn new() -> Self {
        Self { last: 0, moved: Instant::now() }
    }

    /// Whether nothing has moved for too long, now that it stands here.
    pub(crate) fn ends(&mut self, now: u64) -> bool {
        if now != self.last {
            *self = Self { last: now, moved: Instant::now() };
        }
        self.moved.elapsed() > PATIENCE
    }
}
