//! Subscriptions: plans that customers pay for period by period.
//!
//! A period has a number, and no number is used twice: what takes the place of a period that was interrupted or not paid
//! has the next one. So a period has at most one payment.

mod calendar;
mod changes;
mod payment_ids;
mod periods;
pub(crate) mod refusals;
#[cfg(test)]
mod tests;

use millrace_schemas::Message;
use millrace_schemas::subscriptions::{Command, Event, StartSubscription, SubscriptionStarted};
use serde::{Deserialize, Serialize};

use super::customers::{self, Customers};
use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

pub use calendar::{Calendar, Cycle, Period};
pub use payment_ids::{payment_id, period_of};

const PLAN: Text = Text::new("plan", refusals::PLAN_INVALID, 1, 200);
const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of subscriptions; a stream is one subscription.
#[derive(Debug)]
pub struct Subscriptions;

/// The status of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is renewed period by period.
    Active,
    /// Its customer wants nothing to be charged.
    Paused,
    /// A period was not paid.
    Lapsed,
    /// It has ended for good.
    Cancelled,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its status.
    pub status: Status,
    /// Who subscribes.
    pub customer_id: String,
    /// What is subscribed to.
    pub plan: String,
    /// What one period costs in minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// When its periods begin.
    pub calendar: Calendar,
    /// The number of the next period to be paid.
    pub next: i64,
}

/// The public state: what other contexts can read of a subscription: what never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionPublic {
    /// Who subscribes.
    pub customer_id: String,
    /// What one period costs in minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Subscriptions {
    const NAME: &'static str = "subscriptions";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Subscription;
    type Command = Command;
    type Event = Event;
    type Public = SubscriptionPublic;

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::StartSubscription(command) => references(command),
            Command::CancelSubscription(_)
            | Command::LapseSubscription(_)
            | Command::PauseSubscription(_)
            | Command::RenewSubscription(_)
            | Command::ResumeSubscription(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Subscription>, references: &References, command: &Command) -> Decision {
        let subscription = streams.get(command.key());
        let known = || subscription.ok_or_else(|| unknown(command.key()));
        match command {
            Command::StartSubscription(command) => start(subscription, references, command),
            Command::PauseSubscription(command) => changes::pause(known()?, command),
            Command::ResumeSubscription(command) => changes::resume(known()?, command),
            Command::CancelSubscription(command) => changes::cancel(known()?, command),
            Command::RenewSubscription(command) => periods::renew(known()?, command),
            Command::LapseSubscription(command) => periods::lapse(known()?, command),
        }
    }

    fn evolve(state: Option<Subscription>, event: &Event) -> Option<Subscription> {
        match event {
            Event::SubscriptionStarted(event) => state.or_else(|| Subscription::started(event)),
            event => state.map(|subscription| subscription.after(event)),
        }
    }

    fn public(state: &Subscription) -> SubscriptionPublic {
        let Subscription { customer_id, amount, currency, .. } = state.clone();
        SubscriptionPublic { customer_id, amount, currency }
    }
}

impl Status {
    /// The whole life of a subscription.
    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Active => next != Self::Active,
            Self::Paused | Self::Lapsed => matches!(next, Self::Active | Self::Cancelled),
            Self::Cancelled => false,
        }
    }

    /// Why a subscription in this status does not take a command.
    fn refusal(self, subscription_id: &str) -> Rejection {
        let (refusal, way_out) = match self {
            Self::Active => (refusals::SUBSCRIPTION_ACTIVE, "is active: there is nothing to resume"),
            Self::Paused => (refusals::SUBSCRIPTION_PAUSED, "is paused: send ResumeSubscription first"),
            Self::Lapsed => (refusals::SUBSCRIPTION_LAPSED, "has lapsed: send ResumeSubscription first"),
            Self::Cancelled => {
                (refusals::SUBSCRIPTION_CANCELLED, "was cancelled for good: start another one")
            }
        };
        refusal.because(format!("subscription_id {} {way_out}", rules::quoted(subscription_id)))
    }
}

impl Subscription {
    fn started(event: &SubscriptionStarted) -> Option<Self> {
        let calendar = Calendar::starting(Cycle::named(&event.period)?, event.started_at);
        let SubscriptionStarted { customer_id, plan, amount, currency, period_number, .. } = event.clone();
        Some(Self {
            status: Status::Active,
            customer_id,
            plan,
            amount,
            currency,
            calendar,
            next: period_number,
        })
    }

