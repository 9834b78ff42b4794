//! Roles: what differs between workers.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_store::Group;
use sqlx::PgConnection;

use crate::database::Pool;
use crate::elastic::Document;
use crate::error::{Fault, WorkError};
use crate::outcome::Outcome;
use crate::record::Record;
use crate::sequence::{Decoded, Intake};

/// The result of a batch, before it is committed.
#[derive(Default)]
pub struct Folded {
    /// One for each record, in the order of the batch.
    pub outcomes: Vec<Outcome>,
    /// Documents to publish after the commit.
    pub documents: Vec<Document>,
    /// Fills caches; called only after the commit is confirmed.
    pub remember: Option<Box<dyn FnOnce() + Send>>,
    /// What became of records, by their places in the batch, for their spans: with it a record that was applied without a note has no
    /// span, and without it all have one.
    pub noted: Option<BTreeMap<usize, String>>,
}

/// Folds batches of one group's records.
///
/// The worker guarantees: records of a key are folded in order, in a transaction that also moves the offset, and a record that
/// waits behind another is not folded. If anything fails, the transaction is rolled back and [`forget`](Role::forget) is called
/// before the next attempt. In return a role writes only through the given connection, changes its memory only in
/// [`Folded::remember`], and applies no record after a failed one of the same key.
#[async_trait]
pub trait Role: Send + Sync + 'static {
    /// The consumer group.
    fn group(&self) -> &Group;

    /// The database that the role writes, which also has the group's offsets.
    fn database(&self) -> &Pool;

    /// The index of the documents, if the role publishes.
    fn index(&self) -> Option<&str> {
        None
    }

    /// Whether records have a version, which gives the order within their key. Then the role determines which record is next,
    /// missing or a duplicate. Otherwise the offset is the order, and the role gets no record that must wait.
    fn versioned(&self) -> bool {
        false
    }

    /// Whether later records of a key wait until a dead letter is redriven or discarded.
    fn waits_behind_dead(&self) -> bool {
        self.versioned()
    }

    /// Sets the ordering keys of records for which it is not the Kafka key. Called only while a key of their topic is blocked, or
    /// when one of them did not simply apply; [`fold`](Role::fold) may have set it by then.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn assign_ordering_keys(&self, _: &[&Record]) -> Result<(), WorkError> {
        Ok(())
    }

    /// The role as one with a sequence check, if it has one.
    fn sequenced(&self) -> Option<&dyn Sequenced> {
        None
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

    /// Corrects arrival time and number of attempts in the receipts of records that were parked. Called before their parked rows
    /// are removed.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn waited(&self, _: &mut PgConnection, _: &[&Record]) -> Result<(), WorkError> {
        Ok(())
    }

    /// Treats a discarded record as applied.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn skip(&self, _: &mut PgConnection, _: &Record) -> Result<(), WorkError> {
        Ok(())
    }

    /// The current documents of the rows that an applied batch changed. After a crash between commit and publishing, Elasticsearch
    /// may not have them.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn documents(&self, _: &mut PgConnection, _: &[&Record]) -> Result<Vec<Document>, WorkError> {
        Ok(Vec::new())
    }

    /// The current documents of the rows with these keys; reads only. Keys without a row are left out.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn documents_of(&self, _: &mut PgConnection, _: &[&str]) -> Result<Vec<Document>, WorkError> {
        Ok(Vec::new())
    }

    /// Empties every cache.
    fn forget(&self);
}

/// A role that folds what has passed the sequence check, so that one check can serve several roles.
#[async_trait]
pub trait Sequenced: Send + Sync {
    /// Decodes a batch.
    ///
    /// # Errors
    /// [`WorkError`].
    async fn decode(&self, batch: &[&Record]) -> Result<Decoded<'_>, WorkError>;

    /// Folds the events that have passed.
    ///
    /// # Errors
    /// As [`Role::fold`].
    async fn fold_checked(&self, connection: &mut PgConnection, intake: Intake) -> Result<Folded, WorkError>;
}
