//! Compensation: the steps that were done are undone, and nothing else.

use serde::{Deserialize, Serialize};

use super::happened::{Asked, Happened};
use super::order::short;
use super::{DEADLINE, Fulfilment, Order};
use crate::contexts::payments::refusals::PAYMENT_CAPTURED;
use crate::{Reaction, Step};

/// The provider has captured it although the payment was voided; the event is on its way.
const CAPTURED: &str = PAYMENT_CAPTURED.code;

/// Steps are being undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelling(pub(super) Compensation);

/// Everything that was done is undone. Late results are undone, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled(pub(super) Compensation);

/// The remaining compensation of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    order: Order,
    /// Why.
    reason: String,
    /// Whether the order itself is cancelled.
    order_cancelled: bool,
    stock: StockDebt,
    payment: PaymentDebt,
    /// The number of requested refunds.
    refunds: u32,
    /// Whether the customer was notified.
    #[serde(rename = "told")]
    notified: bool,
}

/// The remaining compensation of the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockDebt {
    /// Nothing.
    None,
    /// A reservation is being released.
    Release,
    /// It is leaving, and comes back once it has left.
    Shipping,
    /// It is being brought back.
    Return,
}

/// The remaining compensation of the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentDebt {
    /// Nothing.
    None,
    /// It is being voided, and its authorisation released.
    Void,
    /// What was captured is being paid back.
    Refund,
    /// The provider does not pay it back: an operator must look at it, and cancels again.
    Unpaid,
}

impl PaymentDebt {
    /// What was captured for an order is to be paid back.
    pub(super) fn of_captured(order: &Order) -> Self {
        if order.is_free() { Self::None } else { Self::Refund }
    }
}

impl Compensation {
    /// What is to be undone of an order, and why.
    pub(super) fn of(order: Order, reason: &str, stock: StockDebt, payment: PaymentDebt) -> Self {
        let reason = short(reason);
        Self { order, reason, order_cancelled: false, stock, payment, refunds: 0, notified: false }
    }

    /// Begins to undo, and asks that the order is cancelled.
    pub(super) fn ask(self) -> Step<Fulfilment> {
        let cancel = self.order.cancel(&self.reason);
        let mut step = self.begin();
        step.sends.insert(0, crate::Sent { command: cancel.into(), awaited: true });
        step
    }

    /// Begins to undo: another command has cancelled the order.
    pub(super) fn follow(self) -> Step<Fulfilment> {
        Self { order_cancelled: true, ..self }.begin()
    }

    fn begin(mut self) -> Step<Fulfilment> {
        let stock = match self.stock {
            StockDebt::Release => Some(self.order.release()),
            StockDebt::Return => Some(self.order.bring_back()),
            StockDebt::None | StockDebt::Shipping => None,
        };
        let payment = match self.payment {
            PaymentDebt::Void => Some(self.order.void_payment(&self.reason)),
            PaymentDebt::Refund => Some(self.next_refund()),
            PaymentDebt::None | PaymentDebt::Unpaid => None,
        };
        let step = self.go_on().cancel(DEADLINE);
        let step = stock.into_iter().fold(step, Step::send);
        payment.into_iter().fold(step, Step::send)
    }

    fn next_refund(&mut self) -> millrace_schemas::payments::Command {
        self.payment = PaymentDebt::Refund;
        self.refunds += 1;
        self.order.refund(self.refunds, &self.reason)
    }

