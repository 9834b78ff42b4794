//! Batches whose sequence check serves several groups.

use sqlx::PgConnection;

use super::{Retries, Settled, poison, unless_it_panics};
use crate::error::WorkError;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::sequence::{Decoded, Intake};
use crate::spans;

impl Retries {
    /// Decodes the records of a role with a sequence check; `None` when one of them fails.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub(crate) async fn decode_plain(&self, batch: &[&Record]) -> Result<Option<Decoded<'_>>, WorkError> {
        let Some(role) = self.role.sequenced() else { return Ok(Some(Decoded::none(self.role.group()))) };
        if batch.iter().any(|record| record.unread.is_some()) {
            return Ok(None);
        }
        let decoded = unless_it_panics("fold", async {
            poison(batch);
            role.decode(batch).await
        })
        .await?;
        Ok(decoded.outcomes.iter().all(Outcome::is_done).then_some(decoded))
    }

    /// Folds the events of records that were decoded and checked; those of a role without a sequence check as any batch. `None` when
    /// one does not simply apply, and the caller must roll back.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub(crate) async fn fold_plain(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
        intake: Intake,
    ) -> Result<Option<Settled>, WorkError> {
        let Some(role) = self.role.sequenced() else { return self.settle_plain(connection, batch).await };
        let folding = unless_it_panics("fold", role.fold_checked(connection, intake));
        Ok(self.plain(spans::traced(&*self.role, batch, None, folding).await?))
    }
}
