//! Dead letters that come back, or are given up.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::blocked::{self, Blocked, Status};
use super::{Retries, parked};
use crate::error::{Fault, WorkError};
use crate::record::Record;

impl Retries {
    /// Gives a dead record its turn again, with all its tries: it waits at its place in its key. `record` is as it was
    /// at its source. A second redrive beside this one changes nothing. True when the record is the head of its key now
    /// and is to be [woken](Self::wake) once this is committed.
    ///
    /// # Errors
    /// As any batch.
    pub async fn redrive(&self, connection: &mut PgConnection, record: &Record) -> Result<bool, WorkError> {
        let group = self.role.group();
        self.role.assign_turns(&[record]).await?;
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        parked::insert(connection, group, &[record], self.role.versioned()).await?;
        if blocked.values().any(|blocked| blocked.status == Status::Retrying) {
            // The key has a head already; this record follows in its order.
            return Ok(false);
        }
        let head = Blocked::at(Status::Retrying, record, 0, None);
        blocked::put(connection, group, &record.topic, &BTreeMap::from([(record.turn().to_vec(), head)]))
            .await?;
        Ok(true)
    }

    /// Wakes a redriven head. Not before its redrive is committed: the copy would find nothing to wake and be dropped.
    /// A head that is never woken is overdue after a while, and swept.
    ///
    /// # Errors
    /// [`WorkError::Outage`].
    pub async fn wake(&self, record: &Record) -> Result<(), WorkError> {
        self.wake_later(record, &Fault::new("redriven", "an operator redrives it"), 0).await.map(|_| ())
    }

    /// Gives a dead record up: what waits behind it goes on without it.
    ///
    /// # Errors
    /// [`WorkError::Refused`] when an earlier record of its key waits to be dealt with; else as any batch.
    pub async fn discard(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        let group = self.role.group();
        self.role.assign_turns(&[record]).await?;
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        let own = (record.partition, record.offset);
        let behind = blocked.values().any(|blocked| blocked.head.is_some_and(|head| head != own));
        if behind && self.role.waits_behind_dead() {
            // Its place is not reached yet: nothing can go on from there.
            let reason = "an earlier record of its key waits: redrive or discard that one first";
            return Err(WorkError::Refused(reason.to_owned()));
        }
        self.role.skip(connection, record).await?;
        parked::release(connection, group, &[record], None).await?;
        // Where the offset is the order, nothing has waited for a dead record.
        if behind { Ok(()) } else { self.hand_on(connection, &record.topic, record.turn()).await }
    }
}