    /// Once nothing is left the customer is notified.
    fn go_on(mut self) -> Step<Fulfilment> {
        let settled =
            self.order_cancelled && self.stock == StockDebt::None && self.payment == PaymentDebt::None;
        if !settled {
            return Step::to(Fulfilment::Cancelling(Cancelling(self)));
        }
        let mail = (!self.notified).then(|| self.order.notify_cancelled(&self.reason));
        self.notified = true;
        mail.into_iter().fold(Step::to(Fulfilment::Cancelled(Cancelled(self))), Step::tell)
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        match happened {
            Happened::Cancelled(_) | Happened::Refused(Asked::Cancel, _) => {
                Self { order_cancelled: true, ..self }.go_on().into()
            }
            // Asked for before it was cancelled; what follows from it is on its way to be undone.
            Happened::Refused(Asked::Reserve | Asked::Capture | Asked::Confirm, _)
            | Happened::RefundRequested => self.go_on().into(),
            Happened::Reserved
            | Happened::Released
            | Happened::Shipped
            | Happened::Returned
            | Happened::Refused(Asked::Release | Asked::Ship | Asked::Return, _) => {
                self.react_to_stock(happened)
            }
            Happened::PaymentRequested(_)
            | Happened::Authorised(_)
            | Happened::CaptureRequested(_)
            | Happened::Captured
            | Happened::NotPaid(_)
            | Happened::Refunded
            | Happened::RefundFailed
            | Happened::Refused(Asked::Payment | Asked::Void | Asked::Refund, _)
            | Happened::Unwanted(_) => self.react_to_money(happened),
            Happened::Confirmed | Happened::DeadlinePassed => Reaction::Ignore,
        }
    }

    fn react_to_stock(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        let to = |stock| Self { stock, ..self.clone() }.go_on();
        match (self.stock, happened) {
            // Too late: it goes back at once.
            (StockDebt::None, Happened::Reserved) => to(StockDebt::Release).send(self.order.release()).into(),
            (_, Happened::Reserved) => self.go_on().into(),
            (StockDebt::Release, Happened::Released | Happened::Refused(Asked::Release, _)) => {
                to(StockDebt::None).into()
            }
            (StockDebt::Shipping, Happened::Shipped) => {
                to(StockDebt::Return).send(self.order.bring_back()).into()
            }
            (StockDebt::Shipping, Happened::Refused(Asked::Ship, _)) => to(StockDebt::None).into(),
            (StockDebt::Return, Happened::Returned) => to(StockDebt::None).into(),
            _ => Reaction::Ignore,
        }
    }

    fn react_to_money(mut self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        match (self.payment, happened) {
            // Asked for before it was cancelled: the void is behind it.
            (
                PaymentDebt::Void,
                Happened::PaymentRequested(_) | Happened::Authorised(_) | Happened::CaptureRequested(_),
            ) => self.go_on().into(),
            // Too late: it is voided at once.
            (PaymentDebt::None, Happened::PaymentRequested(_) | Happened::Authorised(_)) => {
                let void = self.order.void_payment(&self.reason);
                Self { payment: PaymentDebt::Void, ..self }.go_on().send(void).into()
            }
            // The money was taken all the same.
            (PaymentDebt::None | PaymentDebt::Void, Happened::Captured) => {
                let refund = self.next_refund();
                self.go_on().send(refund).into()
            }
            (PaymentDebt::Void, Happened::Refused(Asked::Void, why)) if why.code == CAPTURED => {
                self.go_on().into()
            }
            (
                PaymentDebt::Void,
                Happened::NotPaid(_) | Happened::Refused(Asked::Payment | Asked::Void, _),
            )
            | (PaymentDebt::Refund, Happened::Refunded) => {
                Self { payment: PaymentDebt::None, ..self }.go_on().into()
            }
            (PaymentDebt::Refund, Happened::RefundFailed | Happened::Refused(Asked::Refund, _)) => {
                Self { payment: PaymentDebt::Unpaid, ..self }.go_on().into()
            }
            (PaymentDebt::Refund, Happened::Refused(Asked::Void | Asked::Payment, _)) => self.go_on().into(),
            (PaymentDebt::Unpaid, Happened::Unwanted(_)) => {
                let refund = self.next_refund();
                self.go_on().send(refund).into()
            }
            _ => Reaction::Ignore,
        }
    }
}
