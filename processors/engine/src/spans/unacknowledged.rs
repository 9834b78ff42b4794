//! Documents of sampled records that Elasticsearch has not acknowledged yet.
//!
//! A publisher knows offsets, not records: a document is acknowledged when the mark of its partition passes the offset of its record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use millrace_store::{Group, Place};

use super::{Context, Kind, Span, queue};
use crate::offsets::Claim;

/// Documents that are waited for, at most; those beyond have no span.
const MOST: usize = 10_000;

static WAITING: LazyLock<Mutex<HashMap<Partition, Vec<Document>>>> = LazyLock::new(Mutex::default);
/// The number of documents in it, so that without any nothing is locked.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Group, generation, topic and number.
type Partition = (String, i32, String, i32);

/// The document of a record.
pub(super) struct Document {
    partition: Partition,
    offset: i64,
    index: String,
    /// The span of the record.
    above: Context,
    committed: SystemTime,
}

impl Document {
    /// The document in this index of the record at this place.
    pub(super) fn new(group: &Group, index: &str, place: Place, above: Context) -> Self {
        let Place { topic, partition, offset } = place;
        let partition = (group.id.clone(), group.generation, topic, partition);
        Self { partition, offset, index: index.to_owned(), above, committed: SystemTime::now() }
    }

    fn acknowledged(self) {
        let context = self.above.below(&["index", &self.index]);
        let name = format!("index {}", self.index);
        let mut span = Span::ending_now((Some(self.above.span), context), name, Kind::Client, self.committed);
        span.attributes = vec![
            ("db.system.name", "elasticsearch".into()),
            ("db.operation.name", "bulk".into()),
            ("db.collection.name", self.index.as_str().into()),
        ];
        queue::record(span);
    }
}

/// Waits for the acknowledgement of documents whose rows are committed.
pub(super) fn wait(documents: Vec<Document>, committed: SystemTime) {
    if documents.is_empty() {
        return;
    }
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    for document in documents {
        if COUNT.load(Ordering::Relaxed) >= MOST {
            queue::dropped("queue", 1);
            continue;
        }
        COUNT.fetch_add(1, Ordering::Relaxed);
        let document = Document { committed, ..document };
        waiting.entry(document.partition.clone()).or_default().push(document);
    }
}

/// Elasticsearch has acknowledged the documents of a partition below `to`.
pub(crate) fn acknowledged(claim: &Claim, to: i64) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let Claim { group, topic, partition, .. } = claim;
    let partition = (group.id.clone(), group.generation, topic.clone(), *partition);
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(documents) = waiting.remove(&partition) else { return };
    let (done, left): (Vec<_>, Vec<_>) = documents.into_iter().partition(|document| document.offset < to);
    COUNT.fetch_sub(done.len(), Ordering::Relaxed);
    if !left.is_empty() {
        waiting.insert(partition, left);
    }
    drop(waiting);
    done.into_iter().for_each(Document::acknowledged);
}

/// The partition is not this process's any more: another one publishes what was not acknowledged.
pub(crate) fn given_back(claim: &Claim) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let Claim { group, topic, partition, .. } = claim;
    let partition = (group.id.clone(), group.generation, topic.clone(), *partition);
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = waiting.remove(&partition).map_or(0, |documents| documents.len());
    COUNT.fetch_sub(lost, Ordering::Relaxed);
}
