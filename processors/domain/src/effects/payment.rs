//! Charges and refunds at the payment provider.

use millrace_schemas::payments::{CapturePayment, CompleteRefund, DeclinePayment, Event, FailRefund};
use millrace_schemas::{Command, Event as AnyEvent};
use serde::{Deserialize, Serialize};

use super::words;
use crate::contexts::payments::Payments;
use crate::{Context, Effect, GaveUp, Recorded};

const CODE_MAX: usize = 100;
const REASON_MAX: usize = 500;
/// The code of a charge that could not even be decided.
const REFUSED: &str = "provider-refused";

/// The effect that moves money.
#[derive(Debug)]
pub struct Payment;

/// What is asked of the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Money of a customer.
    Charge {
        /// What for.
        order_id: String,
        /// Whose.
        customer_id: String,
        /// In minor units.
        amount: i64,
        /// ISO 4217 code.
        currency: String,
    },
    /// Money back.
    Refund {
        /// The order that was paid.
        order_id: String,
        /// Which of its refunds.
        refund_id: String,
        /// In minor units.
        amount: i64,
        /// What the provider calls the charge.
        charge: String,
    },
}

/// What the provider answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done {
        /// What the provider calls it.
        reference: String,
    },
    /// It is not going to be done.
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
            Event::PaymentRequested(event) => Some(Request::Charge {
                order_id: event.order_id,
                customer_id: event.customer_id,
                amount: event.amount,
                currency: event.currency,
            }),
            Event::RefundRequested(event) => Some(Request::Refund {
                order_id: event.order_id,
                refund_id: event.refund_id,
                amount: event.amount,
                charge: event.provider_reference,
            }),
            Event::PaymentCaptured(_)
            | Event::PaymentDeclined(_)
            | Event::PaymentRefunded(_)
            | Event::PaymentVoided(_)
            | Event::RefundFailed(_) => None,
        }
    }

    /// Only a charge can come before: there is no refund of what was not captured.
    fn withdraws(event: &Recorded) -> bool {
        matches!(&event.event, AnyEvent::Payments(Event::PaymentVoided(_)))
    }

    fn answered(request: &Request, answer: &Answer) -> Command {
        match (request.clone(), answer.clone()) {
            (Request::Charge { order_id, amount, .. }, Answer::Done { reference }) => {
                captured(order_id, amount, reference)
            }
            (Request::Charge { order_id, .. }, Answer::Declined { code, reason }) => {
                declined(order_id, &code, &reason)
            }
            (Request::Refund { order_id, refund_id, .. }, Answer::Done { reference }) => {
                let provider_reference = reference;
                Command::Payments(CompleteRefund { order_id, refund_id, provider_reference }.into())
            }
            (Request::Refund { order_id, refund_id, .. }, Answer::Declined { code, reason }) => {
                failed(order_id, refund_id, &format!("{code}: {reason}"))
            }
        }
    }

    /// Nobody is told of money that may have moved: neither that it did nor that it did not would be true.
    fn gave_up(request: &Request, why: &GaveUp) -> Option<Command> {
        let command = match request.clone() {
            Request::Charge { order_id, .. } => declined(order_id, REFUSED, &why.reason),
            Request::Refund { order_id, refund_id, .. } => failed(order_id, refund_id, &why.reason),
        };
        (!why.unknown).then_some(command)
    }
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
    use millrace_schemas::payments::{PaymentRequested, PaymentVoided, RefundRequested};

    use super::*;
    use crate::testing::recorded;

    fn requested() -> AnyEvent {
        let (order_id, customer_id, currency) = ("o1".to_owned(), "c1".to_owned(), "EUR".to_owned());
        AnyEvent::Payments(
            PaymentRequested { order_id, customer_id, amount: 70, currency, subscription_id: None }.into(),
        )
    }

    fn refund_requested() -> AnyEvent {
        let event = RefundRequested {
            order_id: "o1".to_owned(),
            customer_id: "c1".to_owned(),
            refund_id: "r1".to_owned(),
            amount: 30,
            currency: "EUR".to_owned(),
            provider_reference: "ch-1".to_owned(),
            reason: "broken".to_owned(),
            subscription_id: None,
        };
        AnyEvent::Payments(event.into())
    }

    fn charge() -> Request {
        Payment::request(&recorded(&requested(), 1)).unwrap()
    }

    fn refund() -> Request {
        Payment::request(&recorded(&refund_requested(), 1)).unwrap()
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
    fn a_requested_payment_is_charged_and_a_requested_refund_goes_back_to_its_charge() {
        let (order_id, customer_id, currency) = ("o1".to_owned(), "c1".to_owned(), "EUR".to_owned());
        assert_eq!(charge(), Request::Charge { order_id, customer_id, amount: 70, currency });
        let (order_id, refund_id, charge) = ("o1".to_owned(), "r1".to_owned(), "ch-1".to_owned());
        assert_eq!(refund(), Request::Refund { order_id, refund_id, amount: 30, charge });
    }

    #[test]
    fn a_charge_is_captured_or_declined() {
        assert_eq!(Payment::answered(&charge(), &done()), captured("o1".to_owned(), 70, "p-1".to_owned()));
        assert_eq!(Payment::answered(&charge(), &no()), declined("o1".to_owned(), "empty", "no money"));
    }

    #[test]
    fn a_refund_is_completed_or_failed() {
        let (order_id, refund_id, reference) = ("o1".to_owned(), "r1".to_owned(), "p-1".to_owned());
        let completed = CompleteRefund { order_id, refund_id, provider_reference: reference };
        assert_eq!(Payment::answered(&refund(), &done()), Command::Payments(completed.into()));
        let failed = failed("o1".to_owned(), "r1".to_owned(), "empty: no money");
        assert_eq!(Payment::answered(&refund(), &no()), failed);
    }

    #[test]
    fn what_was_given_up_is_said_only_when_no_money_can_have_moved() {
        let reason = "x".repeat(REASON_MAX);
        assert_eq!(
            Payment::gave_up(&charge(), &gave_up(false)),
            Some(declined("o1".to_owned(), REFUSED, &reason))
        );
        assert_eq!(
            Payment::gave_up(&refund(), &gave_up(false)),
            Some(failed("o1".to_owned(), "r1".to_owned(), &reason))
        );
        assert_eq!(Payment::gave_up(&charge(), &gave_up(true)), None);
        assert_eq!(Payment::gave_up(&refund(), &gave_up(true)), None);
    }

    #[test]
    fn a_void_makes_the_charge_superfluous_and_asks_for_nothing() {
        let voided = PaymentVoided {
            order_id: "o1".to_owned(),
            customer_id: "c1".to_owned(),
            amount: 70,
            currency: "EUR".to_owned(),
            reason: "late".to_owned(),
            subscription_id: None,
        };
        let voided = recorded(&AnyEvent::Payments(voided.into()), 1);
        assert!(Payment::withdraws(&voided) && Payment::request(&voided).is_none());
        assert!(!Payment::withdraws(&recorded(&requested(), 1)));
        assert!(!Payment::withdraws(&recorded(&refund_requested(), 1)));
    }

    #[test]
    fn requests_and_answers_survive_the_ledger() {
        for request in [charge(), refund()] {
            let stored = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&stored).unwrap(), request);
        }
        for answer in [done(), no()] {
            let stored = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&stored).unwrap(), answer);
        }
    }
}
