//! A circuit breaker: a provider is not called for a while after many different calls have failed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Opens when a number of different calls in a row have failed; then lets one call through after each pause; the pauses grow.
#[derive(Debug)]
pub(super) struct Breaker {
    opens_after: usize,
    failed: HashSet<Uuid>,
    pause: Duration,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(opens_after: usize) -> Self {
        Self { opens_after, failed: HashSet::new(), pause: FIRST_PAUSE, open_until: None }
    }

    /// How many of `wanted` calls may begin while `under_way` calls are running.
    pub(super) fn permits(&self, wanted: usize, under_way: usize, now: Instant) -> usize {
        match self.open_until {
            None => wanted,
            Some(until) if now >= until && under_way == 0 => wanted.min(1),
            Some(_) => 0,
        }
    }

    /// A call was answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::new(self.opens_after);
    }

    /// A call could not be made or was not answered. A call that began before the breaker opened no longer counts.
    pub(super) fn failed(&mut self, key: Uuid, now: Instant) {
        match self.open_until {
            Some(until) if now < until => {}
            Some(_) => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.open_until = Some(now + self.pause);
            }
            None => {
                self.failed.insert(key);
                if self.failed.len() >= self.opens_after {
                    self.open_until = Some(now + self.pause);
                }
            }
        }
    }

    /// Whether no call was answered since one has failed.
    pub(super) fn is_failing(&self) -> bool {
        !self.failed.is_empty()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3);
        (0..3).for_each(|key| breaker.failed(Uuid::from_u128(key), now));
        breaker
    }

    #[test]
    fn it_opens_when_different_calls_fail_in_a_row() {
        let (mut breaker, now) = (Breaker::new(3), Instant::now());
        (0..10).for_each(|_| breaker.failed(Uuid::nil(), now));
        assert!(!breaker.is_open(), "one call alone may be at fault itself");
        breaker.failed(Uuid::from_u128(1), now);
        breaker.succeeded();
        breaker.failed(Uuid::from_u128(2), now);
        breaker.failed(Uuid::from_u128(3), now);
        assert_eq!(breaker.permits(8, 5, now), 8);
        breaker.failed(Uuid::from_u128(4), now);
        assert_eq!(breaker.permits(8, 0, now), 0);
    }

    #[test]
    fn after_its_pause_it_lets_one_call_through() {
        let now = Instant::now();
        let (breaker, after_pause) = (open(now), now + FIRST_PAUSE);
        assert_eq!([0, 1].map(|under_way| breaker.permits(8, under_way, after_pause)), [1, 0]);
    }

    #[test]
    fn a_trial_that_fails_doubles_the_pause_and_one_that_succeeds_closes() {
        let now = Instant::now();
        let (mut breaker, after_pause) = (open(now), now + FIRST_PAUSE);
        breaker.failed(Uuid::nil(), after_pause);
        assert_eq!(breaker.permits(8, 0, after_pause + FIRST_PAUSE), 0);
        assert_eq!(breaker.permits(8, 0, after_pause + FIRST_PAUSE * 2), 1);
        breaker.succeeded();
        assert_eq!(breaker.permits(8, 0, after_pause), 8);
    }

    #[test]
    fn late_failures_do_not_lengthen_the_pause_which_has_a_limit() {
        let mut now = Instant::now();
        let mut breaker = open(now);
        (10..20).for_each(|key| breaker.failed(Uuid::from_u128(key), now));
        assert_eq!(breaker.permits(8, 0, now + FIRST_PAUSE), 1);
        for _ in 0..20 {
            now += LONGEST_PAUSE;
            breaker.failed(Uuid::nil(), now);
        }
        assert_eq!(breaker.permits(8, 0, now + LONGEST_PAUSE), 1);
    }
}
