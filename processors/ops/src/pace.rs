//! A rate limit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reserves times; each is later by the size of the previous one divided by the rate.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// This many per second, at least 1.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), next: Mutex::new(None) }
    }

    /// The time at which `count` may be sent; `None`, and nothing is reserved, when it is not within `within`.
    pub fn reserve(&self, count: u32, now: Instant, within: Duration) -> Option<Instant> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |next| next.max(now));
        if at.saturating_duration_since(now) > within {
            return None;
        }
        *next = Some(at + Duration::from_secs(1) * count / self.per_second);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn turns_are_as_far_apart_as_the_pace_says() {
        let (pace, now) = (Pace::new(100), Instant::now());
        let turns = [100, 50, 1].map(|count| pace.reserve(count, now, SECOND * 9));
        assert_eq!(turns, [Some(now), Some(now + SECOND), Some(now + SECOND * 3 / 2)]);
    }

    #[test]
    fn a_turn_that_would_come_too_late_is_not_taken() {
        let (pace, now) = (Pace::new(100), Instant::now());
        assert_eq!(pace.reserve(1_000, now, Duration::ZERO), Some(now));
        assert_eq!(pace.reserve(1_000, now, SECOND), None);
        assert_eq!(pace.reserve(1_000, now, SECOND * 10), Some(now + SECOND * 10));
    }

    #[test]
    fn time_that_nobody_used_is_not_saved() {
        let (pace, now) = (Pace::new(100), Instant::now());
        assert_eq!(pace.reserve(100, now, SECOND), Some(now));
        let later = now + SECOND * 60;
        assert_eq!(pace.reserve(100, later, SECOND), Some(later));
        assert_eq!(pace.reserve(100, later, SECOND), Some(later + SECOND));
    }
}
