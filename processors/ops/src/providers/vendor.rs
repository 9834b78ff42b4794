//! The vendor of messages, over HTTP: a batch is accepted once for each key, and can be queried by it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use millrace_domain::effects::delivery::{Batch, Delivery, Outcome, Receipt, Receipts};
use millrace_engine::effects::{CallError, Provider};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{self, Service, field};
use crate::config;
use crate::failure::Failure;
use crate::pace::Pace;

const DELIVERIES: &str = "deliveries";

/// The configured vendor.
pub(super) struct Vendor {
    service: Service,
    key_window: Duration,
    pace: Pace,
}

impl Vendor {
    /// `None` when none is configured.
    pub(super) fn new(vendor: &config::Vendor, call_timeout: Duration) -> Result<Option<Self>, Failure> {
        let Some(address) = vendor.url.clone() else { return Ok(None) };
        let token = vendor.token.clone();
        let service = Service::new("vendor.url", address, token, call_timeout)?;
        let pace = Pace::new(vendor.messages_per_second);
        Ok(Some(Self { service, key_window: vendor.key_window, pace }))
    }
}

#[async_trait]
impl Provider<Delivery> for Vendor {
    fn key_window(&self) -> Option<Duration> {
        Some(self.key_window)
    }

    async fn admit(&self, request: &Batch, within: Duration) -> bool {
        let messages = u32::try_from(request.messages.len()).unwrap_or(u32::MAX);
        let Some(at) = self.pace.reserve(messages, Instant::now(), within) else { return false };
        tokio::time::sleep_until(at.into()).await;
        true
    }

    async fn call(&self, key: Uuid, request: &Batch) -> Result<Receipts, CallError> {
        let written: Vec<_> = request.messages.iter().map(|message| request.written(message)).collect();
        let body = json!({ "channel": request.channel, "messages": written });
        let call = self.service.request(Method::POST, &[DELIVERIES])?;
        let call = call.header("Idempotency-Key", key.to_string()).json(&body);
        let (status, body) = self.service.exchange(call).await?;
        answer(status, &body, request)
    }

    async fn ask(&self, key: Uuid, request: &Batch) -> Result<Option<Receipts>, CallError> {
        let question = self.service.request(Method::GET, &[DELIVERIES, &key.to_string()])?;
        match self.service.exchange(question).await? {
            (StatusCode::NOT_FOUND, body) if field(&body, "code").is_some() => Ok(None),
            (status, body) => answer(status, &body, request).map(Some),
        }
    }
}

/// The vendor's result for every message. An answer that leaves a message out is invalid, since its result would never be queried
/// again.
fn answer(status: StatusCode, body: &Value, request: &Batch) -> Result<Receipts, CallError> {
    if !status.is_success() {
        return Err(service::error(status, body));
    }
    let listed = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let listed: HashMap<&str, &Value> =
        listed.iter().filter_map(|one| Some((field(one, "id")?, one))).collect();
    let receipts = request.messages.iter().map(|message| {
        let outcome = listed.get(request.written(message).id.as_str()).and_then(|one| outcome(one));
        Some(Receipt { number: message.number, outcome: outcome? })
    });
    let receipts: Option<Vec<Receipt>> = receipts.collect();
    let missing = || CallError::Unknown(format!("{status} that does not list every message").into());
    receipts.map(Receipts).ok_or_else(missing)
}

