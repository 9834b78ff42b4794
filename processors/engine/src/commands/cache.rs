//! A cache of stream states, bounded in bytes. A cached state is used only if its version is the locked one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use crate::metrics;

type Key = (&'static str, String);

/// Memory of an entry beside its texts, roughly, in bytes.
const OVERHEAD_BYTES: usize = 160;

#[derive(Clone)]
struct Entry {
    version: i64,
    state: Arc<str>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        (key.1.len() + entry.state.len() + OVERHEAD_BYTES) as u64
    }
}

#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();
    fn before_evict(&self, (): &mut Self::RequestState, _: &Key, _: &mut Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A cache of stream states.
pub struct StateCache {
    entries: Cache<Key, Entry, Bytes, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
}

/// Figures of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFigures {
    /// Look-ups that found a state.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries that were evicted.
    pub evictions: u64,
    /// Memory of the entries, in bytes.
    pub bytes: u64,
    /// The number of entries.
    pub entries: usize,
}

impl StateCache {
    /// A cache that takes at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let evictions = Evictions::default();
        let items = (bytes_max / (OVERHEAD_BYTES * 4)).max(1);
        let hasher = DefaultHashBuilder::default();
        let entries = Cache::with(items, bytes_max as u64, Bytes, hasher, evictions.clone());
        Self { entries, evictions }
    }

    /// The state of a stream at this version, as JSON.
    pub(super) fn get(&self, context: &'static str, id: &str, version: i64) -> Option<Arc<str>> {
        let entry = self.entries.get(&(context, id.to_owned()))?;
        (entry.version == version).then_some(entry.state)
    }

    /// The cached version of a stream, whether or not it is the newest.
    pub(super) fn version(&self, context: &'static str, id: &str) -> Option<i64> {
        self.entries.peek(&(context, id.to_owned())).map(|entry| entry.version)
    }

    pub(super) fn put(&self, context: &'static str, id: String, version: i64, state: Arc<str>) {
        self.entries.insert((context, id), Entry { version, state });
    }

    pub(super) fn clear(&self) {
        self.entries.clear();
    }

    /// Figures of the cache.
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.entries.hits(),
            misses: self.entries.misses(),
            evictions: self.evictions.0.load(Ordering::Relaxed),
            bytes: self.entries.weight(),
            entries: self.entries.len(),
        }
    }

    /// Exports the figures as metrics.
    pub(super) fn export(&self) {
        let CacheFigures { hits, misses, evictions, bytes, entries } = self.figures();
        for (event, count) in [("hits", hits), ("misses", misses), ("evictions", evictions)] {
            let counter = metrics::STATE_CACHE.with_label_values(&[event]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        metrics::STATE_CACHE_BYTES.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics::STATE_CACHE_ENTRIES.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_within_its_bytes_and_counts_what_it_evicts() {
        let cache = StateCache::new(100_000);
        for i in 0..10_000 {
            cache.put("orders", i.to_string(), 1, "x".repeat(100).into());
        }
        let figures = cache.figures();
        assert!(figures.bytes <= 100_000, "{figures:?}");
        assert!(figures.evictions > 9_000, "{figures:?}");
    }

    #[test]
    fn a_newer_state_in_place_of_an_older_one_is_no_eviction() {
        let cache = StateCache::new(100_000);
        for version in 1..100 {
            cache.put("orders", "1".to_owned(), version, "{}".into());
        }
        assert_eq!((cache.figures().entries, cache.figures().evictions), (1, 0));
    }

    #[test]
    fn a_state_of_another_version_is_not_found() {
        let cache = StateCache::new(100_000);
        cache.put("orders", "1".to_owned(), 3, "{}".into());
        assert!(cache.get("orders", "1", 3).is_some());
        assert!(cache.get("orders", "1", 4).is_none());
    }
}
