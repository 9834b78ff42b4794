//! Sizes of batches, of the buffer and of the cache.

use std::time::Duration;

use bytesize::ByteSize;
use millrace_engine::Buffers;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::check::{at_least, positive};
use super::units::{Human, written_duration, written_size};

/// Longer would be a lag that no larger batch makes good.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Sizes of batches, of the buffer and of the cache.
#[serde_as]
#[derive(Clone, Deserialize, Serialize)]
pub struct Processing {
    /// Commands in one transaction, at most.
    pub commands_batch_max: usize,
    /// Events in one transaction, at most.
    pub events_batch_max: usize,
    /// The least time between the begins of two batches of commands, of the views that share transactions, and of the sagas and effects
    /// that do; 1 s at most. The first after a rest begins at once. With `20ms` batches are larger: less processor time at some hundred
    /// commands a second, for results that are later by as much at most in each stage.
    #[serde_as(as = "Human")]
    pub linger: Duration,
    /// Memory for cached states of streams, for each process.
    #[serde_as(as = "Human")]
    pub state_cache: ByteSize,
    /// Memory for records that wait for their batch, for all groups of a process together. Each group has 1 MiB of its own,
    /// even when that exceeds this limit in total.
    #[serde_as(as = "Human")]
    pub buffer: ByteSize,
    /// A rebuild by another build is abandoned, and this build starts its own, when no process has worked on it for this long.
    #[serde_as(as = "Human")]
    pub abandoned_after: Duration,
}

impl Default for Processing {
    fn default() -> Self {
        Self {
            commands_batch_max: 2_000,
            events_batch_max: 5_000,
            linger: Duration::ZERO,
            state_cache: ByteSize::mib(16),
            buffer: ByteSize::mib(40),
            abandoned_after: Duration::from_secs(60),
        }
    }
}

impl Processing {
    /// [`state_cache`](Self::state_cache) in bytes.
    pub fn state_cache_bytes(&self) -> usize {
        bytes(self.state_cache)
    }

    /// [`buffer`](Self::buffer) in bytes.
    pub fn buffer_bytes(&self) -> usize {
        bytes(self.buffer)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let least = ByteSize::b(u64::try_from(Buffers::LEAST).unwrap_or(u64::MAX));
        let problems = [
            positive("processing.commands_batch_max", self.commands_batch_max),
            positive("processing.events_batch_max", self.events_batch_max),
            at_least("processing.abandoned_after", self.abandoned_after, Duration::from_secs(1)),
            (self.linger > LINGER_MAX).then(|| {
                let [linger, most] = [self.linger, LINGER_MAX].map(written_duration);
                format!("processing.linger must be {most} or less, not {linger}")
            }),
            (self.buffer < least).then(|| {
                let [least, buffer] = [least, self.buffer].map(written_size);
                format!("processing.buffer must be {least} or more, not {buffer}")
            }),
        ];
        problems.into_iter().flatten().collect()
    }
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
