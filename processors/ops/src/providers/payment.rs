//! The payment provider, over HTTP: a request that moves money is executed once for each key, and can be queried by it.

use std::time::Duration;

use async_trait::async_trait;
use millrace_domain::effects::payment::{Answer, Due, Payment, Request};
use millrace_engine::effects::{CallError, Provider};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{self, Service, field};
use crate::config;
use crate::failure::Failure;

/// The provider's status of a declined request.
const DECLINED: &str = "declined";
/// The provider's statuses of executed requests.
const DONE: [&str; 4] = ["authorised", "captured", "released", "refunded"];
/// Characters of a reference, at most, as in the context.
const REFERENCE_MAX: usize = 200;

/// The configured provider.
pub(super) struct PaymentProvider {
    service: Service,
    key_window: Duration,
}

impl PaymentProvider {
    /// `None` when none is configured.
    pub(super) fn new(payment: &config::Payment, call_timeout: Duration) -> Result<Option<Self>, Failure> {
        let Some(address) = payment.url.clone() else { return Ok(None) };
        let token = payment.token.clone();
        let service = Service::new("payment.url", address, token, call_timeout)?;
        Ok(Some(Self { service, key_window: payment.key_window }))
    }
}

#[async_trait]
impl Provider<Payment> for PaymentProvider {
    fn key_window(&self) -> Option<Duration> {
        Some(self.key_window)
    }

    async fn call(&self, key: Uuid, request: &Request) -> Result<Answer, CallError> {
        let key = key.to_string();
        let call = self.service.request(Method::POST, &[collection(request)])?;
        let call = call.header("Idempotency-Key", &key).json(&body(&key, request));
        let (status, body) = self.service.exchange(call).await?;
        answer(request, status, &body)
    }

    async fn ask(&self, key: Uuid, request: &Request) -> Result<Option<Answer>, CallError> {
        let question = self.service.request(Method::GET, &[collection(request), &key.to_string()])?;
        match self.service.exchange(question).await? {
            (StatusCode::NOT_FOUND, body) if field(&body, "code").is_some() => Ok(None),
            (status, body) => answer(request, status, &body).map(Some),
        }
    }
}

/// The content of a webhook.
pub struct Word {
    /// The idempotency key of its call.
    pub key: Uuid,
    body: Value,
}

impl Word {
    /// Reads a webhook's body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        let key = field(&body, "key").and_then(|key| key.parse().ok());
        let key = key.ok_or("key: it is missing or no UUID")?;
        match field(&body, "status") {
            Some(DECLINED) => {}
            Some(status) if DONE.contains(&status) => {
                reference(&body).ok_or("reference: it is missing, or cannot be kept")?;
            }
            other => return Err(format!("status: {} is none that is known", other.unwrap_or("nothing"))),
        }
        Ok(Self { key, body })
    }

    /// The webhook as the answer to a request.
    ///
    /// # Errors
    /// Why it is not the answer to the request.
    pub fn answers(&self, request: &Request) -> Result<Answer, String> {
        answer(request, StatusCode::OK, &self.body).map_err(|error| error.to_string())
    }
}

fn collection(request: &Request) -> &'static str {
    match request {
        Request::Authorise(_) => "authorisations",
        Request::Charge(_) => "charges",
        Request::Capture { .. } => "captures",
        Request::Release { .. } => "releases",
        Request::Refund { .. } => "refunds",
    }
}

fn body(key: &str, request: &Request) -> Value {
    match request {
        Request::Authorise(due) | Request::Charge(due) => {
            let Due { order_id, customer_id, amount, currency } = due;
            json!({
                "key": key, "amount": amount, "currency": currency, "customer": customer_id, "order": order_id,
            })
        }
        Request::Capture { amount, authorisation, .. } => {
            json!({ "key": key, "authorisation": authorisation, "amount": amount })
        }
        Request::Release { authorisation, .. } => json!({ "key": key, "authorisation": authorisation }),
        Request::Refund { amount, charge, .. } => json!({ "key": key, "charge": charge, "amount": amount }),
    }
}

/// The provider's status of an executed request of this kind.
fn done(request: &Request) -> &'static str {
    match request {
        Request::Authorise(_) => "authorised",
        Request::Charge(_) | Request::Capture { .. } => "captured",
        Request::Release { .. } => "released",
        Request::Refund { .. } => "refunded",
    }
}

/// The requested amount, and the currency if the request has one.
fn money(request: &Request) -> Option<(i64, Option<&str>)> {
    match request {
        Request::Authorise(due) | Request::Charge(due) => Some((due.amount, Some(&due.currency))),
        Request::Capture { amount, .. } | Request::Refund { amount, .. } => Some((*amount, None)),
        Request::Release { .. } => None,
    }
}

