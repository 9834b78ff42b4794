//! Decisions about the period that is to be paid next: it is paid, or it is not.

use millrace_schemas::subscriptions::{
    LapseSubscription, RenewSubscription, SubscriptionLapsed, SubscriptionRenewed,
};

use super::{Decision, Period, REASON, Status, Subscription, refusals};
use crate::{Rejection, emit, rules};

/// The next period is paid.
pub(super) fn renew(subscription: &Subscription, command: &RenewSubscription) -> Decision {
    let RenewSubscription { subscription_id, period_number } = command.clone();
    let period = due(subscription, &subscription_id, period_number)?;
    let Subscription { customer_id, plan, amount, currency, .. } = subscription.clone();
    Ok(vec![emit(SubscriptionRenewed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period_number,
        period_from: period.from,
        period_until: period.until,
    })])
}

/// The next period is not paid.
pub(super) fn lapse(subscription: &Subscription, command: &LapseSubscription) -> Decision {
    let LapseSubscription { subscription_id, period_number, reason } = command.clone();
    let period = due(subscription, &subscription_id, period_number)?;
    REASON.check(&reason)?;
    let Subscription { customer_id, plan, amount, currency, .. } = subscription.clone();
    Ok(vec![emit(SubscriptionLapsed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period_number,
        period_from: period.from,
        period_until: period.until,
        reason,
    })])
}

/// The next period of an active subscription, if it has this number.
fn due(subscription: &Subscription, subscription_id: &str, number: i64) -> Result<Period, Rejection> {
    if subscription.status != Status::Active {
        return Err(subscription.status.refusal(subscription_id));
    }
    let next = subscription.next_period()?;
    if next.number == number {
        return Ok(next);
    }
    let (id, next) = (rules::quoted(subscription_id), next.number);
    let message = format!("period_number is {number}, but the next period of {id} is {next}: send that");
    Err(refusals::PERIOD_DIFFERS.because(message))
}
