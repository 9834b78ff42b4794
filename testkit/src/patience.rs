//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures how long a value has not changed.
#[derive(Debug)]
pub struct Patience<T> {
    limit: Duration,
    last: Option<T>,
    changed: Instant,
}

impl<T: PartialEq> Patience<T> {
    /// From now on.
    pub fn new(limit: Duration) -> Self {
        Self { limit, last: None, changed: Instant::now() }
    }

    /// Whether the value has not changed for longer than the limit.
    pub fn ends(&mut self, seen: T) -> bool {
        if self.last.as_ref() != Some(&seen) {
            (self.last, self.changed) = (Some(seen), Instant::now());
        }
        self.changed.elapsed() > self.limit
    }
}

/// Calls `look` until it succeeds. Its error describes what it has seen instead.
///
/// # Panics
/// When it takes longer than two minutes, with the last error.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => {
                assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}; last seen: {seen}")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Calls `look` until it is done, for as long as its report keeps changing.
///
/// # Panics
/// When nothing has changed for two minutes, with the last report.
pub async fn as_long_as_it_moves<T: PartialEq + Debug + Clone>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<(), T>,
) {
    let mut patience = Patience::new(PATIENCE);
    while let Err(seen) = look().await {
        let ends = patience.ends(seen.clone());
        assert!(!ends, "nothing moved for {PATIENCE:?} on the way until {what}; last seen: {seen:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
