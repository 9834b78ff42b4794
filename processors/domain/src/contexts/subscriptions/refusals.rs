//! Refusals of subscriptions.

use crate::Refusal;
use crate::contexts::customers;
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        customers::refusals::CUSTOMER_MISSING,
        shared::AMOUNT_INVALID,
        shared::CURRENCY_INVALID,
        shared::ID_INVALID,
        shared::REASON_INVALID,
        shared::TIME_INVALID,
    ];
    CALENDAR_ENDS = "calendar-ends" when "the next period would end after the year 9999";
    PERIOD_DIFFERS = "period-differs" when "the period is not the next one";
    PERIOD_INVALID = "period-invalid" when "the length of the periods is neither month nor year";
    PLAN_INVALID = "plan-invalid" when "the plan is empty or too long, or has control characters";
    SUBSCRIPTION_ACTIVE = "subscription-active" when "the subscription is active and is to be resumed";
    SUBSCRIPTION_CANCELLED = "subscription-cancelled" when "the subscription was cancelled";
    SUBSCRIPTION_EXISTS = "subscription-exists" when "a subscription with this id was already started";
    SUBSCRIPTION_LAPSED = "subscription-lapsed" when "the subscription has lapsed";
    SUBSCRIPTION_PAUSED = "subscription-paused" when "the subscription is paused";
    SUBSCRIPTION_UNKNOWN = "subscription-unknown" when "the subscription was never started";
}

/// In the contexts that refer to subscriptions.
pub(crate) const SUBSCRIPTION_MISSING: Refusal = SUBSCRIPTION_UNKNOWN.meaning(
    "the subscription was never started; Millrace waits for that first, so only other callers get this",
);
