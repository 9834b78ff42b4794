//! Dead letters that come back, or are given up.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::blocked::{self, Blocked, Status};
use super::{Retries, parked, place};
use crate::error::{Fault, WorkError};
use crate::record::Record;

impl Retries {
    /// Gives a dead record its turn again, with all its tries: it waits at its place in its key, and its copy wakes it
    /// at once. `record` is as it was at its source. A second redrive beside this one changes nothing.
    ///
    /// # Errors
    /// [`WorkError::Refused`] when the record has no key to wait under; [`WorkError::Outage`].
    pub async fn redrive(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        let group = self.role.group();
        let Some(key) = place::key(record) else {
            return Err(WorkError::Refused("a record without a key has no place to wait in".to_owned()));
        };
        let blocked = blocked::lock(connection, group, &record.topic, &[record]).await?;
        parked::insert(connection, group, &[record], self.role.versioned()).await?;
        if blocked.values().any(|blocked| blocked.status == Status::Retrying) {
            // The key has a head already; this record follows in its order.
            return Ok(());
        }
        let head = Blocked::at(Status::Retrying, record, 0, None);
        blocked::put(connection, group, &record.topic, &BTreeMap::from([(key.to_vec(), head)])).await?;
        self.wake_later(record, &Fault::new("redriven", "an operator redrives it"), 0).await.map(|_| ())
    }

    /// Gives a dead record up: what waits behind it goes on without it.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn discard(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        let group = self.role.group();
        blocked::lock(connection, group, &record.topic, &[record]).await?;
        self.role.skip(connection, record).await?;
        parked::release(connection, group, &[record], None).await?;
        match place::key(record) {
            Some(key) => self.hand_on(connection, &record.topic, key).await,
            None => Ok(()),
        }
    }
}
