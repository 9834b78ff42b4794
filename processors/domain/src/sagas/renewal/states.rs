//! Where a renewal stands: a type for each state. A period is charged only when it has begun, and renewed only when it is
//! paid, because there is no way to write it:
//!
//! ```
//! use millrace_domain::sagas::renewal::{Charging, Renewing, Waiting};
//! fn in_order(waiting: Waiting) -> Renewing {
//!     Renewing::from(Charging::from(waiting))
//! }
//! ```
//! ```compile_fail,E0277
//! use millrace_domain::sagas::renewal::{Renewing, Waiting};
//! fn unpaid(waiting: Waiting) -> Renewing {
//!     Renewing::from(waiting)
//! }
//! ```
//! ```compile_fail,E0277
//! use millrace_domain::sagas::renewal::{Charging, Stopped};
//! fn paused(stopped: Stopped) -> Charging {
//!     Charging::from(stopped)
//! }
//! ```

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::happened::{Asked, Change, Happened, Money};
use super::{Account, BEHIND_MAX_DAYS, PERIOD, Renewal, SUBSCRIPTIONS};
use crate::{Awaited, Reaction, Step};

/// In microseconds.
const DAY: i64 = 86_400_000_000;

/// The next period has not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    account: Account,
    /// The period that is charged next.
    next: i64,
    /// When it begins, in microseconds since 1970.
    from: i64,
    /// The subscription's version in the last input about it.
    version: i64,
}

/// The payment of a period is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charging {
    account: Account,
    number: i64,
}

/// A period is paid, the subscription is to be renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewing {
    account: Account,
    number: i64,
}

/// A period is not paid, the subscription is to lapse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lapsing {
    account: Account,
}

/// Nothing is charged until the subscription goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    account: Account,
}

/// A period began so long ago that nothing is charged until a person resumes the subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    account: Account,
    /// The period that is not charged.
    number: i64,
}

/// It has ended for good. What arrives late is undone all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    account: Account,
}

/// Its period has begun.
impl From<Waiting> for Charging {
    fn from(Waiting { account, next, .. }: Waiting) -> Self {
        Self { account, number: next }
    }
}

/// Its period began too long ago.
impl From<Waiting> for Held {
    fn from(Waiting { account, next, .. }: Waiting) -> Self {
        Self { account, number: next }
    }
}

/// It is paid.
impl From<Charging> for Renewing {
    fn from(Charging { account, number }: Charging) -> Self {
        Self { account, number }
    }
}

/// It is not paid.
impl From<Charging> for Lapsing {
    fn from(Charging { account, .. }: Charging) -> Self {
        Self { account }
    }
}

/// Nothing is to be charged.
impl From<Account> for Stopped {
    fn from(account: Account) -> Self {
        Self { account }
    }
}

impl From<Stopped> for Renewal {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl Renewal {
    pub(super) fn account(&self) -> &Account {
        match self {
            Self::Waiting(Waiting { account, .. })
            | Self::Charging(Charging { account, .. })
            | Self::Renewing(Renewing { account, .. })
            | Self::Lapsing(Lapsing { account })
            | Self::Stopped(Stopped { account })
            | Self::Held(Held { account, .. })
            | Self::Cancelled(Cancelled { account }) => account,
        }
    }

