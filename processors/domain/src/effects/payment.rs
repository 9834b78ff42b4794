//! Payments at the provider: the money of an order is authorised first, then captured or released; a period of a subscription is
//! charged at once; captured money can be refunded.

use millrace_schemas::payments::{
    AuthorisePayment, CapturePayment, CompleteRefund, DeclinePayment, Event, FailRefund, PaymentRequested,
};
use millrace_schemas::{Command, Event as AnyEvent};
use serde::{Deserialize, Serialize};

use super::words;
use crate::contexts::payments::Payments;
use crate::{Context, Effect, GaveUp, Recorded};

const CODE_MAX: usize = 100;
const REASON_MAX: usize = 500;
/// The code of a request that the provider refuses.
const REFUSED: &str = "provider-refused";

/// The effect that moves money.
#[derive(Debug)]
pub struct Payment;

/// A request to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Authorise a customer's money.
    Authorise(Due),
    /// Charge a customer's money at once.
    Charge(Due),
    /// Capture authorised money.
    Capture {
        /// The order that is paid.
        order_id: String,
        /// In minor units.
        amount: i64,
        /// The provider's reference of the authorisation.
        authorisation: String,
    },
    /// Release an authorisation.
    Release {
        /// The order that is not paid.
        order_id: String,
        /// The provider's reference of the authorisation.
        authorisation: String,
    },
    /// Refund captured money.
    Refund {
        /// The order that was paid.
        order_id: String,
        /// The id of the refund.
        refund_id: String,
        /// In minor units.
        amount: i64,
        /// The provider's reference of the charge.
        charge: String,
    },
}

/// An amount to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The order or the period.
    pub order_id: String,
    /// The customer.
    pub customer_id: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// The provider's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done {
        /// The provider's reference.
        reference: String,
    },
    /// It is declined.
    Declined {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
}

impl Effect for Payment {
    const NAME: &'static str = "payment";
    const CONTEXTS: &'static [&'static str] = &[Payments::NAME];
    type Request = Request;
    type Answer = Answer;

    fn request(event: &Recorded) -> Option<Request> {
        let AnyEvent::Payments(event) = &event.event else { return None };
        match event.clone() {
            Event::PaymentRequested(event) => Some(requested(event)),
            Event::CaptureRequested(event) => Some(Request::Capture {
                order_id: event.order_id,
                amount: event.amount,
                authorisation: event.provider_reference,
            }),
            Event::PaymentVoided(event) => {
                Some(Request::Release { order_id: event.order_id, authorisation: event.provider_reference? })
            }
            Event::RefundRequested(event) => Some(Request::Refund {
                order_id: event.order_id,
                refund_id: event.refund_id,
                amount: event.amount,
                charge: event.provider_reference,
            }),
            Event::PaymentDeclined(event) => {
                Some(Request::Release { order_id: event.order_id, authorisation: event.provider_reference? })
            }
            Event::PaymentAuthorised(_)
            | Event::PaymentCaptured(_)
            | Event::PaymentRefunded(_)
            | Event::RefundFailed(_) => None,
        }
    }

    /// A void withdraws the earlier calls of its stream, which take money: what was not captured is never refunded.
    fn withdraws(event: &Recorded) -> bool {
        matches!(&event.event, AnyEvent::Payments(Event::PaymentVoided(_)))
    }

    /// The outcome of a release has no command: if it was too late, the capture's answer shows it.
    fn answered(request: &Request, answer: &Answer) -> Option<Command> {
        match answer.clone() {
            Answer::Done { reference } => done(request.clone(), reference),
            Answer::Declined { code, reason } => not_done(request.clone(), &code, &reason),
        }
    }

    /// No command when money may have moved, since neither outcome would be certain.
    fn gave_up(request: &Request, why: &GaveUp) -> Option<Command> {
        if why.unknown { None } else { not_done(request.clone(), REFUSED, &why.reason) }
    }
}

/// The request for a payment: a period of a subscription is charged at once, an order is authorised.
fn requested(event: PaymentRequested) -> Request {
    let PaymentRequested { order_id, customer_id, amount, currency, subscription_id } = event;
    let due = Due { order_id, customer_id, amount, currency };
    if subscription_id.is_some() { Request::Charge(due) } else { Request::Authorise(due) }
}

