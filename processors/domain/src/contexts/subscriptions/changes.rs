//! Decisions that customers ask for: a pause, its end, and the end of all.

use millrace_schemas::subscriptions::{
    CancelSubscription, PauseSubscription, ResumeSubscription, SubscriptionCancelled, SubscriptionPaused,
    SubscriptionResumed,
};

use super::{Decision, REASON, Status, Subscription};
use crate::emit;
use crate::rules::{self, Checked};

/// Charges nothing until it is resumed.
pub(super) fn pause(subscription: &Subscription, command: &PauseSubscription) -> Decision {
    let PauseSubscription { subscription_id } = command.clone();
    may_become(subscription, Status::Paused, &subscription_id)?;
    let Subscription { customer_id, plan, amount, currency, .. } = subscription.clone();
    Ok(vec![emit(SubscriptionPaused { subscription_id, customer_id, plan, amount, currency })])
}

/// Goes on with a period of its own, which was not asked to be paid before.
pub(super) fn resume(subscription: &Subscription, command: &ResumeSubscription) -> Decision {
    let ResumeSubscription { subscription_id, resumed_at } = command.clone();
    may_become(subscription, Status::Active, &subscription_id)?;
    rules::time("resumed_at", resumed_at)?;
    let next = subscription.clone().resumed(resumed_at).next_period()?;
    let Subscription { customer_id, plan, amount, currency, .. } = subscription.clone();
    Ok(vec![emit(SubscriptionResumed {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        resumed_at,
        period_number: next.number,
        period_from: next.from,
        period_until: next.until,
    })])
}

/// Ends it for good.
pub(super) fn cancel(subscription: &Subscription, command: &CancelSubscription) -> Decision {
    let CancelSubscription { subscription_id, reason } = command.clone();
    may_become(subscription, Status::Cancelled, &subscription_id)?;
    REASON.check(&reason)?;
    let Subscription { customer_id, plan, amount, currency, .. } = subscription.clone();
    Ok(vec![emit(SubscriptionCancelled { subscription_id, customer_id, plan, amount, currency, reason })])
}

fn may_become(subscription: &Subscription, next: Status, subscription_id: &str) -> Checked {
    let allowed = subscription.status.may_become(next);
    if allowed { Ok(()) } else { Err(subscription.status.refusal(subscription_id)) }
}
