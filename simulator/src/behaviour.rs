//! The faults of the simulated systems, and their frequencies. The same seed and key always have the same outcome.

use std::ops::RangeInclusive;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Frequencies of faults, in percent of the keys. Seed and key determine everything.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Another seed gives every key another outcome.
    pub seed: u64,
    /// Authorisations and charges that are declined, and recipients that are refused for good.
    pub decline: u8,
    /// Captures of authorised money that are declined.
    pub decline_captures: u8,
    /// Attempts that are refused before anything is done: 503, or 451 for a recipient. Each attempt of a key has its own outcome.
    pub error: u8,
    /// Authorisations, charges, releases and refunds that are made and not answered.
    pub timeout_after_charge: u8,
    /// Authorisations, charges, captures, releases and refunds that take [`work`](Self::work) before they are booked, whether or
    /// not the caller waits. Meanwhile requests with their key get 409 (draft-ietf-httpapi-idempotency-key-header).
    pub slow: u8,
    /// Mails that are accepted without an answer.
    pub timeout_after_mail: u8,
    /// Messages that cannot be sent now. Each attempt has its own outcome.
    pub defer: u8,
    /// Batches of messages that are accepted without an answer.
    pub timeout_after_delivery: u8,
    /// Webhooks that are sent twice.
    pub duplicate_webhooks: u8,
    /// The latency of an answer, in milliseconds.
    pub latency_ms: RangeInclusive<u64>,
    /// How long a slow call takes: longer than callers wait.
    pub work: Duration,
    /// How long a connection without an answer is kept open: longer than callers wait.
    pub hold: Duration,
}

impl Default for Behaviour {
    /// No faults, no latency.
    fn default() -> Self {
        Self {
            seed: 1,
            decline: 0,
            decline_captures: 0,
            error: 0,
            timeout_after_charge: 0,
            slow: 0,
            timeout_after_mail: 0,
            defer: 0,
            timeout_after_delivery: 0,
            duplicate_webhooks: 0,
            latency_ms: 0..=0,
            work: Duration::from_secs(3),
            hold: Duration::from_secs(60),
        }
    }
}

impl Behaviour {
    pub(crate) fn declines(&self, key: &str) -> bool {
        self.hits(self.decline, "decline", key)
    }

    pub(crate) fn declines_capture(&self, key: &str) -> bool {
        self.hits(self.decline_captures, "decline capture", key)
    }

    /// Whether the `attempt`-th attempt of a key is refused.
    pub(crate) fn fails(&self, key: &str, attempt: u32) -> bool {
        self.hits(self.error, &format!("error {attempt}"), key)
    }

    pub(crate) fn is_silent_after_charge(&self, key: &str) -> bool {
        self.hits(self.timeout_after_charge, "silence", key)
    }

    /// Whether the request of a key is slow.
    pub(crate) fn is_slow(&self, key: &str) -> bool {
        self.hits(self.slow, "slow", key)
    }

    pub(crate) fn is_silent_after_mail(&self, key: &str) -> bool {
        self.hits(self.timeout_after_mail, "silence", key)
    }

    pub(crate) fn is_silent_after_delivery(&self, key: &str) -> bool {
        self.hits(self.timeout_after_delivery, "silence", key)
    }

    /// How often a webhook is sent.
    pub(crate) fn webhook_copies(&self, key: &str) -> u32 {
        if self.hits(self.duplicate_webhooks, "twice", key) { 2 } else { 1 }
    }

    /// Whether an attempt to send a message is deferred.
    pub(crate) fn defers(&self, id: &str, attempt: u32) -> bool {
        self.hits(self.defer, &format!("defer {attempt}"), id)
    }

    pub(crate) fn latency(&self, key: &str) -> Duration {
        let (least, most) = (*self.latency_ms.start(), *self.latency_ms.end());
        let spread = most.saturating_sub(least).saturating_add(1);
        Duration::from_millis(least + self.number("latency", key) % spread)
    }

    /// The reference that a simulated system gives for a key.
    pub(crate) fn reference(&self, what: &str, key: &str) -> String {
        format!("{what}-{:016x}", self.number(what, key))
    }

    fn hits(&self, percent: u8, what: &str, key: &str) -> bool {
        self.number(what, key) % 100 < u64::from(percent)
    }

    fn number(&self, what: &str, key: &str) -> u64 {
        let hash = Sha256::digest(format!("{}\0{what}\0{key}", self.seed));
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declined(behaviour: &Behaviour) -> Vec<bool> {
        (0..1_000).map(|key| behaviour.declines(&key.to_string())).collect()
    }

    #[test]
    fn a_seed_repeats_a_run_and_another_one_gives_another() {
        let behaviour = Behaviour { decline: 30, ..Behaviour::default() };
        let other = Behaviour { seed: 2, ..behaviour.clone() };
        assert_eq!(declined(&behaviour), declined(&behaviour.clone()));
        assert_ne!(declined(&behaviour), declined(&other));
    }

    #[test]
    fn percentages_are_kept() {
        let share = |decline| {
            declined(&Behaviour { decline, ..Behaviour::default() }).iter().filter(|hit| **hit).count()
        };
        assert_eq!((share(0), share(100)), (0, 1_000));
        assert!((250..350).contains(&share(30)), "{}", share(30));
    }

    #[test]
    fn latency_stays_in_its_range() {
        let behaviour = Behaviour { latency_ms: 5..=7, ..Behaviour::default() };
        let mut seen: Vec<u128> =
            (0..100).map(|key| behaviour.latency(&key.to_string()).as_millis()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [5, 6, 7]);
    }

    #[test]
    fn each_try_of_a_key_has_its_own_outcome() {
        let behaviour = Behaviour { error: 50, ..Behaviour::default() };
        let tries: Vec<bool> = (1..=20).map(|attempt| behaviour.fails("k", attempt)).collect();
        assert!(tries.contains(&true) && tries.contains(&false));
    }
}
