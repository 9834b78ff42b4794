//! The limit on what a process buffers in memory, however many groups wait for a dependency that is away.
//!
//! A [`Buffer`] has bytes that are common to its sharers: groups, or indices. Each sharer reserves [`SHARE`] of them for itself; a
//! sharer that finds no common bytes left to reserve gets its share in addition. So the bytes buffered at once are bounded by
//! the buffer's size or by a share for each sharer, whichever is more: nothing is buffered without a permit, and each permit is
//! taken from one of the two. No sharer is starved: others can only take common bytes, so a sharer that has taken nothing finds
//! its whole share free. It gives the share back when it leaves.
//!
//! A piece larger than a share takes the whole share, since it must pass too. So a sharer may exceed the bound by one such piece.
//! What waits for room is not counted: one record for each group, and for each partition of an index the documents of one batch,
//! whose records still hold their permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// The share of each sharer, in bytes: the size of the largest record that topics accept by default.
const SHARE: usize = 1 << 20;
/// Bytes for the documents of all indices: a share for each of about twenty indices, and a few `_bulk` requests of the largest
/// size.
const DOCUMENTS_BYTES: usize = 32 << 20;

/// The buffers of a process: made once, for all of its groups.
#[derive(Debug, Clone)]
pub struct Buffers {
    /// For records that wait for their batch or are in it. Shared by the members of all groups.
    pub(crate) records: Buffer,
    /// For documents that Elasticsearch has not acknowledged. Shared by the members of groups that publish.
    pub(crate) documents: Buffer,
}

impl Buffers {
    /// The smallest allowed size in bytes: the share of one group.
    pub const LEAST: usize = SHARE;

    /// `record_bytes` is the size of the buffer of records, the groups' shares included.
    pub fn new(record_bytes: usize) -> Self {
        Self {
            records: Buffer::new("records", record_bytes),
            documents: Buffer::new("documents", DOCUMENTS_BYTES),
        }
    }
}

/// A number of bytes that several sharers divide.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    common: Arc<Semaphore>,
    /// Bytes that no sharer has reserved, taken or free.
    common_bytes: Arc<AtomicUsize>,
    taken_bytes: IntGauge,
}

impl Buffer {
    /// A buffer of `common_bytes`; `what` is its label in the metrics.
    pub(crate) fn new(what: &str, common_bytes: usize) -> Self {
        let common_bytes = common_bytes.min(Semaphore::MAX_PERMITS);
        let taken_bytes = metrics::BUFFERED.with_label_values(&[what]);
        let common = Arc::new(Semaphore::new(common_bytes));
        Self { common, common_bytes: Arc::new(AtomicUsize::new(common_bytes)), taken_bytes }
    }

    /// Adds a sharer.
    pub(crate) fn room(&self) -> Room {
        let set_aside = self.common.clone().try_acquire_many_owned(permits(SHARE)).ok();
        let set_aside = set_aside.map(|bytes| Arc::new(SetAside::new(bytes, self.common_bytes.clone())));
        Room { own: Arc::new(Semaphore::new(SHARE)), _set_aside: set_aside, buffer: self.clone() }
    }
}

/// A sharer's part of a buffer.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    own: Arc<Semaphore>,
    /// The common bytes that this sharer reserves; none when all of them were taken.
    _set_aside: Option<Arc<SetAside>>,
    buffer: Buffer,
}

/// Bytes that a sharer has reserved; they are common again once this is dropped.
#[derive(Debug)]
struct SetAside {
    bytes: OwnedSemaphorePermit,
    common_bytes: Arc<AtomicUsize>,
}

impl SetAside {
    fn new(bytes: OwnedSemaphorePermit, common_bytes: Arc<AtomicUsize>) -> Self {
        common_bytes.fetch_sub(bytes.num_permits(), Ordering::Relaxed);
        Self { bytes, common_bytes }
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        self.common_bytes.fetch_add(self.bytes.num_permits(), Ordering::Relaxed);
    }
}

impl Room {
    /// Takes room for `bytes` if there is some now. Common bytes are taken first, so that the sharer's own share is free when others
    /// have taken all common bytes.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Permit> {
        let common = self.buffer.common.clone().try_acquire_many_owned(permits(bytes));
        let taken = common.or_else(|_| self.own.clone().try_acquire_many_owned(permits(bytes.min(SHARE))));
        taken.ok().map(|taken| self.permit(taken))
    }

    /// Waits for room for `bytes`, common or of the share.
    pub(crate) async fn take(&self, bytes: usize) -> Permit {
        let taken = tokio::select! {
            biased;
            // A larger piece would wait for ever, and all later ones behind it.
            taken = acquired(&self.buffer.common, bytes), if bytes <= self.buffer.common_bytes.load(Ordering::Relaxed) => taken,
            taken = acquired(&self.own, bytes.min(SHARE)) => taken,
        };
        self.permit(taken)
    }

    fn permit(&self, taken: OwnedSemaphorePermit) -> Permit {
        let permit = Permit { taken, taken_bytes: self.buffer.taken_bytes.clone() };
        permit.taken_bytes.add(permit.bytes());
        permit
    }
}

/// A semaphore's limit for one request; no piece is that large.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