/// Converts an answer to a request.
fn answer(request: &Request, status: StatusCode, body: &Value) -> Result<Answer, CallError> {
    let said = field(body, "status").unwrap_or("nothing");
    let declined = status == StatusCode::PAYMENT_REQUIRED || status.is_success() && said == DECLINED;
    if !declined && !status.is_success() {
        return Err(service::error(status, body));
    }
    if let Some(difference) = other_money(request, body) {
        return Err(CallError::Contradicts(format!("{status} is about {difference}").into()));
    }
    if declined {
        let text = |name| field(body, name).unwrap_or_default().to_owned();
        return Ok(Answer::Declined { code: text("code"), reason: text("reason") });
    }
    let other = || format!("{status} says {said} where {} was asked for", done(request)).into();
    match reference(body) {
        Some(reference) if said == done(request) => Ok(Answer::Done { reference }),
        _ if said != done(request) && DONE.contains(&said) => Err(CallError::Contradicts(other())),
        _ => Err(CallError::Unknown(other())),
    }
}

/// The difference, if an answer states another amount or currency than the request; an answer that states none is accepted.
fn other_money(request: &Request, body: &Value) -> Option<String> {
    let (amount, currency) = money(request)?;
    let stated = |name: &str| body.get(name).filter(|value| !value.is_null());
    if let Some(stated) = stated("amount").filter(|stated| stated.as_i64() != Some(amount)) {
        return Some(format!("{stated} minor units where {amount} were asked for"));
    }
    let asked = currency?;
    let differs = |stated: &&Value| !stated.as_str().is_some_and(|stated| stated.eq_ignore_ascii_case(asked));
    stated("currency").filter(differs).map(|stated| format!("{stated} where {asked} was asked for"))
}

/// The provider's reference, if it can be stored.
fn reference(body: &Value) -> Option<String> {
    field(body, "reference").filter(|text| is_reference(text)).map(str::to_owned)
}