fn outcome(message: &Value) -> Option<Outcome> {
    match field(message, "status")? {
        "accepted" => Some(Outcome::Sent),
        "failed" => {
            let retryable = message.get("retryable").and_then(Value::as_bool).unwrap_or(false);
            Some(Outcome::Failed {
                retryable,
                reason: field(message, "reason").unwrap_or_default().to_owned(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use millrace_domain::effects::delivery::Message;
    use millrace_simulator::{Behaviour, Entry};

    use super::*;
    use crate::providers::simulated::Simulated;

    const KEY: Uuid = Uuid::from_u128(1);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn batch() -> Batch {
        let message = |number: i32| Message {
            number,
            attempt: 1,
            customer_id: format!("c{number}"),
            name: format!("Ana {number}"),
            contact_name: None,
            address: format!("c{number}@example.com"),
        };
        let [chunk_id, channel, subject, text] =
            ["spring/1", "email", "Hello", "Dear {name}"].map(str::to_owned);
        Batch { chunk_id, channel, subject, message: text, messages: vec![message(1), message(2)] }
    }

    fn vendor(simulated: &Simulated) -> Vendor {
        Vendor::new(&simulated.config().vendor, TIMEOUT).unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_batch_is_sent_once_with_personal_texts_and_can_be_asked_for() {
        let simulated = Simulated::start("vendor", Behaviour::default()).await;
        let vendor = vendor(&simulated);
        assert_eq!(vendor.ask(KEY, &batch()).await, Ok(None));
        let sent = vendor.call(KEY, &batch()).await.unwrap();
        assert_eq!(
            sent.0.iter().map(|one| (one.number, &one.outcome)).collect::<Vec<_>>(),
            [(1, &Outcome::Sent), (2, &Outcome::Sent)]
        );
        assert_eq!(vendor.call(KEY, &batch()).await, Ok(sent.clone()));
        assert_eq!(vendor.ask(KEY, &batch()).await, Ok(Some(sent)));
        let entries = simulated.end().await;
        let [Entry::Batch(found)] = entries.as_slice() else { panic!("{entries:?}") };
        let texts: Vec<_> = found.messages.iter().map(|one| (one.to.as_str(), one.text.as_str())).collect();
        assert_eq!(texts, [("c1@example.com", "Dear Ana 1"), ("c2@example.com", "Dear Ana 2")]);
    }

    #[tokio::test]
    async fn messages_that_fail_say_whether_another_attempt_may_do_better() {
        for (behaviour, expected) in [
            (Behaviour { decline: 100, ..Behaviour::default() }, false),
            (Behaviour { defer: 100, ..Behaviour::default() }, true),
        ] {
            let simulated = Simulated::start(&format!("vendor-{expected}"), behaviour).await;
            let answer = vendor(&simulated).call(KEY, &batch()).await.unwrap();
            let failed = |one: &Receipt| matches!(one.outcome, Outcome::Failed { retryable, .. } if retryable == expected);
            assert!(answer.0.iter().all(failed), "{answer:?}");
            simulated.end().await;
        }
    }

    #[tokio::test]
    async fn silence_after_a_batch_is_an_unknown_outcome_that_a_question_clears_up() {
        let hold = Duration::from_millis(50);
        let behaviour = Behaviour { timeout_after_delivery: 100, hold, ..Behaviour::default() };
        let simulated = Simulated::start("vendor-silent", behaviour).await;
        let vendor = vendor(&simulated);
        let lost = vendor.call(KEY, &batch()).await;
        assert!(matches!(lost, Err(CallError::Unknown(_))), "{lost:?}");
        assert!(matches!(vendor.ask(KEY, &batch()).await, Ok(Some(_))));
        simulated.end().await;
    }

    #[tokio::test]
    async fn a_batch_goes_when_the_pace_allows_all_its_messages() {
        let simulated = Simulated::start("vendor-pace", Behaviour::default()).await;
        let config = config::Vendor { messages_per_second: 1, ..simulated.config().vendor };
        let vendor = Vendor::new(&config, TIMEOUT).unwrap().unwrap();
        assert!(vendor.admit(&batch(), Duration::ZERO).await);
        assert!(!vendor.admit(&batch(), Duration::from_secs(1)).await, "two messages take two seconds");
        simulated.end().await;
    }

    #[test]
    fn an_answer_that_leaves_a_message_out_is_none() {
        let accepted = |id: &str| json!({ "id": id, "status": "accepted" });
        let read = |messages: &[Value]| answer(StatusCode::OK, &json!({ "messages": messages }), &batch());
        assert!(read(&[accepted("spring/1/1"), accepted("spring/1/2")]).is_ok());
        for messages in
            [vec![], vec![accepted("spring/1/1")], vec![accepted("spring/1/1"), json!({"id": "spring/1/2"})]]
        {
            assert!(matches!(read(&messages), Err(CallError::Unknown(_))), "{messages:?}");
        }
    }
}
