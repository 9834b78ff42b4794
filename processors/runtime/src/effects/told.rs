//! What the outside tells of its own accord, such as by a webhook: an answer that nobody asked for.

use millrace_domain::Effect;
use uuid::Uuid;

use super::course::Course;
use super::{Caller, ledger};
use crate::error::WorkError;
use crate::metrics;
use crate::moments;

/// What becomes of what the outside tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is the call's answer, and its command is on its way.
    Taken,
    /// The call had come to its end before.
    Known,
    /// There is no such call.
    Unheard,
}

impl<E: Effect> Caller<E> {
    /// Takes the answer to the call with this key, as if it had been waited for: once, however often it is told, and also
    /// when somebody is in the middle of the call. A call that was given up because nobody knew what came of it has its
    /// outcome now, and so has one that was withdrawn because it was taken for not made.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is written then, and it may be told again.
    pub async fn told(&self, key: Uuid, answer: E::Answer) -> Result<Told, WorkError> {
        let told = self.shared.pool.in_time(self.take(key, answer)).await?;
        let outcome = match told {
            Told::Taken => "taken",
            Told::Known => "known",
            Told::Unheard => "unheard",
        };
        metrics::EFFECT_CALLS.with_label_values(&[E::NAME, "told", outcome]).inc();
        Ok(told)
    }

    async fn take(&self, key: Uuid, answer: E::Answer) -> Result<Told, WorkError> {
        let mut transaction = self.shared.pool.begin().await?;
        let Some(leased) = ledger::take::<E>(&mut transaction, key).await? else {
            let known = ledger::is_known::<E>(&mut transaction, key).await?;
            return Ok(if known { Told::Known } else { Told::Unheard });
        };
        let request = serde_json::from_str(&leased.request);
        let request = request.map_err(|error| {
            WorkError::Refused(format!("this build cannot read the request of call {key}: {error}"))
        })?;
        self.enter(&mut transaction, &leased, Some(&request), &Course::Answered(answer)).await?;
        moments::pass(moments::BEFORE_COMMIT);
        transaction.commit().await?;
        Ok(Told::Taken)
    }
}
