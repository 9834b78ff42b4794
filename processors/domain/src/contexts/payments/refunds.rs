//! Decisions about refunds: together they never exceed what was captured.

use millrace_schemas::payments::{
    CompleteRefund, Event, FailRefund, PaymentRefunded, RefundFailed, RefundPayment, RefundRequested,
};
use serde::{Deserialize, Serialize};

use super::{Capture, Decision, PROVIDER_REFERENCE, Payment, REASON, Status, refusals};
use crate::{Rejection, emit, rules};

/// A refund of captured money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Minor units.
    pub amount: i64,
    /// Its status.
    pub status: RefundStatus,
}

/// The status of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefundStatus {
    /// The provider has not answered yet.
    Open,
    /// The money was refunded.
    Completed,
    /// The provider has refused: the money can be refunded again.
    Failed,
}

impl Capture {
    /// The refunded and requested refunds, in minor units.
    pub fn refunded(&self) -> i64 {
        let counted = self.refunds.values().filter(|refund| refund.status != RefundStatus::Failed);
        counted.fold(0, |sum, refund| sum.saturating_add(refund.amount))
    }

    /// Applies an event about a refund; any other changes nothing.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::RefundRequested(event) => {
                let refund = Refund { amount: event.amount, status: RefundStatus::Open };
                self.refunds.entry(event.refund_id.clone()).or_insert(refund);
            }
            Event::PaymentRefunded(event) => self.end(&event.refund_id, RefundStatus::Completed),
            Event::RefundFailed(event) => self.end(&event.refund_id, RefundStatus::Failed),
            Event::PaymentCaptured(_)
            | Event::PaymentDeclined(_)
            | Event::PaymentRequested(_)
            | Event::PaymentVoided(_)
            | Event::CaptureRequested(_)
            | Event::PaymentAuthorised(_) => (),
        }
    }

    fn end(&mut self, refund_id: &str, status: RefundStatus) {
        let refund = self.refunds.get_mut(refund_id).filter(|refund| refund.status == RefundStatus::Open);
        if let Some(refund) = refund {
            refund.status = status;
        }
    }
}

/// Requests a refund of captured money.
pub(super) fn refund(payment: &Payment, command: &RefundPayment) -> Decision {
    let RefundPayment { order_id, refund_id, amount, reason } = command.clone();
    let capture = captured(payment, &order_id)?;
    rules::id("refund_id", &refund_id)?;
    rules::amount("amount", amount)?;
    REASON.check(&reason)?;
    if capture.refunds.contains_key(&refund_id) {
        return Err(exists(&refund_id));
    }
    let left = payment.amount.saturating_sub(capture.refunded());
    if amount > left {
        return Err(exceeds(amount, payment.amount, left));
    }
    let Payment { customer_id, currency, subscription_id, .. } = payment.clone();
    let provider_reference = capture.provider_reference.clone();
    Ok(vec![emit(RefundRequested {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        reason,
        subscription_id,
    })])
}

/// The provider has paid a refund back.
pub(super) fn complete(payment: &Payment, command: &CompleteRefund) -> Decision {
    let CompleteRefund { order_id, refund_id, provider_reference } = command.clone();
    let amount = open(payment, &order_id, &refund_id)?.amount;
    PROVIDER_REFERENCE.check(&provider_reference)?;
    let Payment { customer_id, currency, subscription_id, .. } = payment.clone();
    Ok(vec![emit(PaymentRefunded {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        subscription_id,
    })])
}

/// The provider has refused a refund.
pub(super) fn fail(payment: &Payment, command: &FailRefund) -> Decision {
    let FailRefund { order_id, refund_id, reason } = command.clone();
    let amount = open(payment, &order_id, &refund_id)?.amount;
    REASON.check(&reason)?;
    let Payment { customer_id, currency, subscription_id, .. } = payment.clone();
    Ok(vec![emit(RefundFailed {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        reason,
        subscription_id,
    })])
}

fn captured<'a>(payment: &'a Payment, order_id: &str) -> Result<&'a Capture, Rejection> {
    match &payment.status {
        Status::Captured(capture) => Ok(capture),
        status => Err(status.refusal(order_id)),
    }
}

/// A refund that the provider has not answered yet.
fn open<'a>(payment: &'a Payment, order_id: &str, refund_id: &str) -> Result<&'a Refund, Rejection> {
    match captured(payment, order_id)?.refunds.get(refund_id) {
        None => Err(unknown(refund_id)),
        Some(refund) if refund.status == RefundStatus::Open => Ok(refund),
        Some(_) => Err(ended(refund_id)),
    }
}

fn exists(refund_id: &str) -> Rejection {
    let id = rules::quoted(refund_id);
    refusals::REFUND_EXISTS
        .because(format!("refund_id {id} was already asked for: take another id for another refund"))
}

fn exceeds(amount: i64, captured: i64, left: i64) -> Rejection {
    let message = format!(
        "amount is {amount}, but of {captured} captured only {left} are not refunded yet: refund at most that"
    );
    refusals::REFUND_EXCEEDS_CAPTURE.because(message)
}

fn unknown(refund_id: &str) -> Rejection {
    let id = rules::quoted(refund_id);
    refusals::REFUND_UNKNOWN
        .because(format!("refund_id {id} was never asked for: send RefundPayment, or correct the id"))
}

fn ended(refund_id: &str) -> Rejection {
    let id = rules::quoted(refund_id);
    refusals::REFUND_ENDED.because(format!(
        "refund_id {id} was completed or has failed already: take another id for another refund"
    ))
}
