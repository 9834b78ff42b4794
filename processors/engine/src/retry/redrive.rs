//! Redrive and discard of dead letters.

use std::collections::BTreeMap;

use millrace_store::blocked_key::Status;
use sqlx::PgConnection;

use super::blocked::{self, Blocked};
use super::{Retries, parked};
use crate::error::{Fault, WorkError};
use crate::record::Record;

impl Retries {
    /// Lets a dead record be tried again, with all its tries, at its place in the order of its key. `record` is as it was
    /// at its source. A second redrive beside this one changes nothing. True when the record blocks its key now and is to
    /// be [woken](Self::wake) once this is committed.
    ///
    /// # Errors
    /// As any batch.
    pub async fn redrive(&self, connection: &mut PgConnection, record: &Record) -> Result<bool, WorkError> {
        let group = self.role.group();
        self.role.assign_ordering_keys(&[record]).await?;
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        parked::insert(connection, group, &[record], self.role.versioned()).await?;
        if blocked.values().any(|blocked| blocked.status == Status::Retrying) {
            // The key has a blocking record already; this one follows in its order.
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

    /// Wakes a redriven record. Not before its redrive is committed: the wake-up copy would fit no key and be dropped. A
    /// record that is never woken is overdue after a while, and swept.
    ///
    /// # Errors
    /// [`WorkError::Outage`].
    pub async fn wake(&self, record: &Record) -> Result<(), WorkError> {
        self.wake_later(record, &Fault::new("redriven", "an operator redrives it"), 0).await.map(|_| ())
    }

    /// Gives up a dead record: what waits behind it goes on without it.
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
            // Its place is not reached yet: nothing can go on from there.
            let reason = "an earlier record of its key waits: redrive or discard that one first";
            return Err(WorkError::Refused(reason.into()));
        }
        self.role.skip(connection, record).await?;
        parked::release(connection, group, &[record], None).await?;
        // Where the offset is the order, nothing has waited for a dead record.
        if behind { Ok(()) } else { self.hand_on(connection, &record.topic, record.ordering_key()).await }
    }
}
