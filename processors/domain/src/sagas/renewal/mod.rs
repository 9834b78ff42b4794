//! Renewal: a subscription is paid period by period, each when it begins, for as long as its customer wants it.
//!
//! A timer is set at the time of the calendar at which the next period begins; then its payment is asked for; once that is
//! captured the subscription's own stream decides between the renewal and a pause or a cancellation that comes at the same
//! moment. So whatever was captured has renewed a period, or it is paid back. A refused payment lets the subscription lapse.
//!
//! After a downtime over several periods each of them is billed once, in order, with its own dates: the timer at the next
//! period's beginning is past already and fires at once. But a period that began more than [`BEHIND_MAX_DAYS`] ago was no
//! downtime: a wrong date, more likely. Nothing is charged then. The subscription lapses and its renewal is held, until a
//! person says with `ResumeSubscription` from when it is to be paid. A period that a pause or a refusal has interrupted is never billed
//! again: what takes its place has another number, and with it another payment.

mod account;
mod happened;
#[cfg(test)]
mod model;
mod states;
#[cfg(test)]
mod tests;

use std::time::Duration;

use millrace_schemas::Message as _;
use serde::{Deserialize, Serialize};

pub use account::{Account, Debt, Owed};
pub use states::{Cancelled, Charging, Held, Lapsing, Renewing, Stopped, Waiting};

use crate::{Awaited, Input, Reaction, Saga, Standing};
use happened::Happened;

/// The next period begins.
pub const PERIOD: &str = "period";

/// A period that began so many days ago is not charged unless a person wants it: with months that is a year's bill at once.
pub const BEHIND_MAX_DAYS: i64 = 366;

/// The names of the contexts whose events it reacts to.
const SUBSCRIPTIONS: &str = millrace_schemas::subscriptions::Event::CONTEXT;
const PAYMENTS: &str = millrace_schemas::payments::Event::CONTEXT;

/// The saga of subscriptions; an instance is a subscription and has its id.
#[derive(Debug)]
pub struct SubscriptionRenewal;

/// The standing of the renewal of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// The next period has not begun.
    Waiting(Waiting),
    /// The payment of a period is asked for.
    Charging(Charging),
    /// A period is paid, the subscription is to be renewed.
    Renewing(Renewing),
    /// A period is not paid, the subscription is to lapse.
    Lapsing(Lapsing),
    /// It is paused, or has lapsed: nothing is charged.
    Stopped(Stopped),
    /// It is so far behind that a person must say from when it is to be paid.
    Held(Held),
    /// It has ended for good.
    Cancelled(Cancelled),
}

impl Saga for SubscriptionRenewal {
    const NAME: &'static str = "renewal";
    const CONTEXTS: &'static [&'static str] = &[SUBSCRIPTIONS, PAYMENTS];
    const SENDS_TO: &'static [&'static str] = Self::CONTEXTS;
    const STATE_VERSION: i32 = 1;
    const TIMERS: &'static [(&'static str, Duration)] = &[];
    const STANDINGS: &'static [&'static str] =
        &["waiting", "charging", "renewing", "lapsing", "stopped", "held", "cancelled"];
    type State = Renewal;

    fn instance(input: &Input<'_>) -> Option<String> {
        happened::subscription_of(input).map(str::to_owned)
    }

    fn react(state: Option<Renewal>, input: &Input<'_>) -> Reaction<Renewal> {
        // A payment that was asked for elsewhere may be received before the subscription is.
        let state = state.or_else(|| Some(Stopped::from(Account::begun(input)?).into()));
        match (state, Happened::of(input)) {
            (Some(state), Some(happened)) => state.react(happened),
            (None, _) | (_, None) => Reaction::Ignore,
        }
    }

    fn awaits(state: &Renewal) -> Vec<Awaited> {
        match state {
            Renewal::Waiting(state) => vec![state.awaits()],
            Renewal::Charging(_)
            | Renewal::Renewing(_)
            | Renewal::Lapsing(_)
            | Renewal::Stopped(_)
            | Renewal::Held(_)
            | Renewal::Cancelled(_) => Vec::new(),
        }
    }

    /// What stands still until a command comes has come to an end for now.
    fn standing(state: &Renewal) -> Standing {
        let (name, ended) = match state {
            Renewal::Waiting(_) => ("waiting", false),
            Renewal::Charging(_) => ("charging", false),
            Renewal::Renewing(_) => ("renewing", false),
            Renewal::Lapsing(_) => ("lapsing", false),
            Renewal::Stopped(_) => ("stopped", state.account().is_settled()),
            Renewal::Held(_) => ("held", false),
            Renewal::Cancelled(_) => ("cancelled", state.account().is_settled()),
        };
        Standing { name, ended }
    }
}
