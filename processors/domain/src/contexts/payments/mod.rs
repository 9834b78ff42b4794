//! Payments for orders and for periods of subscriptions: requested, authorised, captured and refunded money. The money of an
//! order is authorised first and captured on request; a period is charged at once.

mod authorisations;
mod refunds;
pub(crate) mod refusals;
mod request;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millrace_schemas::Message;
use millrace_schemas::payments::{
    CapturePayment, Command, DeclinePayment, Event, PaymentCaptured, PaymentDeclined, PaymentRequested,
    PaymentVoided, VoidPayment,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

pub use authorisations::Authorisation;
pub use refunds::{Refund, RefundStatus};
pub use subscription::subscription_of;

const PROVIDER_REFERENCE: Text =
    Text::new("provider_reference", refusals::PROVIDER_REFERENCE_INVALID, 1, 200);
const CODE: Text = Text::new("code", refusals::CODE_INVALID, 1, 100);
const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of payments; a stream is the one payment of an order and has the order's id, or the one of a period of a
/// subscription ([`payment_id`](super::subscriptions::payment_id)).
#[derive(Debug)]
pub struct Payments;

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Its status.
    pub status: Status,
    /// Who pays.
    pub customer_id: String,
    /// The amount in minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The subscription of which a period is paid; none for an order.
    pub subscription_id: Option<String>,
}

/// The status of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The provider has not answered yet.
    Requested,
    /// The provider has authorised the money.
    Authorised(Authorisation),
    /// The provider is asked to capture the money.
    Capturing(Authorisation),
    /// The provider has the money.
    Captured(Capture),
    /// The provider has refused.
    Declined,
    /// It was given up, but the provider may still capture it.
    Voided,
}

/// Money that the provider has captured: the whole amount of the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The provider's reference.
    pub provider_reference: String,
    /// The refunds.
    pub refunds: BTreeMap<String, Refund>,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Payments {
    const NAME: &'static str = "payments";
    const STATE_VERSION: i32 = 3;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Payment;
    type Command = Command;
    type Event = Event;
    // No other context refers to a payment.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::RequestPayment(command) => request::references(command),
            Command::RequestSubscriptionPayment(command) => subscription::references(command),
            Command::AuthorisePayment(_)
            | Command::CapturePayment(_)
            | Command::CompleteRefund(_)
            | Command::DeclinePayment(_)
            | Command::FailRefund(_)
            | Command::RefundPayment(_)
            | Command::RequestCapture(_)
            | Command::VoidPayment(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Payment>, references: &References, command: &Command) -> Decision {
        let payment = streams.get(command.key());
        let known = || payment.ok_or_else(|| unknown(command.key()));
        match command {
            Command::RequestPayment(command) => request::request(payment, references, command),
            Command::RequestSubscriptionPayment(command) => {
                subscription::request(payment, references, command)
            }
            Command::AuthorisePayment(command) => authorisations::authorise(known()?, command),
            Command::RequestCapture(command) => authorisations::request_capture(known()?, command),
            Command::CapturePayment(command) => capture(known()?, command),
            Command::DeclinePayment(command) => decline(known()?, command),
            Command::VoidPayment(command) => void(known()?, command),
            Command::RefundPayment(command) => refunds::refund(known()?, command),
            Command::CompleteRefund(command) => refunds::complete(known()?, command),
            Command::FailRefund(command) => refunds::fail(known()?, command),
        }
    }

    fn evolve(state: Option<Payment>, event: &Event) -> Option<Payment> {
        match event {
            Event::PaymentRequested(event) => state.or_else(|| Some(Payment::requested(event))),
            event => state.map(|payment| Payment { status: payment.status.after(event), ..payment }),
        }
    }

    fn public(_state: &Payment) {}
}

impl Payment {
    fn requested(event: &PaymentRequested) -> Self {
        let PaymentRequested { order_id: _, customer_id, amount, currency, subscription_id } = event.clone();
        Self { status: Status::Requested, customer_id, amount, currency, subscription_id }
    }

    /// What the provider has authorised or captured is what was requested.
    fn check_amount(&self, amount: i64) -> Checked {
        if amount == self.amount {
            return Ok(());
        }
        let message = format!("amount is {amount}, but {} was requested: send that", self.amount);
        Err(refusals::AMOUNT_DIFFERS.because(message))
    }

    /// What the provider calls the authorisation that it has given.
    fn authorisation(&self) -> Option<String> {
        match &self.status {
            Status::Authorised(authorisation) | Status::Capturing(authorisation) => {
                Some(authorisation.provider_reference.clone())
            }
            Status::Requested | Status::Captured(_) | Status::Declined | Status::Voided => None,
        }
    }

