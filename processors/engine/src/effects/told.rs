//! What the outside tells of its own accord, such as by a webhook: an answer that nobody asked for.

use millrace_domain::Effect;
use millrace_store::effect;
use sqlx::PgConnection;
use uuid::Uuid;

use super::course::Course;
use super::{Caller, ledger};
use crate::error::WorkError;
use crate::metrics;
use crate::moments;

/// What becomes of what the outside tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is the call's answer, and its command is on its way.
    Taken,
    /// The call had come to its end before.
    Known,
    /// The call had come to another end before: a person must look.
    Contradicts,
    /// There is no such call.
    Unheard,
    /// It is no answer to what was asked for: why. The call goes on.
    Other(String),
}

impl<E: Effect> Caller<E> {
    /// Takes the answer to the call with this key, as if it had been waited for: once, however often it is told, and also
    /// when somebody is in the middle of the call. A call that was given up because nobody knew what came of it has its
    /// outcome now, and so has one that was withdrawn because it was taken for not made. `read` makes the answer of what was
    /// told, in the light of what was asked for, or says why it is none.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is written then, and it may be told again.
    pub async fn told(
        &self,
        key: Uuid,
        read: impl Fn(&E::Request) -> Result<E::Answer, String> + Send + Sync,
    ) -> Result<Told, WorkError> {
        let told = self.shared.pool.in_time(self.take(key, &read)).await?;
        let outcome = match told {
            Told::Taken => "taken",
            Told::Known => "known",
            Told::Contradicts => "contradicts",
            Told::Unheard => "unheard",
            Told::Other(_) => "other",
        };
        metrics::EFFECT_CALLS.with_label_values(&[E::NAME, "told", outcome]).inc();
        Ok(told)
    }

    async fn take(
        &self,
        key: Uuid,
        read: &(impl Fn(&E::Request) -> Result<E::Answer, String> + Sync),
    ) -> Result<Told, WorkError> {
        let mut transaction = self.shared.pool.begin().await?;
        let Some(leased) = ledger::take::<E>(&mut transaction, key).await? else {
            return ended::<E>(&mut transaction, key, read).await;
        };
        let request = request::<E>(key, &leased.request)?;
        let answer = match read(&request) {
            Ok(answer) => answer,
            Err(reason) => return Ok(Told::Other(reason)),
        };
        self.enter(&mut transaction, &leased, Some(&request), &Course::Answered(answer)).await?;
        moments::pass(moments::BEFORE_COMMIT);
        transaction.commit().await?;
        Ok(Told::Taken)
    }
}

/// What is told of a call that has come to its end: the same, or something else.
async fn ended<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
    read: &(impl Fn(&E::Request) -> Result<E::Answer, String> + Sync),
) -> Result<Told, WorkError> {
    let call = effect::call(connection, E::NAME, key).await?;
    let Some((asked, answer)) = call else { return Ok(Told::Unheard) };
    let told = match read(&request::<E>(key, &asked)?) {
        Ok(told) => told,
        Err(reason) => return Ok(Told::Other(reason)),
    };
    // One that an earlier build has written, perhaps in another form, is not judged.
    let known = answer.as_deref().map(serde_json::from_str::<E::Answer>);
    if matches!(&known, Some(Ok(known)) if *known == told) || matches!(known, Some(Err(_))) {
        return Ok(Told::Known);
    }
    tracing::error!(effect = E::NAME, %key, ?told, answer, "a call has ended otherwise than is told");
    Ok(Told::Contradicts)
}

fn request<E: Effect>(key: Uuid, stored: &str) -> Result<E::Request, WorkError> {
    serde_json::from_str(stored).map_err(|error| {
        WorkError::Refused(format!("this build cannot read the request of call {key}: {error}"))
    })
}
