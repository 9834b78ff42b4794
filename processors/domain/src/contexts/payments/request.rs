//! The decision to ask for a payment.

use millrace_schemas::payments::{PaymentRequested, RequestPayment};

use super::{Decision, Payment, refusals};
use crate::contexts::orders::{self, OrderPublic, Orders};
use crate::rules::{self, Checked};
use crate::{Reference, References, Refusal, Rejection, emit};

/// The order. A malformed request refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &RequestPayment) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Orders>(&command.order_id)])
}

/// Asks for what the order costs, once.
pub(super) fn request(
    known: Option<&Payment>,
    references: &References,
    command: &RequestPayment,
) -> Decision {
    check(command)?;
    if known.is_some() {
        return Err(exists(&command.order_id));
    }
    let missing = orders::refusals::ORDER_MISSING;
    let order = references.required::<Orders>(missing, "order_id", &command.order_id)?;
    let OrderPublic { customer_id, currency, total } = &order;
    let due = Due { what: "the order", customer_id, currency, amount: *total };
    due.check(&command.customer_id, &command.currency, command.amount)?;
    let RequestPayment { order_id, customer_id, amount, currency } = command.clone();
    Ok(vec![emit(PaymentRequested { order_id, customer_id, amount, currency, subscription_id: None })])
}

fn check(command: &RequestPayment) -> Checked {
    rules::id("order_id", &command.order_id)?;
    rules::id("customer_id", &command.customer_id)?;
    rules::amount("amount", command.amount)?;
    rules::currency(&command.currency)
}

/// What a payment is for. Who pays, how much and in which currency never changes.
pub(super) struct Due<'d> {
    /// Such as `the order`.
    pub(super) what: &'static str,
    pub(super) customer_id: &'d str,
    pub(super) currency: &'d str,
    pub(super) amount: i64,
}

impl Due<'_> {
    /// A request says what is due.
    pub(super) fn check(&self, customer_id: &str, currency: &str, amount: i64) -> Checked {
        let quoted = rules::quoted;
        if customer_id != self.customer_id {
            let (value, expected) = (quoted(customer_id), quoted(self.customer_id));
            return Err(self.differs(refusals::CUSTOMER_DIFFERS, "customer_id", &value, &expected));
        }
        if currency != self.currency {
            return Err(self.differs(refusals::CURRENCY_DIFFERS, "currency", currency, self.currency));
        }
        if amount != self.amount {
            let (value, expected) = (amount.to_string(), self.amount.to_string());
            return Err(self.differs(refusals::AMOUNT_DIFFERS, "amount", &value, &expected));
        }
        Ok(())
    }

    fn differs(&self, refusal: Refusal, field: &str, value: &str, expected: &str) -> Rejection {
        refusal.because(format!("{field} is {value}, but {} has {expected}: send that", self.what))
    }
}

pub(super) fn exists(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    let way_out = "an order or a period is paid once, do not ask again";
    refusals::PAYMENT_EXISTS.because(format!("order_id {id} has a payment already: {way_out}"))
}
