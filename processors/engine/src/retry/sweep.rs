//! Blocking records whose wake-up copy never came are copied again, so that no key waits for ever. Drained records that are
//! published are removed.

use std::time::Duration;

use millrace_store::{Place, blocked_key};

use super::{Retries, parked};
use crate::error::{Fault, WorkError};
use crate::metrics;

/// A blocking record is overdue when its try is this late; before that its wake-up copy may still be in a queue.
const GRACE: Duration = Duration::from_secs(60);
const RECORDS_MAX: i64 = 100;

impl Retries {
    /// Copies overdue blocking records again, and removes drained records that are published. Harmless beside a copy that is
    /// still there: the second one no longer fits. How many were copied.
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