    /// What is not captured yet can be given up.
    fn open(&self, order_id: &str) -> Result<Self, Rejection> {
        if self.status.is_open() { Ok(self.clone()) } else { Err(self.status.refusal(order_id)) }
    }

    /// It is given up, and its authorisation, if there is one, is to be released.
    fn voided(&self, order_id: String, reason: String, provider_reference: Option<String>) -> Emitted<Event> {
        let Self { status: _, customer_id, amount, currency, subscription_id } = self.clone();
        emit(PaymentVoided {
            order_id,
            customer_id,
            amount,
            currency,
            reason,
            subscription_id,
            provider_reference,
        })
    }
}

impl Status {
    /// Whether it is neither captured nor given up.
    fn is_open(&self) -> bool {
        matches!(self, Self::Requested | Self::Authorised(_) | Self::Capturing(_))
    }

    /// The whole life of a payment; what cannot have happened changes nothing.
    fn after(self, event: &Event) -> Self {
        match (self, event) {
            (Self::Requested | Self::Declined | Self::Voided, Event::PaymentAuthorised(event)) => {
                Self::Authorised(Authorisation { provider_reference: event.provider_reference.clone() })
            }
            (Self::Authorised(authorisation), Event::CaptureRequested(_)) => Self::Capturing(authorisation),
            (
                Self::Requested | Self::Authorised(_) | Self::Capturing(_) | Self::Voided,
                Event::PaymentCaptured(event),
            ) => {
                let provider_reference = event.provider_reference.clone();
                Self::Captured(Capture { provider_reference, refunds: BTreeMap::new() })
            }
            (status, Event::PaymentDeclined(_)) if status.is_open() => Self::Declined,
            (status, Event::PaymentVoided(_)) if status.is_open() => Self::Voided,
            (Self::Captured(mut capture), event) => {
                capture.apply(event);
                Self::Captured(capture)
            }
            (status, _) => status,
        }
    }

    /// Why a payment in this status does not take a command.
    fn refusal(&self, order_id: &str) -> Rejection {
        let (refusal, message) = match self {
            Self::Requested => (
                refusals::PAYMENT_NOT_CAPTURED,
                "was not captured yet: wait until it is, or send VoidPayment",
            ),
            Self::Authorised(_) => (
                refusals::PAYMENT_AUTHORISED,
                "was authorised and not captured yet: send RequestCapture or VoidPayment",
            ),
            Self::Capturing(_) => (
                refusals::CAPTURE_REQUESTED,
                "is being captured: wait for CapturePayment, or send VoidPayment",
            ),
            Self::Captured(_) => {
                (refusals::PAYMENT_CAPTURED, "was captured already: send RefundPayment to pay the money back")
            }
            Self::Declined => (
                refusals::PAYMENT_DECLINED,
                "was declined for good: place another order, or resume the subscription",
            ),
            Self::Voided => (
                refusals::PAYMENT_VOIDED,
                "was voided: nothing but what the provider has done all the same can follow",
            ),
        };
        refusal.because(format!("the payment of order_id {} {message}", rules::quoted(order_id)))
    }
}

/// A voided payment is captured too: the money is there, and must be known to be paid back.
fn capture(payment: &Payment, command: &CapturePayment) -> Decision {
    let CapturePayment { order_id, amount, provider_reference } = command.clone();
    match &payment.status {
        Status::Requested | Status::Authorised(_) | Status::Capturing(_) | Status::Voided => {}
        status @ (Status::Captured(_) | Status::Declined) => return Err(status.refusal(&order_id)),
    }
    PROVIDER_REFERENCE.check(&provider_reference)?;
    payment.check_amount(amount)?;
    let Payment { customer_id, currency, subscription_id, .. } = payment.clone();
    Ok(vec![emit(PaymentCaptured {
        order_id,
        customer_id,
        amount,
        currency,
        provider_reference,
        subscription_id,
    })])
}

fn decline(payment: &Payment, command: &DeclinePayment) -> Decision {
    let DeclinePayment { order_id, code, reason } = command.clone();
    let Payment { customer_id, amount, currency, subscription_id, .. } = payment.open(&order_id)?;
    CODE.check(&code)?;
    REASON.check(&reason)?;
    Ok(vec![emit(PaymentDeclined {
        order_id,
        customer_id,
        amount,
        currency,
        code,
        reason,
        subscription_id,
        provider_reference: payment.authorisation(),
    })])
}

fn void(payment: &Payment, command: &VoidPayment) -> Decision {
    let VoidPayment { order_id, reason } = command.clone();
    let payment = payment.open(&order_id)?;
    REASON.check(&reason)?;
    Ok(vec![payment.voided(order_id, reason, payment.authorisation())])
}

fn unknown(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    let way_out = "send RequestPayment, or correct the id";
    refusals::PAYMENT_UNKNOWN.because(format!("order_id {id} has no payment: {way_out}"))
}
