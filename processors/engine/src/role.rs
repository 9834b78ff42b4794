//! Roles: what differs between workers.

use std::collections::HashSet;

use async_trait::async_trait;
use millrace_store::Group;
use sqlx::PgConnection;

use crate::database::Pool;
use crate::elastic::Document;
use crate::error::{Fault, WorkError};
use crate::record::Record;

/// The outcome of one record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It had its effect; a rejection is one.
    Applied,
    /// It had its effect before.
    Duplicate,
    /// Another record of its key comes first: one that is missing, waits itself or has just failed.
    Waits,
    /// It is wrong in itself, and had no effect.
    Failed(Fault),
}

impl Outcome {
    /// Whether the record is done.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Applied | Self::Duplicate)
    }

    /// Why it failed, if it has.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            Self::Applied | Self::Duplicate | Self::Waits => None,
        }
    }
}

/// The ordering keys of a batch of which a record has failed that may succeed later: the later records of them wait.
#[derive(Default)]
pub(crate) struct Stuck<'r>(HashSet<&'r [u8]>);

impl<'r> Stuck<'r> {
    /// Whether a record is behind one that has failed.
    pub(crate) fn contains(&self, record: &Record) -> bool {
        !self.0.is_empty() && self.0.contains(record.ordering_key())
    }

    /// The outcome of a record that fails: one that no later try can help need not wait for others.
    pub(crate) fn failed(&mut self, record: &'r Record, fault: Fault) -> Outcome {
        if fault.hopeless {
            return Outcome::Failed(fault);
        }
        match self.0.insert(record.ordering_key()) {
            true => Outcome::Failed(fault),
            false => Outcome::Waits,
        }
    }
}

/// The result of a batch, before it is committed.
#[derive(Default)]
pub struct Folded {
    /// One for each record, in the order of the batch.
    pub outcomes: Vec<Outcome>,
    /// What goes to Elasticsearch after the commit.
    pub documents: Vec<Document>,
    /// Fills caches; called only once the commit is confirmed.
    pub remember: Option<Box<dyn FnOnce() + Send>>,
}

/// Folds batches of one group's records.
///
/// The worker guarantees: records of a key are folded in their order, each inside a transaction that also moves the
/// offset behind it, and none that waits behind another; if anything fails, nothing of the transaction stays and
/// [`forget`](Role::forget) is called before the next try. In return a role writes only through the given connection,
/// changes its memory only in [`Folded::remember`], and applies no record of a key behind one that it fails.
#[async_trait]
pub trait Role: Send + Sync + 'static {
    /// The consumer group.
    fn group(&self) -> &Group;

    /// The database whose rows the group's offsets guard.
    fn database(&self) -> &Pool;

    /// The index that documents go to, when the role publishes.
    fn index(&self) -> Option<&str> {
        None
    }

    /// Whether a record carries its place in the order of its key (an event's version). Then the role finds what is next,
    /// missing or a duplicate; else the offset is the order, and the role gets only what is next.
    fn versioned(&self) -> bool {
        false
    }

    /// Whether what is behind a dead record waits until that is redriven or discarded.
    fn waits_behind_dead(&self) -> bool {
        self.versioned()
    }

    /// Sets the ordering keys of records, where those are not their own keys. Called only while a key of their topic is
    /// blocked, or when one of them was not simply applied: [`fold`](Role::fold) may have set it by then.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn assign_ordering_keys(&self, _: &[&Record]) -> Result<(), WorkError> {
        Ok(())
    }

    /// Folds a batch inside the transaction of `connection`.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back; a single bad record is an [`Outcome::Failed`] instead.
    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError>;

    /// Writes what a dead letter needs beside its row, such as a receipt.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back.
    async fn dead_lettered(&self, _: &mut PgConnection, _: &Record, _: &Fault) -> Result<(), WorkError> {
        Ok(())
    }

    /// Corrects the receipts of records that were parked: when they arrived, and how often they were tried. Called before
    /// their parked rows are removed.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn waited(&self, _: &mut PgConnection, _: &[&Record]) -> Result<(), WorkError> {
        Ok(())
    }

    /// Goes on as if a record had been applied: an operator has discarded it.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn skip(&self, _: &mut PgConnection, _: &Record) -> Result<(), WorkError> {
        Ok(())
    }

    /// The documents that an applied batch changed, as they are now: what may be missing in Elasticsearch after a
    /// crash between commit and publishing.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn documents(&self, _: &mut PgConnection, _: &[&Record]) -> Result<Vec<Document>, WorkError> {
        Ok(Vec::new())
    }

    /// The documents of the rows with these keys, as they are now; reads only. Keys without a row are left out.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn documents_of(&self, _: &mut PgConnection, _: &[&str]) -> Result<Vec<Document>, WorkError> {
        Ok(Vec::new())
    }

    /// Empties every cache.
    fn forget(&self);
}