    fn with(self, account: Account) -> Self {
        match self {
            Self::Waiting(state) => Self::Waiting(Waiting { account, ..state }),
            Self::Charging(state) => Self::Charging(Charging { account, ..state }),
            Self::Renewing(state) => Self::Renewing(Renewing { account, ..state }),
            Self::Lapsing(_) => Self::Lapsing(Lapsing { account }),
            Self::Stopped(_) => Self::Stopped(Stopped { account }),
            Self::Held(state) => Self::Held(Held { account, ..state }),
            Self::Cancelled(_) => Self::Cancelled(Cancelled { account }),
        }
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Renewal> {
        match (self, happened) {
            (Self::Waiting(state), Happened::PeriodBegins(now)) if state.is_far_behind(now) => {
                Held::from(state).begin().into()
            }
            (Self::Waiting(state), Happened::PeriodBegins(_)) => Charging::from(state).begin().into(),
            (_, Happened::PeriodBegins(_)) => Reaction::Ignore,
            (Self::Charging(state), Happened::Money(number, money)) if number == state.number => {
                state.react(money).into()
            }
            (state, Happened::Money(number, money)) => state.react_to_money(number, money).into(),
            (Self::Charging(state), Happened::Changed(change)) => state.follow(change).into(),
            (Self::Renewing(state), Happened::Changed(change)) => state.follow(change).into(),
            // The end is the end, whatever is received late.
            (state @ Self::Cancelled(_), Happened::Changed(_)) => Step::to(state).into(),
            // What was asked for; or a pause, which a person has to end as well.
            (state @ Self::Held(_), Happened::Changed(Change::Stops)) => Step::to(state).into(),
            (state, Happened::Changed(change)) => change.follow(state.account().clone()).into(),
            (Self::Lapsing(Lapsing { account }), Happened::NotLapsed) => Change::Stops.follow(account).into(),
            // Another command was faster: the subscription's own events say which, and what became of the period.
            (state, Happened::NotRenewed | Happened::NotLapsed | Happened::NotCancelled) => {
                Step::to(state).into()
            }
            (state, Happened::Unwanted(why)) => state.end(why).into(),
        }
    }

    fn react_to_money(self, number: i64, money: Money<'_>) -> Step<Renewal> {
        let (account, command) = self.account().clone().react(number, money);
        command.into_iter().fold(Step::to(self.with(account)), Step::send)
    }

    /// Its own stream decides whether it can be cancelled. What was not paid back is tried again.
    fn end(self, why: &str) -> Step<Renewal> {
        let (account, refunds) = self.account().clone().refund_unpaid();
        let cancel = (!matches!(self, Self::Cancelled(_))).then(|| account.cancel(why));
        let step = refunds.into_iter().fold(Step::to(self.with(account)), Step::send);
        cancel.into_iter().fold(step, Step::send)
    }
}

impl Change {
    /// Where the subscription's own stream leads when no payment is open.
    fn follow(self, account: Account) -> Step<Renewal> {
        match self {
            Self::Goes { next, from, version, .. } => Waiting { account, next, from, version }.begin(),
            Self::Stops => Step::to(Renewal::Stopped(Stopped { account })).cancel(PERIOD),
            Self::Ends => Step::to(Renewal::Cancelled(Cancelled { account })).cancel(PERIOD),
        }
    }
}

impl Waiting {
    /// The contexts keep times within the calendar; what is out of range is due at once.
    fn begin(self) -> Step<Renewal> {
        let from = DateTime::from_timestamp_micros(self.from).unwrap_or_default();
        Step::to(Renewal::Waiting(self)).set_at(PERIOD, from)
    }

    /// Whether the period began too long ago to be charged without a word of a person's.
    fn is_far_behind(&self, now: DateTime<Utc>) -> bool {
        now.timestamp_micros().saturating_sub(self.from) > BEHIND_MAX_DAYS * DAY
    }

    /// A pause or a cancellation that is on its way comes before the charge.
    pub(super) fn awaits(&self) -> Awaited {
        Awaited { context: SUBSCRIPTIONS, stream: self.account.id().to_owned(), version: self.version }
    }
}

impl Held {
    fn begin(self) -> Step<Renewal> {
        let why = format!(
            "its period {} began more than {BEHIND_MAX_DAYS} days ago: resume it from when it is to be paid",
            self.number
        );
        let lapse = self.account.lapse(self.number, &why);
        Step::to(Renewal::Held(self)).send(lapse)
    }
}

impl Charging {
    fn begin(self) -> Step<Renewal> {
        let ask = self.account.request_payment(self.number);
        Step::to(Renewal::Charging(self)).send(ask)
    }

    fn react(self, money: Money<'_>) -> Step<Renewal> {
        match money {
            Money::Captured => {
                let renew = self.account.renew(self.number);
                Step::to(Renewal::Renewing(self.into())).send(renew)
            }
            Money::NotPaid(reason) => self.lapse(reason),
            Money::Refused(Asked::Payment, why) => self.lapse(&why.message),
            Money::Requested
            | Money::RefundRequested
            | Money::Refunded(_)
            | Money::RefundFailed(_)
            | Money::Refused(Asked::Void | Asked::Refund, _) => Step::to(Renewal::Charging(self)),
        }
    }

    fn lapse(self, reason: &str) -> Step<Renewal> {
        let lapse = self.account.lapse(self.number, reason);
        Step::to(Renewal::Lapsing(self.into())).send(lapse)
    }

    /// Whatever the subscription says while a payment is open, that payment is not for it any more.
    fn follow(self, change: Change) -> Step<Renewal> {
        let (account, void) = self.account.void(self.number);
        change.follow(account).send(void)
    }
}

impl Renewing {
    /// What was captured has renewed its period, or it is paid back.
    fn follow(self, change: Change) -> Step<Renewal> {
        match change {
            Change::Goes { renewed, .. } if renewed == Some(self.number) => change.follow(self.account),
            Change::Goes { .. } | Change::Stops | Change::Ends => {
                let (account, refund) = self.account.refund(self.number);
                change.follow(account).send(refund)
            }
        }
    }
}
