//! The decision to ask for the payment of a period of a subscription.

use millrace_schemas::payments::{Event, PaymentRequested, RequestSubscriptionPayment};

use super::request::{Due, exists};
use super::{Decision, Payment, refusals};
use crate::contexts::subscriptions::{self, SubscriptionPublic, Subscriptions, payment_id};
use crate::rules::{self, Checked};
use crate::{Reference, References, emit};

/// The subscription that a payment is for; `None` when it is for an order, as all are that are authorised first.
pub fn subscription_of(event: &Event) -> Option<&str> {
    let subscription_id = match event {
        Event::CaptureRequested(_) | Event::PaymentAuthorised(_) => &None,
        Event::PaymentCaptured(event) => &event.subscription_id,
        Event::PaymentDeclined(event) => &event.subscription_id,
        Event::PaymentRefunded(event) => &event.subscription_id,
        Event::PaymentRequested(event) => &event.subscription_id,
        Event::PaymentVoided(event) => &event.subscription_id,
        Event::RefundFailed(event) => &event.subscription_id,
        Event::RefundRequested(event) => &event.subscription_id,
    };
    subscription_id.as_deref()
}

/// The subscription. A malformed request refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &RequestSubscriptionPayment) -> Vec<Reference> {
    check(command)
        .map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Subscriptions>(&command.subscription_id)])
}

/// Asks for what a period costs, once.
pub(super) fn request(
    known: Option<&Payment>,
    references: &References,
    command: &RequestSubscriptionPayment,
) -> Decision {
    check(command)?;
    let RequestSubscriptionPayment { order_id, subscription_id, customer_id, amount, currency, .. } =
        command.clone();
    if known.is_some() {
        return Err(exists(&order_id));
    }
    let missing = subscriptions::refusals::SUBSCRIPTION_MISSING;
    let subscription = references.required::<Subscriptions>(missing, "subscription_id", &subscription_id)?;
    let SubscriptionPublic { customer_id: by, amount: of, currency: in_currency } = &subscription;
    let due = Due { what: "the subscription", customer_id: by, currency: in_currency, amount: *of };
    due.check(&customer_id, &currency, amount)?;
    let subscription_id = Some(subscription_id);
    Ok(vec![emit(PaymentRequested { order_id, customer_id, amount, currency, subscription_id })])
}

fn check(command: &RequestSubscriptionPayment) -> Checked {
    rules::id("order_id", &command.order_id)?;
    rules::id("subscription_id", &command.subscription_id)?;
    rules::id("customer_id", &command.customer_id)?;
    rules::amount("amount", command.amount)?;
    rules::currency(&command.currency)?;
    check_period(command)
}

fn check_period(command: &RequestSubscriptionPayment) -> Checked {
    let RequestSubscriptionPayment { order_id, subscription_id, period_number: number, .. } = command;
    if *number < 1 {
        let message = format!("period_number is {number}: send 1 or more");
        return Err(refusals::PERIOD_NUMBER_INVALID.because(message));
    }
    let expected = payment_id(subscription_id, *number);
    if *order_id == expected {
        return Ok(());
    }
    let (id, expected) = (rules::quoted(order_id), rules::quoted(&expected));
    let message = format!("order_id is {id}, but the payment of that period is {expected}: send that");
    Err(refusals::PAYMENT_ID_DIFFERS.because(message))
}