    /// An event that is impossible in this state changes nothing.
    fn after(self, event: &Event) -> Self {
        match event {
            Event::SubscriptionStarted(_) => self,
            Event::SubscriptionPaused(_) => self.moved_to(Status::Paused),
            Event::SubscriptionCancelled(_) => self.moved_to(Status::Cancelled),
            Event::SubscriptionResumed(event) => self.resumed(event.resumed_at),
            Event::SubscriptionRenewed(event) if self.is_due(event.period_number) => {
                Self { next: event.period_number.saturating_add(1), ..self }
            }
            Event::SubscriptionLapsed(event) if self.is_due(event.period_number) => {
                self.moved_to(Status::Lapsed)
            }
            Event::SubscriptionRenewed(_) | Event::SubscriptionLapsed(_) => self,
        }
    }

    fn moved_to(self, next: Status) -> Self {
        if self.status.may_become(next) { Self { status: next, ..self } } else { self }
    }

    fn is_due(&self, period_number: i64) -> bool {
        self.status == Status::Active && self.next == period_number
    }

    /// With another number for the period that is to be paid next.
    fn resumed(self, at: i64) -> Self {
        let unpaid = self.calendar.period(self.next).filter(|_| self.status.may_become(Status::Active));
        let Some(unpaid) = unpaid else { return self };
        let (calendar, next) = (self.calendar.resumed(unpaid, at), self.next.saturating_add(1));
        Self { status: Status::Active, calendar, next, ..self }
    }

    /// The period that is to be paid next.
    fn next_period(&self) -> Result<Period, Rejection> {
        self.calendar.period(self.next).ok_or_else(|| {
            let message = format!("period {} is beyond the year 9999: start another subscription", self.next);
            refusals::CALENDAR_ENDS.because(message)
        })
    }
}

/// The customer. A malformed start refers to nothing, since it is rejected anyway.
fn references(command: &StartSubscription) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |_| vec![Reference::to::<Customers>(&command.customer_id)])
}

fn start(known: Option<&Subscription>, references: &References, command: &StartSubscription) -> Decision {
    let cycle = check(command)?;
    let StartSubscription { subscription_id, customer_id, plan, amount, currency, period, started_at } =
        command.clone();
    if known.is_some() {
        return Err(exists(&subscription_id));
    }
    references.check::<Customers>(customers::refusals::CUSTOMER_MISSING, "customer_id", &customer_id)?;
    let (status, calendar, next) = (Status::Active, Calendar::starting(cycle, started_at), 1);
    let begun = Subscription { status, customer_id, plan, amount, currency, calendar, next };
    let first = begun.next_period()?;
    let Subscription { customer_id, plan, amount, currency, .. } = begun;
    Ok(vec![emit(SubscriptionStarted {
        subscription_id,
        customer_id,
        plan,
        amount,
        currency,
        period,
        started_at,
        period_number: first.number,
        period_from: first.from,
        period_until: first.until,
    })])
}

fn check(command: &StartSubscription) -> Result<Cycle, Rejection> {
    check_id(&command.subscription_id)?;
    rules::id("customer_id", &command.customer_id)?;
    PLAN.check(&command.plan)?;
    rules::amount("amount", command.amount)?;
    rules::currency(&command.currency)?;
    rules::time("started_at", command.started_at)?;
    Cycle::named(&command.period).ok_or_else(|| {
        let period = rules::quoted(&command.period);
        refusals::PERIOD_INVALID.because(format!("period is {period}: send month or year"))
    })
}

/// The ids of its payments are longer: they must be ids too.
fn check_id(subscription_id: &str) -> Checked {
    rules::id("subscription_id", subscription_id)?;
    rules::id("subscription_id with the number of a period", &payment_id(subscription_id, i64::MAX))
}

fn exists(subscription_id: &str) -> Rejection {
    let id = rules::quoted(subscription_id);
    let message = format!("subscription_id {id} was already started: take another id");
    refusals::SUBSCRIPTION_EXISTS.because(message)
}

fn unknown(subscription_id: &str) -> Rejection {
    let id = rules::quoted(subscription_id);
    let message =
        format!("subscription_id {id} was never started: send StartSubscription, or correct the id");
    refusals::SUBSCRIPTION_UNKNOWN.because(message)
}
