//! The way to a fulfilled order: a type for each state, made only from the one before it.
//!
//! A payment cannot be asked for before the stock is reserved, nor an order confirmed before it is paid, because there is
//! no way to write it:
//!
//! ```
//! use millrace_domain::sagas::fulfilment::{Capturing, Confirming, Paying, Reserving};
//! fn in_order(reserving: Reserving) -> Confirming {
//!     let paying = Paying::from(reserving);
//!     Confirming::from(Capturing::authorised(paying, 1))
//! }
//! ```
//! ```compile_fail,E0277
//! use millrace_domain::sagas::fulfilment::{Confirming, Reserving};
//! fn unpaid(reserving: Reserving) -> Confirming {
//!     Confirming::from(reserving)
//! }
//! ```
//! ```compile_fail,E0277
//! use millrace_domain::sagas::fulfilment::{Order, Paying};
//! fn not_reserved(order: Order) -> Paying {
//!     Paying::from(order)
//! }
//! ```
//! ```compile_fail,E0277
//! use millrace_domain::sagas::fulfilment::{Committing, Paying};
//! fn not_confirmed(paying: Paying) -> Committing {
//!     Committing::from(paying)
//! }
//! ```

use serde::{Deserialize, Serialize};

use super::happened::{Asked, Happened};
use super::{Compensation, DEADLINE, Fulfilment, Order, PAYMENTS, PaymentDebt, StockDebt};
use crate::contexts::payments::refusals::PAYMENT_EXISTS;
use crate::{Awaited, Reaction, Step};

/// Why an order without an answer is cancelled.
const NO_ANSWER: &str = "there was no answer in time";

/// Stock is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserving {
    order: Order,
}

/// Stock is reserved, the provider is to authorise money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paying {
    order: Order,
    /// The payment's version in the last input about it.
    payment: Option<i64>,
}

/// Money is authorised, and its capture asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capturing {
    order: Order,
    /// The payment's version in the last input about it.
    payment: i64,
}

/// Money is captured, the order is to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirming {
    order: Order,
}

/// The order is confirmed, its stock is to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committing {
    order: Order,
}

/// All is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fulfilled {
    order: Order,
}

/// Its stock is asked for.
impl From<Order> for Reserving {
    fn from(order: Order) -> Self {
        Self { order }
    }
}

/// Its stock is reserved.
impl From<Reserving> for Paying {
    fn from(Reserving { order }: Reserving) -> Self {
        Self { order, payment: None }
    }
}

/// It is paid, at once or because it costs nothing.
impl From<Paying> for Confirming {
    fn from(Paying { order, .. }: Paying) -> Self {
        Self { order }
    }
}

/// It is paid.
impl From<Capturing> for Confirming {
    fn from(Capturing { order, .. }: Capturing) -> Self {
        Self { order }
    }
}

/// It is confirmed.
impl From<Confirming> for Committing {
    fn from(Confirming { order }: Confirming) -> Self {
        Self { order: order.confirmed() }
    }
}

/// Its stock has left.
impl From<Committing> for Fulfilled {
    fn from(Committing { order }: Committing) -> Self {
        Self { order }
    }
}

impl Reserving {
    pub(super) fn order(&self) -> &Order {
        &self.order
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        let released =
            |order, reason: &str| Compensation::of(order, reason, StockDebt::Release, PaymentDebt::None);
        match happened {
            Happened::Reserved => Paying::from(self).begin().into(),
            Happened::Refused(Asked::Reserve, why) => {
                Compensation::of(self.order, &why.message, StockDebt::None, PaymentDebt::None).ask().into()
            }
            Happened::Cancelled(reason) => released(self.order, reason).follow().into(),
            Happened::DeadlinePassed => released(self.order, NO_ANSWER).ask().into(),
            Happened::Unwanted(why) => released(self.order, why).ask().into(),
            Happened::Confirmed => {
                Step::to(Fulfilment::Reserving(Self { order: self.order.confirmed() })).into()
            }
            Happened::Captured => {
                Reaction::Impossible("money was captured before stock was reserved".to_owned())
            }
            _ => Reaction::Ignore,
        }
    }
}

impl Paying {
    /// What costs nothing is paid.
    fn begin(self) -> Step<Fulfilment> {
        if self.order.is_free() {
            return Confirming::from(self).begin();
        }
        let ask = self.order.request_payment();
        Step::to(Fulfilment::Paying(self)).send(ask)
    }

    pub(super) fn awaits(&self) -> Option<Awaited> {
        let version = self.payment?;
        Some(Awaited { context: PAYMENTS, stream: self.order.id().to_owned(), version })
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        match happened {
            Happened::PaymentRequested(version) => {
                Step::to(Fulfilment::Paying(Self { payment: Some(version), ..self })).into()
            }
            Happened::Authorised(version) => Capturing::authorised(self, version).begin().into(),
            // As it was asked for before orders were authorised.
            Happened::Captured => Confirming::from(self).begin().into(),
            // Another command has asked for it: what comes of that is undone too.
            Happened::Refused(Asked::Payment, why) if why.code == PAYMENT_EXISTS.code => {
                Compensation::of(self.order, &why.message, StockDebt::Release, PaymentDebt::Void).ask().into()
            }
            Happened::Refused(Asked::Payment, why) => {
                not_captured(self.order, Happened::NotPaid(&why.message))
            }
            Happened::Confirmed => {
                Step::to(Fulfilment::Paying(Self { order: self.order.confirmed(), ..self })).into()
            }
            happened => not_captured(self.order, happened),
        }
    }
}