fn done(request: Request, provider_reference: String) -> Option<Command> {
    Some(match request {
        Request::Authorise(Due { order_id, amount, .. }) => {
            Command::Payments(AuthorisePayment { order_id, amount, provider_reference }.into())
        }
        Request::Charge(Due { order_id, amount, .. }) | Request::Capture { order_id, amount, .. } => {
            captured(order_id, amount, provider_reference)
        }
        Request::Refund { order_id, refund_id, .. } => {
            Command::Payments(CompleteRefund { order_id, refund_id, provider_reference }.into())
        }
        Request::Release { .. } => return None,
    })
}

fn not_done(request: Request, code: &str, reason: &str) -> Option<Command> {
    Some(match request {
        Request::Authorise(Due { order_id, .. })
        | Request::Charge(Due { order_id, .. })
        | Request::Capture { order_id, .. } => declined(order_id, code, reason),
        Request::Refund { order_id, refund_id, .. } => {
            failed(order_id, refund_id, &format!("{code}: {reason}"))
        }
        Request::Release { .. } => return None,
    })
}

fn captured(order_id: String, amount: i64, provider_reference: String) -> Command {
    Command::Payments(CapturePayment { order_id, amount, provider_reference }.into())
}

fn declined(order_id: String, code: &str, reason: &str) -> Command {
    let (code, reason) = (words(code, CODE_MAX), words(reason, REASON_MAX));
    Command::Payments(DeclinePayment { order_id, code, reason }.into())
}

fn failed(order_id: String, refund_id: String, reason: &str) -> Command {
    Command::Payments(FailRefund { order_id, refund_id, reason: words(reason, REASON_MAX) }.into())
}

#[cfg(test)]
mod tests {
    use millrace_schemas::payments::{CaptureRequested, PaymentDeclined, PaymentVoided, RefundRequested};

    use super::*;
    use crate::testing::{recorded, strings};

    fn requested(subscription_id: Option<&str>) -> AnyEvent {
        let [order_id, customer_id, currency] = strings(["o1", "c1", "EUR"]);
        let subscription_id = subscription_id.map(str::to_owned);
        AnyEvent::Payments(
            PaymentRequested { order_id, customer_id, amount: 70, currency, subscription_id }.into(),
        )
    }

    fn capture_requested() -> AnyEvent {
        let [order_id, customer_id, currency, provider_reference] = strings(["o1", "c1", "EUR", "au-1"]);
        AnyEvent::Payments(
            CaptureRequested { order_id, customer_id, amount: 70, currency, provider_reference }.into(),
        )
    }

    fn voided(authorisation: Option<&str>) -> AnyEvent {
        let [order_id, customer_id, currency, reason] = strings(["o1", "c1", "EUR", "late"]);
        let event = PaymentVoided {
            order_id,
            customer_id,
            amount: 70,
            currency,
            reason,
            subscription_id: None,
            provider_reference: authorisation.map(str::to_owned),
        };
        AnyEvent::Payments(event.into())
    }

    fn declined_event(authorisation: Option<&str>) -> AnyEvent {
        let [order_id, customer_id, currency, code, reason] =
            strings(["o1", "c1", "EUR", "empty", "no money"]);
        let event = PaymentDeclined {
            order_id,
            customer_id,
            amount: 70,
            currency,
            code,
            reason,
            subscription_id: None,
            provider_reference: authorisation.map(str::to_owned),
        };
        AnyEvent::Payments(event.into())
    }

    fn refund_requested() -> AnyEvent {
        let [order_id, customer_id, currency, reason] = strings(["o1", "c1", "EUR", "broken"]);
        let [refund_id, provider_reference] = strings(["r1", "ch-1"]);
        let event = RefundRequested {
            order_id,
            customer_id,
            refund_id,
            amount: 30,
            currency,
            provider_reference,
            reason,
            subscription_id: None,
        };
        AnyEvent::Payments(event.into())
    }

    fn asked(event: &AnyEvent) -> Option<Request> {
        Payment::request(&recorded(event, 1))
    }

    fn due() -> Due {
        let [order_id, customer_id, currency] = strings(["o1", "c1", "EUR"]);
        Due { order_id, customer_id, amount: 70, currency }
    }

    fn capture() -> Request {
        let [order_id, authorisation] = strings(["o1", "au-1"]);
        Request::Capture { order_id, amount: 70, authorisation }
    }

    fn release() -> Request {
        let [order_id, authorisation] = strings(["o1", "au-1"]);
        Request::Release { order_id, authorisation }
    }

    fn refund() -> Request {
        let [order_id, refund_id, charge] = strings(["o1", "r1", "ch-1"]);
        Request::Refund { order_id, refund_id, amount: 30, charge }
    }

    fn all() -> [Request; 5] {
        [Request::Authorise(due()), Request::Charge(due()), capture(), release(), refund()]
    }

