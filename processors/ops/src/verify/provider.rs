//! The payments of a customer beside the provider's own record of them: each call that was answered is asked for by its key.

use std::time::Duration;

use chrono::Utc;
use millrace_domain::Effect;
use millrace_domain::effects::payment::{Answer, Payment, Request};
use millrace_engine::effects::{self, CallError};
use millrace_store::effect::{self, Made};
use millrace_store::outbox;
use serde_json::{Value, json};
use uuid::Uuid;

use super::finding::{Field, Finding};
use super::report::Compared;
use super::what::What;
use crate::config::Config;
use crate::failure::Failure;
use crate::postgres::Database;
use crate::providers::Providers;

/// The view that knows the payments of a customer.
pub(super) const VIEW: &str = "payments";
/// Payments that are asked for, at most, and events of each.
const PAYMENTS_MAX: i64 = 100;
const EVENTS_MAX: i64 = 100;
const NEWEST: &str =
    "SELECT order_id FROM payments WHERE customer_id = $1 ORDER BY requested_at DESC, order_id DESC LIMIT $2";

/// A call with its answer as it was kept.
struct Answered {
    key: Uuid,
    request: Request,
    answer: Answer,
}

/// Asks the provider for the calls of the customer's payments; `None` when no provider is configured.
///
/// # Errors
/// [`Failure::Refused`] when the provider does not answer, [`Failure::Unreachable`].
pub(super) async fn of_customer(
    config: &Config,
    (write, read): (&Database, &Database),
    customer_id: &str,
) -> Result<Option<(Compared, Vec<Finding>)>, Failure> {
    let Some(provider) = Providers::new(config)?.of::<Payment>() else { return Ok(None) };
    let payments: sqlx::Result<Vec<String>> =
        sqlx::query_scalar(NEWEST).bind(customer_id).bind(PAYMENTS_MAX).fetch_all(&read.pool).await;
    let payments = payments.map_err(|error| read.failure(error))?;
    let (mut asked, mut findings) = (0_i64, Vec::new());
    for order_id in &payments {
        for call in answered(config, write, order_id, provider.key_window()).await? {
            asked += 1;
            let said = told(provider.ask(call.key, &call.request).await).map_err(|error| {
                Failure::refused(format!("the payment provider does not tell about {}: {error}", call.key))
            })?;
            findings.extend(finding(order_id, call, &said));
        }
    }
    let compared = Compared { name: "provider".to_owned(), events: 0, rows: Some(asked), documents: None };
    Ok(Some((compared, findings)))
}

/// The answered calls of a payment that the provider still knows and whose bodies retention has left.
async fn answered(
    config: &Config,
    write: &Database,
    order_id: &str,
    window: Option<Duration>,
) -> Result<Vec<Answered>, Failure> {
    let fail = |error| write.failure(error);
    let events = outbox::heads_of_stream(&write.pool, (VIEW, order_id), EVENTS_MAX).await.map_err(fail)?;
    let group = config.namespace.group(Payment::NAME);
    let key = |event: &outbox::Head| (Payment::NAME, effects::key(&group, &event.id.to_string()));
    let calls =
        effect::calls(&write.pool, &events.iter().map(key).collect::<Vec<_>>()).await.map_err(fail)?;
    let mut connection = write.pool.acquire().await.map_err(fail)?;
    let mut answered = Vec::new();
    for made in calls.into_iter().filter(|made| is_known(made, window)) {
        let key = made.call.key;
        let bodies = effect::call(&mut connection, Payment::NAME, key).await.map_err(fail)?;
        answered.extend(bodies.and_then(|known| kept(key, &known.request?, &known.answer?)));
    }
    Ok(answered)
}

/// Whether it was answered, so lately that the provider has not forgotten its key.
fn is_known(made: &Made, window: Option<Duration>) -> bool {
    let age = Utc::now().signed_duration_since(made.created_at).to_std().unwrap_or_default();
    made.call.status == "done" && window.is_none_or(|window| age < window)
}

/// What an earlier or a later build has stored in another form is not compared.
fn kept(key: Uuid, request: &str, answer: &str) -> Option<Answered> {
    let (request, answer) = (serde_json::from_str(request).ok()?, serde_json::from_str(answer).ok()?);
    Some(Answered { key, request, answer })
}

/// What the provider's record of a call says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Answer(Answer),
    /// That it is about something else than was asked for.
    Other(String),
    Nothing,
}

fn told(said: Result<Option<Answer>, CallError>) -> Result<Told, CallError> {
    match said {
        Ok(Some(answer)) => Ok(Told::Answer(answer)),
        Ok(None) => Ok(Told::Nothing),
        Err(CallError::Contradicts(reason)) => Ok(Told::Other(reason.to_string())),
        Err(error) => Err(error),
    }
}

/// What is compared: the reference, or the code for which it was declined. The words for it may change.
fn shown(told: &Told) -> Value {
    match told {
        Told::Answer(Answer::Done { reference }) => json!(reference),
        Told::Answer(Answer::Declined { code, .. }) => json!({ "declined": code }),
        Told::Other(reason) => json!(reason),
        Told::Nothing => json!("nothing"),
    }
}

fn finding(order_id: &str, Answered { key, answer, .. }: Answered, said: &Told) -> Option<Finding> {
    let (found, expected) = (shown(&Told::Answer(answer)), shown(said));
    let same = found == expected;
    let field = Field { field: key.to_string(), found, expected, difference: None };
    (!same).then(|| Finding {
        what: What::Provider,
        name: VIEW.to_owned(),
        key: order_id.to_owned(),
        versions: [None, None],
        fields: vec![field],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_the_provider_does_not_give_again_is_a_finding() {
        let request = Request::Release { authorisation: "a".to_owned(), order_id: "10248".to_owned() };
        let done = |reference: &str| Answer::Done { reference: reference.to_owned() };
        let call = || Answered { key: Uuid::nil(), request: request.clone(), answer: done("p-1") };
        let said = |reference| told(Ok(Some(done(reference)))).expect("an answer");
        assert_eq!(finding("10248", call(), &said("p-1")), None);
        let unknown = finding("10248", call(), &told(Ok(None)).expect("an answer")).expect("a finding");
        assert_eq!((unknown.what, &unknown.fields[0].expected), (What::Provider, &json!("nothing")));
        let contradicts = told(Err(CallError::Contradicts("200 OK is about 71".into()))).expect("an answer");
        let other = finding("10248", call(), &contradicts).expect("a finding");
        assert_eq!(other.fields[0].expected, json!("200 OK is about 71"));
        assert!(told(Err(CallError::Unknown("no answer".into()))).is_err(), "nothing is known then");
        let other = finding("10248", call(), &said("p-2")).expect("a finding");
        assert_eq!((&other.fields[0].found, &other.fields[0].expected), (&json!("p-1"), &json!("p-2")));
    }
}
