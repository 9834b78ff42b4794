//! The decision to ask for a payment.

use millrace_schemas::payments::{PaymentRequested, RequestPayment};

use super::{Decision, Payment};
use crate::contexts::orders::{OrderFace, Orders};
use crate::rules::{self, Checked};
use crate::{Faces, Reference, Rejection, emit};

/// The order. A malformed request refers to nothing: it is rejected for what it is.
pub(super) fn references(command: &RequestPayment) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Orders>(&command.order_id)])
}

/// Asks for what the order costs, once.
pub(super) fn request(known: Option<&Payment>, faces: &Faces, command: &RequestPayment) -> Decision {
    check(command)?;
    if known.is_some() {
        return Err(exists(&command.order_id));
    }
    let order = faces.get::<Orders>(&command.order_id).ok_or_else(|| order_unknown(&command.order_id))?;
    check_order(&order, command)?;
    let RequestPayment { order_id, customer_id, amount, currency } = command.clone();
    Ok(vec![emit(PaymentRequested { order_id, customer_id, amount, currency })])
}

fn check(command: &RequestPayment) -> Checked {
    rules::id("order_id", &command.order_id)?;
    rules::id("customer_id", &command.customer_id)?;
    rules::amount("amount", command.amount)?;
    rules::currency(&command.currency)
}

/// Who ordered, for how much and in which currency never changes.
fn check_order(order: &OrderFace, command: &RequestPayment) -> Checked {
    let RequestPayment { order_id: _, customer_id, amount, currency } = command;
    let (OrderFace { customer_id: by, currency: of, total }, quoted) = (order, rules::quoted);
    if customer_id != by {
        return Err(differs("customer-differs", "customer_id", &quoted(customer_id), &quoted(by)));
    }
    if currency != of {
        return Err(differs("currency-differs", "currency", currency, of));
    }
    if amount != total {
        return Err(differs("amount-differs", "amount", &amount.to_string(), &total.to_string()));
    }
    Ok(())
}

fn differs(code: &'static str, field: &str, value: &str, expected: &str) -> Rejection {
    Rejection::new(code, format!("{field} is {value}, but the order has {expected}: send that"))
}

fn exists(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    let way_out = "an order is paid once, do not ask again";
    Rejection::new("payment-exists", format!("order_id {id} has a payment already: {way_out}"))
}

/// The runtime brings every referenced face or keeps the command waiting, so this is the answer to a caller that
/// does not.
fn order_unknown(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    Rejection::new(
        "order-unknown",
        format!("order_id {id} was never placed: send PlaceOrder, or correct the id"),
    )
}
