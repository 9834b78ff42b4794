//! A renewal's data about its subscription, the commands that it sends for it, and the payments that must be undone.

use millrace_schemas::Event;
use millrace_schemas::payments::{
    Command as Payments, Event as PaymentEvent, PaymentRequested, RefundPayment, RequestSubscriptionPayment,
    VoidPayment,
};
use millrace_schemas::subscriptions::{
    CancelSubscription, Command as Subscriptions, Event as SubscriptionEvent, LapseSubscription,
    RenewSubscription,
};
use serde::{Deserialize, Serialize};

use super::happened::{Asked, Money};
use crate::Input;
use crate::contexts::payments::refusals::PAYMENT_CAPTURED;
use crate::contexts::subscriptions::payment_id;
use crate::sagas::{REASON_MAX, readable};

/// The provider has captured it although the payment was voided; the event is on its way.
const CAPTURED: &str = PAYMENT_CAPTURED.code;
/// The reason of refunds of money that has not renewed a period.
const STOPPED: &str = "the subscription did not go on";

/// A subscription, as far as its renewal needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Account {
    subscription_id: String,
    customer_id: String,
    currency: String,
    /// What a period costs in minor units.
    amount: i64,
    /// Payments that are to be undone, each of another period.
    debts: Vec<Debt>,
}

/// A payment that is to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The period.
    number: i64,
    /// The number of requested refunds.
    refunds: u32,
    owed: Owed,
}

/// The remaining compensation of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owed {
    /// It is being voided.
    Void,
    /// What was captured is being paid back.
    Refund,
    /// The provider does not pay it back: an operator must look at it, and cancels again.
    Unpaid,
}

/// An account as it was stored, not checked yet.
#[derive(Deserialize)]
struct Stored {
    subscription_id: String,
    customer_id: String,
    currency: String,
    amount: i64,
    debts: Vec<Debt>,
}

impl TryFrom<Stored> for Account {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { subscription_id, customer_id, currency, amount, debts } = stored;
        if subscription_id.is_empty() {
            return Err("subscription_id is empty".to_owned());
        }
        if amount < 1 {
            return Err(format!("amount is {amount}: a period costs something"));
        }
        Ok(Self { subscription_id, customer_id, currency, amount, debts })
    }
}

impl Account {
    /// The account of a subscription that begins with this.
    pub(super) fn begun(input: &Input<'_>) -> Option<Self> {
        let Input::Event(recorded) = input else { return None };
        let (subscription_id, customer_id, currency, amount) = match recorded.event.clone() {
            Event::Subscriptions(SubscriptionEvent::SubscriptionStarted(event)) => {
                (event.subscription_id, event.customer_id, event.currency, event.amount)
            }
            Event::Payments(PaymentEvent::PaymentRequested(event)) => {
                let PaymentRequested { subscription_id, customer_id, currency, amount, .. } = event;
                (subscription_id?, customer_id, currency, amount)
            }
            _ => return None,
        };
        Some(Self { subscription_id, customer_id, currency, amount, debts: Vec::new() })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.subscription_id
    }

    pub(super) fn is_settled(&self) -> bool {
        self.debts.is_empty()
    }

    /// Whether something of that kind is left to undo.
    #[cfg(test)]
    pub(super) fn owes(&self, owed: Owed) -> bool {
        self.debts.iter().any(|debt| debt.owed == owed)
    }

    pub(super) fn request_payment(&self, period_number: i64) -> Payments {
        let Self { subscription_id, customer_id, currency, amount, .. } = self.clone();
        let order_id = payment_id(&subscription_id, period_number);
        RequestSubscriptionPayment { order_id, subscription_id, period_number, customer_id, amount, currency }
            .into()
    }

    pub(super) fn renew(&self, period_number: i64) -> Subscriptions {
        RenewSubscription { subscription_id: self.subscription_id.clone(), period_number }.into()
    }

    pub(super) fn lapse(&self, period_number: i64, reason: &str) -> Subscriptions {
        let (subscription_id, reason) = (self.subscription_id.clone(), short(reason));
        LapseSubscription { subscription_id, period_number, reason }.into()
    }