impl Capturing {
    /// What an order costs is authorised, as the payment says at this version.
    pub fn authorised(Paying { order, .. }: Paying, payment: i64) -> Self {
        Self { order, payment }
    }

    fn begin(self) -> Step<Fulfilment> {
        let ask = self.order.request_capture();
        Step::to(Fulfilment::Capturing(self)).send(ask)
    }

    pub(super) fn awaits(&self) -> Awaited {
        Awaited { context: PAYMENTS, stream: self.order.id().to_owned(), version: self.payment }
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        match happened {
            Happened::CaptureRequested(version) => {
                Step::to(Fulfilment::Capturing(Self { payment: version, ..self })).into()
            }
            Happened::Captured => Confirming::from(self).begin().into(),
            // The provider was faster, or has let go of the money: the payment's own event says which.
            Happened::Refused(Asked::Capture, _) => Step::to(Fulfilment::Capturing(self)).into(),
            Happened::Confirmed => {
                Step::to(Fulfilment::Capturing(Self { order: self.order.confirmed(), ..self })).into()
            }
            happened => not_captured(self.order, happened),
        }
    }
}

/// What ends an order whose stock is reserved and whose money was not captured yet.
fn not_captured(order: Order, happened: Happened<'_>) -> Reaction<Fulfilment> {
    let undone = |reason: &str, payment| Compensation::of(order, reason, StockDebt::Release, payment);
    match happened {
        Happened::NotPaid(reason) => undone(reason, PaymentDebt::None).ask().into(),
        Happened::Cancelled(reason) => undone(reason, PaymentDebt::Void).follow().into(),
        Happened::DeadlinePassed => undone(NO_ANSWER, PaymentDebt::Void).ask().into(),
        Happened::Unwanted(why) => undone(why, PaymentDebt::Void).ask().into(),
        _ => Reaction::Ignore,
    }
}

impl Confirming {
    /// From here on no deadline cancels it: money was taken, and the order's own stream says what becomes of it.
    fn begin(self) -> Step<Fulfilment> {
        if self.order.is_confirmed() {
            return Committing::from(self).begin().cancel(DEADLINE);
        }
        let ask = self.order.confirm();
        Step::to(Fulfilment::Confirming(self)).send(ask).cancel(DEADLINE)
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        match happened {
            Happened::Confirmed => Committing::from(self).begin().into(),
            // Another command was faster; the order's own event says which.
            Happened::Refused(Asked::Capture | Asked::Confirm | Asked::Cancel, _) => {
                Step::to(Fulfilment::Confirming(self)).into()
            }
            Happened::Cancelled(reason) => {
                let payment = PaymentDebt::of_captured(&self.order);
                Compensation::of(self.order, reason, StockDebt::Release, payment).follow().into()
            }
            Happened::Unwanted(why) => {
                let ask = self.order.cancel(why);
                Step::to(Fulfilment::Confirming(self)).send(ask).into()
            }
            _ => Reaction::Ignore,
        }
    }
}

impl Committing {
    fn begin(self) -> Step<Fulfilment> {
        let ask = self.order.ship();
        Step::to(Fulfilment::Committing(self)).send(ask)
    }

    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        let payment = PaymentDebt::of_captured(&self.order);
        match happened {
            Happened::Shipped => {
                let mail = self.order.notify_confirmed();
                Step::to(Fulfilment::Fulfilled(self.into())).tell(mail).into()
            }
            // Another command has released the reservation.
            Happened::Refused(Asked::Ship, why) => {
                Compensation::of(self.order, &why.message, StockDebt::None, payment).ask().into()
            }
            Happened::Cancelled(reason) => {
                Compensation::of(self.order, reason, StockDebt::Shipping, payment).follow().into()
            }
            Happened::Unwanted(why) => {
                let ask = self.order.cancel(why);
                Step::to(Fulfilment::Committing(self)).send(ask).into()
            }
            Happened::Refused(Asked::Capture | Asked::Confirm | Asked::Cancel, _) => {
                Step::to(Fulfilment::Committing(self)).into()
            }
            _ => Reaction::Ignore,
        }
    }
}

impl Fulfilled {
    pub(super) fn react(self, happened: Happened<'_>) -> Reaction<Fulfilment> {
        let payment = PaymentDebt::of_captured(&self.order);
        match happened {
            Happened::Cancelled(reason) => {
                Compensation::of(self.order, reason, StockDebt::Return, payment).follow().into()
            }
            Happened::Unwanted(why) => {
                let ask = self.order.cancel(why);
                Step::to(Fulfilment::Fulfilled(self)).send(ask).into()
            }
            Happened::Refused(Asked::Capture | Asked::Confirm | Asked::Cancel, _) => {
                Step::to(Fulfilment::Fulfilled(self)).into()
            }
            _ => Reaction::Ignore,
        }
    }
}
