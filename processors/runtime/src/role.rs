//! What differs between workers.

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool};

use crate::error::{Fault, WorkError};
use crate::publisher::Document;
use crate::record::Record;

/// A consumer group and the generation of the read model that it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's id in Kafka: `millrace.orders`.
    pub id: String,
    /// 1 for the first; a rebuild counts up.
    pub generation: i32,
}

/// What came of a batch, before it is committed.
#[derive(Default)]
pub struct Folded {
    /// Records that are wrong in themselves, by their place in the batch.
    pub faults: Vec<(usize, Fault)>,
    /// What goes to Elasticsearch after the commit.
    pub documents: Vec<Document>,
    /// Fills caches; called only once the commit is confirmed.
    pub remember: Option<Box<dyn FnOnce() + Send>>,
}

/// Folds batches of one group's records.
///
/// The worker guarantees: the batch begins at the partition's applied offset, is in order, and is folded inside a
/// transaction that moves that offset to its end; if anything fails, nothing of the transaction stays and
/// [`forget`](Role::forget) is called before the next try. In return a role writes only through the given connection
/// and changes its memory only in [`Folded::remember`].
#[async_trait]
pub trait Role: Send + Sync + 'static {
    /// The consumer group.
    fn group(&self) -> &Group;

    /// The database whose rows the group's offsets guard.
    fn database(&self) -> &PgPool;

    /// The index that documents go to, when the role publishes.
    fn index(&self) -> Option<&str> {
        None
    }

    /// Folds a batch inside the transaction of `connection`.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back; a single bad record is a [`Folded::faults`] instead.
    async fn fold(&self, connection: &mut PgConnection, batch: &[Record]) -> Result<Folded, WorkError>;

    /// Leaves a trace of a dead record beside the ledger, such as a receipt.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back.
    async fn bury(&self, _: &mut PgConnection, _: &Record, _: &Fault) -> Result<(), WorkError> {
        Ok(())
    }

    /// The documents that an applied batch changed, as they are now: what may be missing in Elasticsearch after a
    /// crash between commit and publishing.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn documents(&self, _: &mut PgConnection, _: &[Record]) -> Result<Vec<Document>, WorkError> {
        Ok(Vec::new())
    }

    /// Empties every cache.
    fn forget(&self);
}