    pub(super) fn cancel(&self, reason: &str) -> Subscriptions {
        let (subscription_id, reason) = (self.subscription_id.clone(), short(reason));
        CancelSubscription { subscription_id, reason }.into()
    }

    /// Gives a payment up that the provider has not answered.
    pub(super) fn void(mut self, number: i64) -> (Self, Payments) {
        self.owe(Debt { number, refunds: 0, owed: Owed::Void });
        let order_id = payment_id(&self.subscription_id, number);
        (self, VoidPayment { order_id, reason: STOPPED.to_owned() }.into())
    }

    /// Pays back what was captured; another try after one that has failed is another refund.
    pub(super) fn refund(mut self, number: i64) -> (Self, Payments) {
        let before = self.debts.iter().find(|debt| debt.number == number).map_or(0, |debt| debt.refunds);
        let refunds = before.saturating_add(1);
        self.owe(Debt { number, refunds, owed: Owed::Refund });
        let order_id = payment_id(&self.subscription_id, number);
        let (refund_id, reason) = (refund_id(&order_id, refunds), STOPPED.to_owned());
        let refund = RefundPayment { order_id, refund_id, amount: self.amount, reason };
        (self, refund.into())
    }

    /// Tries again what the provider has not paid back.
    pub(super) fn refund_unpaid(self) -> (Self, Vec<Payments>) {
        let unpaid = self.debts.iter().filter(|debt| debt.owed == Owed::Unpaid);
        let unpaid: Vec<i64> = unpaid.map(|debt| debt.number).collect();
        unpaid.into_iter().fold((self, Vec::new()), |(account, mut refunds), number| {
            let (account, refund) = account.refund(number);
            refunds.push(refund);
            (account, refunds)
        })
    }

    fn owe(&mut self, debt: Debt) {
        self.debts.retain(|known| known.number != debt.number);
        self.debts.push(debt);
    }

    fn without(mut self, number: i64) -> Self {
        self.debts.retain(|debt| debt.number != number);
        self
    }

    /// Reacts to a payment that is not awaited: what was not asked for is voided, what was captured is paid back.
    pub(super) fn react(self, number: i64, money: Money<'_>) -> (Self, Option<Payments>) {
        let sends = |(account, command)| (account, Some(command));
        let debt = self.debts.iter().find(|debt| debt.number == number).copied();
        // Others may refund some of it for reasons of their own.
        let refunds = debt.map_or(0, |debt| debt.refunds);
        let ours = |id: &str| id == refund_id(&payment_id(&self.subscription_id, number), refunds);
        match (debt.map(|debt| debt.owed), money) {
            (None, Money::Requested) => sends(self.void(number)),
            (None | Some(Owed::Void), Money::Captured) => sends(self.refund(number)),
            (Some(Owed::Void), Money::Refused(Asked::Void, why)) if why.code == CAPTURED => (self, None),
            (Some(Owed::Void), Money::NotPaid(_) | Money::Refused(Asked::Void | Asked::Payment, _)) => {
                (self.without(number), None)
            }
            (Some(Owed::Refund | Owed::Unpaid), Money::Refunded(id)) if ours(id) => {
                (self.without(number), None)
            }
            (Some(Owed::Refund), Money::RefundFailed(id)) if ours(id) => (self.unpaid(number), None),
            (Some(Owed::Refund), Money::Refused(Asked::Refund, _)) => (self.unpaid(number), None),
            _ => (self, None),
        }
    }

    fn unpaid(mut self, number: i64) -> Self {
        let debt = self.debts.iter_mut().find(|debt| debt.number == number);
        debt.into_iter().for_each(|debt| debt.owed = Owed::Unpaid);
        self
    }
}

/// The id of the n-th refund of a payment.
fn refund_id(payment_id: &str, refunds: u32) -> String {
    format!("{payment_id}/{refunds}")
}

/// A reason, cut to the limit of a command's field.
fn short(reason: &str) -> String {
    match reason.trim() {
        "" => "no reason was given".to_owned(),
        reason => readable(reason, REASON_MAX),
    }
}
