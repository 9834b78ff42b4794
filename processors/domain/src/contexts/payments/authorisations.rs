//! Decisions about money that is authorised before it is captured: that of an order, never that of a period of a
//! subscription, which is charged at once.

use millrace_schemas::payments::{AuthorisePayment, CaptureRequested, PaymentAuthorised, RequestCapture};
use serde::{Deserialize, Serialize};

use super::{Decision, PROVIDER_REFERENCE, Payment, Status, refusals};
use crate::{Rejection, emit, rules};

/// Why an authorisation is released that came too late.
const LATE: &str = "it was authorised too late";

/// An authorisation of the provider: the whole amount of the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorisation {
    /// The provider's reference.
    pub provider_reference: String,
}

/// What comes after the payment was voided or declined is released at once.
pub(super) fn authorise(payment: &Payment, command: &AuthorisePayment) -> Decision {
    let AuthorisePayment { order_id, amount, provider_reference } = command.clone();
    if payment.subscription_id.is_some() {
        return Err(charged_at_once(&order_id));
    }
    let late = match &payment.status {
        Status::Requested => false,
        Status::Declined | Status::Voided => true,
        status => return Err(status.refusal(&order_id)),
    };
    PROVIDER_REFERENCE.check(&provider_reference)?;
    payment.check_amount(amount)?;
    let release =
        late.then(|| payment.voided(order_id.clone(), LATE.to_owned(), Some(provider_reference.clone())));
    let Payment { customer_id, currency, .. } = payment.clone();
    let authorised = PaymentAuthorised { order_id, customer_id, amount, currency, provider_reference };
    Ok([emit(authorised)].into_iter().chain(release).collect())
}

/// Asks for the authorised money, once.
pub(super) fn request_capture(payment: &Payment, command: &RequestCapture) -> Decision {
    let order_id = command.order_id.clone();
    let Authorisation { provider_reference } = match &payment.status {
        Status::Authorised(authorisation) => authorisation.clone(),
        Status::Requested => return Err(not_authorised(&order_id)),
        status => return Err(status.refusal(&order_id)),
    };
    let Payment { customer_id, amount, currency, .. } = payment.clone();
    Ok(vec![emit(CaptureRequested { order_id, customer_id, amount, currency, provider_reference })])
}

fn charged_at_once(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    let message =
        format!("order_id {id} is a period of a subscription, which is charged at once: send CapturePayment");
    refusals::PAYMENT_CHARGED_AT_ONCE.because(message)
}

fn not_authorised(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    let message = format!("the payment of order_id {id} was not authorised yet: wait for AuthorisePayment");
    refusals::PAYMENT_NOT_AUTHORISED.because(message)
}
