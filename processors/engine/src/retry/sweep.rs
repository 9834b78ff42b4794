//! Blocking records whose wake-up copy did not arrive are copied again, so that no key waits for ever. Drained records whose
//! documents are published are removed.

use std::time::Duration;

use millrace_store::{Place, blocked_key};

use super::{Retries, parked};
use crate::error::{Fault, WorkError};
use crate::metrics;

/// A blocking record is overdue when its attempt is this late; before, its wake-up copy may still be on its way.
const GRACE: Duration = Duration::from_secs(60);
const RECORDS_MAX: i64 = 100;

impl Retries {
    /// Writes new wake-up copies of overdue blocking records, and removes drained records whose documents are published. If an
    /// earlier copy still arrives, the second one no longer matches and is dropped. Returns the number of copies.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is swept then.
    pub async fn sweep(&self) -> Result<usize, WorkError> {
        let group = self.role.group();
        let mut transaction = self.role.database().begin().await?;
        let overdue = blocked_key::overdue(&mut transaction, group, GRACE, RECORDS_MAX).await?;
        for (topic, partition, offset, attempts, message) in &overdue {
            let place = Place { topic: topic.clone(), partition: *partition, offset: *offset };
            if let Some(blocking) = parked::at(&mut transaction, group, &place).await? {
                let fault = Fault::new("overdue", message.clone().unwrap_or_default());
                self.wake_later(&blocking, &fault, usize::try_from(*attempts).unwrap_or_default()).await?;
            }
        }
        millrace_store::parked::forget_published(&mut transaction, group).await?;
        transaction.commit().await?;
        metrics::of_group(&metrics::SWEPT, group).inc_by(overdue.len() as u64);
        Ok(overdue.len())
    }
}
