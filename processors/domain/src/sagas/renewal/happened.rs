//! The meaning of events, rejections and timers for a renewal.

use chrono::{DateTime, Utc};
use millrace_schemas::payments::{Event as Payments, RefundPayment, RequestSubscriptionPayment, VoidPayment};
use millrace_schemas::subscriptions::{
    CancelSubscription, Event as Subscriptions, LapseSubscription, RenewSubscription,
};
use millrace_schemas::{AvroRecord as _, CommandRejected, Event, Message as _};

use super::PERIOD;
use crate::contexts::payments;
use crate::contexts::subscriptions::period_of;
use crate::{Input, Recorded};

/// What has happened to a subscription or to one of its payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened<'h> {
    Changed(Change),
    /// To the payment of the period with this number.
    Money(i64, Money<'h>),
    NotRenewed,
    NotLapsed,
    NotCancelled,
    /// At this time of the database's clock, which may be long after it was due.
    PeriodBegins(DateTime<Utc>),
    /// An operator cancels it, with the reason.
    Unwanted(&'h str),
}

/// What the subscription's own stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The period `next` is to be paid when it begins.
    Goes {
        /// The period that is paid.
        renewed: Option<i64>,
        next: i64,
        /// In microseconds since 1970.
        from: i64,
        /// The version of the stream that says so.
        version: i64,
    },
    /// Nothing is to be paid.
    Stops,
    /// For good.
    Ends,
}

/// The outcome of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Money<'h> {
    Requested,
    Captured,
    /// Declined or voided, and why.
    NotPaid(&'h str),
    RefundRequested,
    Refunded(&'h str),
    RefundFailed(&'h str),
    Refused(Asked, &'h CommandRejected),
}

/// A command to a payment that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Payment,
    Void,
    Refund,
}

/// The subscription that something is about.
pub(super) fn subscription_of<'h>(input: &Input<'h>) -> Option<&'h str> {
    match input {
        Input::Event(recorded) => match &recorded.event {
            Event::Subscriptions(event) => Some(event.key()),
            Event::Payments(event) => payments::subscription_of(event),
            _ => None,
        },
        Input::Rejection(rejection) => match payment(rejection) {
            Some(_) => period_of(&rejection.stream).map(|(subscription_id, _)| subscription_id),
            None => own(rejection).map(|_| rejection.stream.as_str()),
        },
        Input::Timer(..) | Input::Cancel(_) => None,
    }
}

impl<'h> Happened<'h> {
    /// `None` for what does not matter to a renewal.
    pub(super) fn of(input: &Input<'h>) -> Option<Self> {
        match input {
            Input::Event(recorded) => Self::event(recorded),
            Input::Rejection(rejection) => match payment(rejection) {
                Some(asked) => Self::money(&rejection.stream, Money::Refused(asked, rejection)),
                None => own(rejection),
            },
            Input::Timer(PERIOD, now) => Some(Self::PeriodBegins(*now)),
            Input::Timer(..) => None,
            Input::Cancel(why) => Some(Self::Unwanted(why)),
        }
    }

    fn event(Recorded { event, version, .. }: &'h Recorded) -> Option<Self> {
        match event {
            Event::Subscriptions(event) => Some(Self::Changed(Change::of(event, *version))),
            Event::Payments(event) => Self::money(event.key(), Money::of(event)?),
            _ => None,
        }
    }

    fn money(payment_id: &str, money: Money<'h>) -> Option<Self> {
        let (_, number) = period_of(payment_id)?;
        Some(Self::Money(number, money))
    }
}

impl Change {
    fn of(event: &Subscriptions, version: i64) -> Self {
        let goes = |renewed, next, from| Self::Goes { renewed, next, from, version };
        match event {
            Subscriptions::SubscriptionStarted(event) => goes(None, event.period_number, event.period_from),
            Subscriptions::SubscriptionResumed(event) => goes(None, event.period_number, event.period_from),
            Subscriptions::SubscriptionRenewed(event) => {
                let next = event.period_number.saturating_add(1);
                goes(Some(event.period_number), next, event.period_until)
            }
            Subscriptions::SubscriptionPaused(_) | Subscriptions::SubscriptionLapsed(_) => Self::Stops,
            Subscriptions::SubscriptionCancelled(_) => Self::Ends,
        }
    }
}

impl<'h> Money<'h> {
    /// A period is charged at once: nothing is authorised before.
    fn of(event: &'h Payments) -> Option<Self> {
        Some(match event {
            Payments::CaptureRequested(_) | Payments::PaymentAuthorised(_) => return None,
            Payments::PaymentRequested(_) => Self::Requested,
            Payments::PaymentCaptured(_) => Self::Captured,
            Payments::PaymentDeclined(event) => Self::NotPaid(&event.reason),
            Payments::PaymentVoided(event) => Self::NotPaid(&event.reason),
            Payments::RefundRequested(_) => Self::RefundRequested,
            Payments::PaymentRefunded(event) => Self::Refunded(&event.refund_id),
            Payments::RefundFailed(event) => Self::RefundFailed(&event.refund_id),
        })
    }
}

fn payment(rejection: &CommandRejected) -> Option<Asked> {
    match rejection.command_type.as_str() {
        RequestSubscriptionPayment::FULL_NAME => Some(Asked::Payment),
        VoidPayment::FULL_NAME => Some(Asked::Void),
        RefundPayment::FULL_NAME => Some(Asked::Refund),
        _ => None,
    }
}

/// A command to the subscription that was refused.
fn own(rejection: &CommandRejected) -> Option<Happened<'static>> {
    match rejection.command_type.as_str() {
        RenewSubscription::FULL_NAME => Some(Happened::NotRenewed),
        LapseSubscription::FULL_NAME => Some(Happened::NotLapsed),
        CancelSubscription::FULL_NAME => Some(Happened::NotCancelled),
        _ => None,
    }
}
