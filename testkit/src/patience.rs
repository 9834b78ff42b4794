//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// For how long nothing has changed.
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

    /// Whether what is seen now has stayed the same for longer than the limit.
    pub fn ends(&mut self, seen: T) -> bool {
        if self.last.as_ref() != Some(&seen) {
            (self.last, self.changed) = (Some(seen), Instant::now());
        }
        self.changed.elapsed() > self.limit
    }
}

/// Looks again and again until `look` finds what it looks for. A look that does not says what it saw instead.
///
/// # Panics
/// When it takes longer than two minutes, with what was seen last.
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

/// Looks again and again until `look` says that all is done, for as long as what it reports keeps changing.
///
/// # Panics
/// When nothing has changed for two minutes, with what was seen last.
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