async fn acquired(semaphore: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    match semaphore.clone().acquire_many_owned(permits(bytes)).await {
        Ok(taken) => taken,
        // Only a closed semaphore fails, and these are never closed.
        Err(_) => std::future::pending().await,
    }
}

/// Bytes that are taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    taken: OwnedSemaphorePermit,
    taken_bytes: IntGauge,
}

impl Permit {
    fn bytes(&self) -> i64 {
        i64::try_from(self.taken.num_permits()).unwrap_or(i64::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.taken_bytes.sub(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    const ALL: usize = 4 * SHARE;

    /// The permits that a sharer gets when it takes pieces of this size until there is no room.
    fn fill(room: &Room, bytes: usize) -> Vec<Permit> {
        std::iter::from_fn(|| room.try_take(bytes)).collect()
    }

    fn taken(permits: &[Permit]) -> usize {
        permits.iter().map(|permit| permit.taken.num_permits()).sum()
    }

    #[test]
    fn one_sharer_alone_has_all_of_the_buffer() {
        let room = Buffer::new("test-alone", ALL).room();
        assert_eq!(taken(&fill(&room, SHARE / 4)), ALL);
    }

    #[test]
    fn a_sharer_has_its_share_while_another_has_taken_all_that_it_can_get() {
        let buffer = Buffer::new("test-beside", ALL);
        let (stuck, busy) = (buffer.room(), buffer.room());
        let _outage = fill(&stuck, 700);
        assert_eq!(taken(&fill(&busy, 1 << 10)), SHARE);
        assert!(busy.try_take(1 << 10).is_some(), "it was given back");
    }

    #[tokio::test]
    async fn what_is_larger_than_a_share_passes_once_its_sharer_has_taken_nothing_of_it() {
        let buffer = Buffer::new("test-large", ALL);
        let (stuck, busy) = (buffer.room(), buffer.room());
        let _outage = fill(&stuck, SHARE);
        let small = busy.try_take(1);
        assert!(small.is_some() && busy.try_take(3 * SHARE).is_none());
        assert!(busy.take(3 * SHARE).now_or_never().is_none());
        drop(small);
        assert_eq!(taken(&[busy.take(3 * SHARE).await]), SHARE);
        assert_eq!(taken(&[busy.take(usize::MAX).await]), SHARE);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_that_is_common_keeps_no_other_from_it() {
        let buffer = Buffer::new("test-larger", ALL);
        let (huge, other) = (buffer.room(), buffer.room());
        let own = huge.take(2 * SHARE + 1).await;
        let mut waits = Box::pin(huge.take(2 * SHARE + 1));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(taken(&fill(&other, SHARE)), 3 * SHARE, "what none has set aside, and its own");
        drop(own);
        assert_eq!(taken(&[waits.await]), SHARE);
    }

    #[tokio::test]
    async fn a_sharer_that_waits_goes_on_as_soon_as_anything_is_given_back() {
        let buffer = Buffer::new("test-waits", ALL);
        let (one, other) = (buffer.room(), buffer.room());
        let (mut all_of_one, all_of_the_other) = (fill(&one, SHARE), fill(&other, SHARE));
        let mut waits = Box::pin(other.take(SHARE));
        assert!(waits.as_mut().now_or_never().is_none());
        all_of_one.remove(0);
        assert_eq!(taken(&[waits.await]), SHARE, "of what is common");
        let mut waits = Box::pin(one.take(SHARE));
        drop(all_of_the_other);
        assert!(waits.as_mut().now_or_never().is_some());
    }

    #[test]
    fn what_is_buffered_is_in_the_metrics() {
        let room = Buffer::new("test-metrics", ALL).room();
        let buffered = || metrics::BUFFERED.with_label_values(&["test-metrics"]).get();
        let permits = [room.try_take(1_000), room.try_take(ALL)];
        assert_eq!(buffered(), (1_000 + SHARE) as i64);
        drop(permits);
        assert_eq!(buffered(), 0);
    }

    proptest! {
        #[test]
        fn however_sharers_take_and_give_back_the_bound_is_kept_and_all_go_on(
            sharers in 1..7_usize,
            steps in prop::collection::vec((any::<prop::sample::Index>(), 1..2 * SHARE, any::<bool>()), 1..200),
        ) {
            let buffer = Buffer::new("test-bound", ALL);
            let rooms: Vec<Room> = (0..sharers).map(|_| buffer.room()).collect();
            let mut permits: Vec<Vec<Permit>> = rooms.iter().map(|_| Vec::new()).collect();
            for (sharer, bytes, takes) in steps {
                let sharer = sharer.index(sharers);
                let taken_before = taken(&permits[sharer]);
                match rooms[sharer].try_take(bytes) {
                    Some(permit) if takes => permits[sharer].push(permit),
                    None => prop_assert!(taken_before > 0, "a sharer that has taken nothing gets something"),
                    Some(_) => {}
                }
                if !takes {
                    permits[sharer].pop();
                }
                let all: usize = permits.iter().map(|permits| taken(permits)).sum();
                prop_assert!(all <= ALL.max(sharers * SHARE));
            }
            drop(permits);
            prop_assert!(rooms.iter().all(|room| room.own.available_permits() == SHARE));
            drop(rooms);
            prop_assert_eq!(buffer.common.available_permits(), ALL);
            prop_assert_eq!(buffer.common_bytes.load(Ordering::Relaxed), ALL);
        }
    }
}