    fn done() -> Answer {
        Answer::Done { reference: "p-1".to_owned() }
    }

    fn no() -> Answer {
        Answer::Declined { code: "empty".to_owned(), reason: "no\nmoney".to_owned() }
    }

    fn gave_up(unknown: bool) -> GaveUp {
        GaveUp { reason: "x".repeat(1_000), unknown }
    }

    #[test]
    fn an_order_is_authorised_and_a_period_of_a_subscription_is_charged_at_once() {
        assert_eq!(asked(&requested(None)), Some(Request::Authorise(due())));
        assert_eq!(asked(&requested(Some("s1"))), Some(Request::Charge(due())));
    }

    #[test]
    fn what_is_authorised_is_captured_or_released_and_what_was_captured_goes_back() {
        assert_eq!(asked(&capture_requested()), Some(capture()));
        assert_eq!(asked(&voided(Some("au-1"))), Some(release()));
        assert_eq!(asked(&declined_event(Some("au-1"))), Some(release()));
        assert_eq!(
            [asked(&voided(None)), asked(&declined_event(None))],
            [None, None],
            "nothing is authorised"
        );
        assert_eq!(asked(&refund_requested()), Some(refund()));
    }

    #[test]
    fn money_is_authorised_captured_or_declined() {
        let [order_id, provider_reference] = strings(["o1", "p-1"]);
        let authorised = AuthorisePayment { order_id, amount: 70, provider_reference };
        let authorised = Some(Command::Payments(authorised.into()));
        assert_eq!(Payment::answered(&Request::Authorise(due()), &done()), authorised);
        let captured = Some(captured("o1".to_owned(), 70, "p-1".to_owned()));
        for request in [Request::Charge(due()), capture()] {
            assert_eq!(Payment::answered(&request, &done()), captured);
        }
        let declined = Some(declined("o1".to_owned(), "empty", "no money"));
        for request in [Request::Authorise(due()), Request::Charge(due()), capture()] {
            assert_eq!(Payment::answered(&request, &no()), declined);
        }
    }

    #[test]
    fn the_outcome_of_a_release_sends_no_command() {
        for answer in [done(), no()] {
            assert_eq!(Payment::answered(&release(), &answer), None);
        }
        assert_eq!(Payment::gave_up(&release(), &gave_up(false)), None);
    }

    #[test]
    fn a_refund_is_completed_or_failed() {
        let [order_id, refund_id, provider_reference] = strings(["o1", "r1", "p-1"]);
        let completed = CompleteRefund { order_id, refund_id, provider_reference };
        assert_eq!(Payment::answered(&refund(), &done()), Some(Command::Payments(completed.into())));
        let failed = failed("o1".to_owned(), "r1".to_owned(), "empty: no money");
        assert_eq!(Payment::answered(&refund(), &no()), Some(failed));
    }

    #[test]
    fn a_call_that_was_given_up_sends_a_command_only_when_no_money_can_have_moved() {
        let reason = "x".repeat(REASON_MAX);
        for request in [Request::Authorise(due()), Request::Charge(due()), capture()] {
            let declined = declined("o1".to_owned(), REFUSED, &reason);
            assert_eq!(Payment::gave_up(&request, &gave_up(false)), Some(declined));
        }
        let failed = failed("o1".to_owned(), "r1".to_owned(), &format!("{REFUSED}: {reason}"));
        assert_eq!(Payment::gave_up(&refund(), &gave_up(false)), Some(failed));
        for request in all() {
            assert_eq!(Payment::gave_up(&request, &gave_up(true)), None);
        }
    }

    #[test]
    fn only_a_void_makes_earlier_calls_superfluous() {
        for voided in [voided(None), voided(Some("au-1"))] {
            assert!(Payment::withdraws(&recorded(&voided, 1)));
        }
        for event in [requested(None), capture_requested(), refund_requested()] {
            assert!(!Payment::withdraws(&recorded(&event, 1)));
        }
    }

    #[test]
    fn requests_and_answers_survive_storage() {
        for request in all() {
            let stored = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&stored).unwrap(), request);
        }
        for answer in [done(), no()] {
            let stored = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&stored).unwrap(), answer);
        }
    }

    #[test]
    fn a_charge_of_an_order_that_was_under_way_before_orders_were_authorised_goes_on() {
        let stored = r#"{"charge":{"order_id":"o1","customer_id":"c1","amount":70,"currency":"EUR"}}"#;
        assert_eq!(serde_json::from_str::<Request>(stored).unwrap(), Request::Charge(due()));
    }
}