fn is_reference(text: &str) -> bool {
    (1..=REFERENCE_MAX).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use millrace_simulator::Behaviour;

    use super::*;
    use crate::providers::simulated::Simulated;

    fn due() -> Due {
        let (order_id, customer_id, currency) = ("o1".to_owned(), "c1".to_owned(), "EUR".to_owned());
        Due { order_id, customer_id, amount: 70, currency }
    }

    fn charge() -> Request {
        Request::Charge(due())
    }

    fn capture(authorisation: &str) -> Request {
        let (order_id, authorisation) = ("o1".to_owned(), authorisation.to_owned());
        Request::Capture { order_id, amount: 70, authorisation }
    }

    fn release(authorisation: &str) -> Request {
        Request::Release { order_id: "o1".to_owned(), authorisation: authorisation.to_owned() }
    }

    fn reference(answer: &Answer) -> &str {
        let Answer::Done { reference } = answer else { panic!("{answer:?}") };
        reference
    }

    fn refund(charge: &str, amount: i64) -> Request {
        let (order_id, refund_id, charge) = ("o1".to_owned(), "r1".to_owned(), charge.to_owned());
        Request::Refund { order_id, refund_id, amount, charge }
    }

    fn provider(simulated: &Simulated) -> PaymentProvider {
        let config = simulated.config();
        PaymentProvider::new(&config.payment, config.effects.call_timeout).unwrap().unwrap()
    }

    const KEY: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    #[tokio::test]
    async fn a_charge_and_its_refund_are_made_once_and_can_be_asked_for() {
        let simulated = Simulated::start("payment", Behaviour::default()).await;
        let provider = provider(&simulated);
        assert_eq!(provider.ask(KEY, &charge()).await, Ok(None));
        let done = provider.call(KEY, &charge()).await.unwrap();
        let reference = reference(&done);
        assert_eq!(provider.call(KEY, &charge()).await, Ok(done.clone()));
        assert_eq!(provider.ask(KEY, &charge()).await, Ok(Some(done.clone())));
        let refunded = provider.call(OTHER, &refund(reference, 70)).await.unwrap();
        assert_eq!(provider.ask(OTHER, &refund(reference, 70)).await, Ok(Some(refunded)));
        let more = provider.call(Uuid::from_u128(3), &refund(reference, 1)).await;
        assert!(matches!(more, Err(CallError::Refused(_))), "{more:?}");
        simulated.end().await;
    }

    #[tokio::test]
    async fn what_is_authorised_is_captured_or_released_whichever_comes_first() {
        let simulated = Simulated::start("payment-held", Behaviour::default()).await;
        let provider = provider(&simulated);
        let call = async |key: u128, request: Request| provider.call(Uuid::from_u128(key), &request).await;
        let authorize =
            async |key| reference(&call(key, Request::Authorise(due())).await.unwrap()).to_owned();
        let (taken, freed) = (authorize(1).await, authorize(2).await);
        assert_eq!(
            provider.ask(KEY, &Request::Authorise(due())).await,
            call(1, Request::Authorise(due())).await.map(Some)
        );
        let captured = call(3, capture(&taken)).await.unwrap();
        assert_eq!(provider.ask(Uuid::from_u128(3), &capture(&taken)).await, Ok(Some(captured.clone())));
        assert!(matches!(call(4, release(&taken)).await, Ok(Answer::Declined { .. })), "it was taken");
        assert!(matches!(call(5, release(&freed)).await, Ok(Answer::Done { .. })));
        assert!(matches!(call(6, capture(&freed)).await, Ok(Answer::Declined { .. })), "it was let go");
        assert!(matches!(call(7, capture("nothing")).await, Err(CallError::Refused(_))));
        assert!(matches!(call(8, refund(reference(&captured), 70)).await, Ok(Answer::Done { .. })));
        simulated.end().await;
    }

    #[tokio::test]
    async fn a_declined_charge_is_an_answer() {
        let simulated =
            Simulated::start("payment-no", Behaviour { decline: 100, ..Behaviour::default() }).await;
        let provider = provider(&simulated);
        let declined = provider.call(KEY, &charge()).await;
        assert!(matches!(declined, Ok(Answer::Declined { .. })), "{declined:?}");
        assert_eq!(provider.ask(KEY, &charge()).await, declined.map(Some));
        simulated.end().await;
    }

    #[tokio::test]
    async fn silence_after_a_charge_is_an_unknown_outcome_that_a_question_clears_up() {
        let hold = Duration::from_millis(50);
        let behaviour = Behaviour { timeout_after_charge: 100, hold, ..Behaviour::default() };
        let simulated = Simulated::start("payment-silent", behaviour).await;
        let provider = provider(&simulated);
        let lost = provider.call(KEY, &charge()).await;
        assert!(matches!(lost, Err(CallError::Unknown(_))), "{lost:?}");
        let asked = provider.ask(KEY, &charge()).await;
        assert!(matches!(asked, Ok(Some(Answer::Done { .. }))), "{asked:?}");
        simulated.end().await;
    }

    #[tokio::test]
    async fn who_is_turned_away_or_finds_nobody_knows_that_nothing_was_done() {
        let simulated =
            Simulated::start("payment-busy", Behaviour { error: 100, ..Behaviour::default() }).await;
        let provider = provider(&simulated);
        let busy = provider.call(KEY, &charge()).await;
        assert!(matches!(busy, Err(CallError::Unavailable(_))), "{busy:?}");
        simulated.end().await;
        let away = provider.call(KEY, &charge()).await;
        assert!(matches!(away, Err(CallError::Unavailable(_) | CallError::Unknown(_))), "{away:?}");
    }

    #[test]
    fn what_tells_of_us_or_of_the_provider_is_no_word_on_the_request() {
        let body = json!({ "code": "x", "reason": "y" });
        let kind = |status| match answer(&charge(), StatusCode::from_u16(status).unwrap(), &body) {
            Ok(_) => "answered",
            Err(CallError::Refused(_)) => "refused",
            Err(CallError::Unavailable(_)) => "unavailable",
            Err(CallError::Unknown(_) | CallError::Contradicts(_)) => "unknown",
        };
        assert_eq!([402].map(kind), ["answered"]);
        assert_eq!([400, 410, 413, 422].map(kind), ["refused"; 4]);
        assert_eq!([401, 403, 404, 405, 429, 503].map(kind), ["unavailable"; 6]);
        assert_eq!([200, 301, 303, 408, 409, 425, 500, 502, 504].map(kind), ["unknown"; 9]);
        let reused = answer(&charge(), StatusCode::UNPROCESSABLE_ENTITY, &json!({ "code": "key-reused" }));
        assert!(matches!(reused, Err(CallError::Unknown(_))), "something was done for the key: {reused:?}");
    }

    #[tokio::test]
    async fn a_key_in_work_is_asked_for_until_there_is_an_answer() {
        let (work, hold) = (Duration::from_millis(1_500), Duration::from_millis(10));
        let behaviour = Behaviour { slow: 100, work, hold, ..Behaviour::default() };
        let simulated = Simulated::start("payment-slow", behaviour).await;
        let provider = provider(&simulated);
        let lost = tokio::time::timeout(Duration::from_millis(100), provider.call(KEY, &charge())).await;
        assert!(lost.is_err(), "the caller has no more time");
        assert_eq!(provider.ask(KEY, &charge()).await, Ok(None), "nothing is booked yet");
        let again = provider.call(KEY, &charge()).await;
        assert!(matches!(again, Err(CallError::Unknown(_))), "{again:?}");
        let booked = loop {
            match provider.ask(KEY, &charge()).await.unwrap() {
                Some(answer) => break answer,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert_eq!(provider.call(KEY, &charge()).await, Ok(booked));
        let other = Request::Charge(Due { amount: 71, ..due() });
        let called = provider.call(KEY, &other).await;
        assert!(matches!(called, Err(CallError::Unknown(_) | CallError::Contradicts(_))), "{called:?}");
        let asked = provider.ask(KEY, &other).await;
        assert!(matches!(asked, Err(CallError::Contradicts(_))), "it is about 70: {asked:?}");
        assert_eq!(simulated.end().await.len(), 1);
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let body = json!({ "status": "authorised", "reference": "au-1" });
        let answer = |request: &Request| answer(request, StatusCode::OK, &body);
        let done = Answer::Done { reference: "au-1".to_owned() };
        assert_eq!(answer(&Request::Authorise(due())), Ok(done));
        for request in [charge(), capture("au-1"), release("au-1"), refund("ch-1", 1)] {
            assert!(matches!(answer(&request), Err(CallError::Contradicts(_))), "{request:?}");
        }
    }

    #[test]
    fn an_answer_about_other_money_is_none() {
        let said = |amount: Value, currency: Value| {
            let body =
                json!({ "status": "captured", "reference": "ch-1", "amount": amount, "currency": currency });
            answer(&charge(), StatusCode::OK, &body)
        };
        let done = Answer::Done { reference: "ch-1".to_owned() };
        for (amount, currency) in
            [(json!(70), json!("EUR")), (json!(70), json!("eur")), (json!(null), json!(null))]
        {
            assert_eq!(said(amount, currency), Ok(done.clone()));
        }
        for (amount, currency) in [
            (json!(71), json!("EUR")),
            (json!("70"), json!("EUR")),
            (json!(70.5), json!("EUR")),
            (json!(70), json!("USD")),
        ] {
            assert!(matches!(said(amount.clone(), currency), Err(CallError::Contradicts(_))), "{amount}");
        }
        let declined = json!({ "status": "declined", "code": "empty", "amount": 71 });
        assert!(answer(&charge(), StatusCode::PAYMENT_REQUIRED, &declined).is_err(), "of another charge");
    }

    #[test]
    fn a_webhook_tells_of_a_call_and_its_answer() {
        let read = |body: Value| -> Result<(Uuid, Result<Answer, String>), String> {
            let word = Word::read(body.to_string().as_bytes())?;
            Ok((word.key, word.answers(&charge())))
        };
        let done = Answer::Done { reference: "ch-1".to_owned() };
        let body = |status: &str| json!({ "key": KEY, "status": status, "reference": "ch-1" });
        assert_eq!(read(body("captured")), Ok((KEY, Ok(done))));
        for status in ["authorised", "released", "refunded"] {
            let other = format!("200 OK says {status} where captured was asked for");
            let refusal = read(body(status)).unwrap().1.unwrap_err();
            assert!(refusal.contains(&other), "{refusal}");
        }
        let declined = Answer::Declined { code: "empty".to_owned(), reason: "no money".to_owned() };
        let no = json!({ "key": KEY, "status": "declined", "code": "empty", "reason": "no money" });
        assert_eq!(read(no), Ok((KEY, Ok(declined))));
        for (wrong, field) in [
            (body("pending"), "status"),
            (json!({ "key": KEY, "reference": "ch-1" }), "status"),
            (json!({ "key": "k", "status": "captured", "reference": "ch-1" }), "key"),
            (json!({ "key": KEY, "status": "captured" }), "reference"),
            (json!(7), "key"),
        ] {
            let refused = read(wrong.clone()).unwrap_err();
            assert!(refused.starts_with(field), "{wrong}");
        }
        assert!(Word::read(b"{").err().unwrap().contains("JSON"));
    }

    #[test]
    fn a_reference_that_cannot_be_kept_is_none() {
        for (reference, fine) in [("ch-1", true), ("", false), (" ", false), ("a\nb", false)] {
            assert_eq!(is_reference(reference), fine, "{reference:?}");
        }
        assert!(is_reference(&"x".repeat(REFERENCE_MAX)) && !is_reference(&"x".repeat(REFERENCE_MAX + 1)));
    }
}
