//! Webhooks: outcomes of calls that the external system reports.

use millrace_domain::Effect;
use millrace_store::effect::{self, Known};
use sqlx::PgConnection;
use uuid::Uuid;

use super::policy::CallOutcome;
use super::{Caller, ledger};
use crate::error::WorkError;
use crate::failpoints;
use crate::metrics;
use crate::outbox::Cause;
use crate::reason::Reason;
use crate::spans;

/// An outcome, and its span when the call is sampled.
type Traced = (WebhookOutcome, Option<spans::Call>);

/// The effect of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// It is the answer to the call; its command is in the outbox.
    Taken,
    /// The call had this outcome before.
    Known,
    /// The call had another outcome before: an operator must look.
    Contradicts,
    /// There is no such call.
    UnknownCall,
    /// It is not an answer to the request, with the reason. The call goes on.
    Other(String),
}

impl<E: Effect> Caller<E> {
    /// Takes the answer to the call with this key, as if the call had returned it: once, however often it is reported, and also while
    /// the call is being made. It also settles a call that was given up with an unknown outcome, or withdrawn because it seemed not
    /// to have been made. `read` makes the answer from the webhook, given the request, or returns why it is not one.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is written then, and the webhook may be sent again.
    pub async fn webhook(
        &self,
        key: Uuid,
        read: impl Fn(&E::Request) -> Result<E::Answer, String> + Send + Sync,
    ) -> Result<WebhookOutcome, WorkError> {
        let (taken, span) = self.shared.pool.in_time(self.take(key, &read)).await?;
        let (outcome, wrong) = taken.told();
        metrics::EFFECT_CALLS.with_label_values(&[E::NAME, "webhook", outcome]).inc();
        if let Some(span) = span {
            span.end(outcome, wrong);
        }
        Ok(taken)
    }

    async fn take(
        &self,
        key: Uuid,
        read: &(impl Fn(&E::Request) -> Result<E::Answer, String> + Sync),
    ) -> Result<Traced, WorkError> {
        let mut transaction = self.shared.pool.begin().await?;
        let Some(mut leased) = ledger::take::<E>(&mut transaction, key).await? else {
            return ended::<E>(&mut transaction, key, read).await;
        };
        let request = request::<E>(key, &leased.request)?;
        let span = spans::Call::reported(E::NAME, key, leased.attempt, &mut leased.cause);
        let answer = match read(&request) {
            Ok(answer) => answer,
            Err(reason) => return Ok((WebhookOutcome::Other(reason), span)),
        };
        self.enter(&mut transaction, &leased, Some(&request), &CallOutcome::Answered(answer)).await?;
        failpoints::pass(failpoints::BEFORE_COMMIT);
        transaction.commit().await?;
        Ok((WebhookOutcome::Taken, span))
    }
}

impl WebhookOutcome {
    /// Its name in metrics and spans, and what is wrong about it.
    fn told(&self) -> (&'static str, Option<&str>) {
        match self {
            WebhookOutcome::Taken => ("taken", None),
            WebhookOutcome::Known => ("known", None),
            WebhookOutcome::Contradicts => ("contradicts", Some("the call had another outcome before")),
            WebhookOutcome::UnknownCall => ("unknown-call", None),
            WebhookOutcome::Other(reason) => ("other", Some(reason)),
        }
    }
}

/// Compares a webhook with the existing outcome of its call.
async fn ended<E: Effect>(
    connection: &mut PgConnection,
    key: Uuid,
    read: &(impl Fn(&E::Request) -> Result<E::Answer, String> + Sync),
) -> Result<Traced, WorkError> {
    let known = effect::call(connection, E::NAME, key).await?;
    let Some(known) = known else { return Ok((WebhookOutcome::UnknownCall, None)) };
    let (id, traceparent) = (known.event_id.clone(), known.traceparent.clone());
    let mut cause = Cause { id, correlation_id: None, traceparent, occurred_at: None };
    let span = spans::Call::reported(E::NAME, key, known.attempts, &mut cause);
    Ok((compared::<E>(key, known, read)?, span))
}

fn compared<E: Effect>(
    key: Uuid,
    Known { request: asked, answer, .. }: Known,
    read: &impl Fn(&E::Request) -> Result<E::Answer, String>,
) -> Result<WebhookOutcome, WorkError> {
    let Some(asked) = asked else {
        tracing::info!(effect = E::NAME, %key, "a webhook of a call that ended long ago is not compared");
        return Ok(WebhookOutcome::Known);
    };
    let reported = match read(&request::<E>(key, &asked)?) {
        Ok(reported) => reported,
        Err(reason) => return Ok(WebhookOutcome::Other(reason)),
    };
    // An outcome that an earlier build has written in another format is not compared.
    let known = answer.as_deref().map(serde_json::from_str::<E::Answer>);
    if matches!(&known, Some(Ok(known)) if *known == reported) || matches!(known, Some(Err(_))) {
        return Ok(WebhookOutcome::Known);
    }
    tracing::error!(effect = E::NAME, %key, ?reported, answer, "a webhook contradicts the outcome of its call");
    Ok(WebhookOutcome::Contradicts)
}

fn request<E: Effect>(key: Uuid, stored: &str) -> Result<E::Request, WorkError> {
    serde_json::from_str(stored).map_err(|error| {
        WorkError::Refused(Reason::because(
            format_args!("this build cannot read the request of call {key}"),
            error,
        ))
    })
}
