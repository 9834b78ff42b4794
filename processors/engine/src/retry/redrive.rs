//! Redrive and discard of dead letters.

use std::collections::BTreeMap;

use millrace_store::blocked_key::Status;
use sqlx::PgConnection;

use super::blocked::{self, Blocked};
use super::{Retries, parked};
use crate::error::{Fault, WorkError};
use crate::record::Record;

impl Retries {
    /// Redrives the record of a dead letter: it has all its attempts again and is applied before later records of its key. `record`
    /// is the original. A concurrent second redrive changes nothing. True when the record now blocks its key and must be
    /// [woken](Self::wake) after the commit.
    ///
    /// # Errors
    /// As any batch.
    pub async fn redrive(&self, connection: &mut PgConnection, record: &Record) -> Result<bool, WorkError> {
        let group = self.role.group();
        self.role.assign_ordering_keys(&[record]).await?;
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        parked::insert(connection, group, &[record], self.role.versioned()).await?;
        if blocked.values().any(|blocked| blocked.status == Status::Retrying) {
            // The key already has a blocking record; this one is drained in its order.
            return Ok(false);
        }
        let blocking = Blocked::at(Status::Retrying, record, 0, None);
        blocked::put(
            connection,
            group,
            &record.topic,
            &BTreeMap::from([(record.ordering_key().to_vec(), blocking)]),
        )
        .await?;
        Ok(true)
    }

    /// Wakes a redriven record. Only after its redrive is committed: before, the wake-up copy would match no key and be dropped. A
    /// record that is never woken becomes overdue and is swept.
    ///
    /// # Errors
    /// [`WorkError::Outage`].
    pub async fn wake(&self, record: &Record) -> Result<(), WorkError> {
        self.wake_later(record, &Fault::new("redriven", "an operator redrives it"), 0).await.map(|_| ())
    }

    /// Discards a dead letter: the records that wait behind it are applied without it.
    ///
    /// # Errors
    /// [`WorkError::Refused`] when an earlier record of its key waits to be redriven or discarded; else as any batch.
    pub async fn discard(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        let group = self.role.group();
        self.role.assign_ordering_keys(&[record]).await?;
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        let own = (record.partition, record.offset);
        let behind = blocked.values().any(|blocked| blocked.blocking.is_some_and(|blocking| blocking != own));
        if behind && self.role.waits_behind_dead() {
            // An earlier record blocks the key, so nothing can be drained after this one.
            let reason = "an earlier record of its key waits: redrive or discard that one first";
            return Err(WorkError::Refused(reason.into()));
        }
        self.role.skip(connection, record).await?;
        parked::release(connection, group, &[record], None).await?;
        // Without versions, nothing has waited for a dead letter.
        if behind { Ok(()) } else { self.hand_on(connection, &record.topic, record.ordering_key()).await }
    }
}
