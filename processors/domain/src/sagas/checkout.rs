//! Checkout: a cart that was checked out becomes an order; when the order is refused the cart is open again.

use std::time::Duration;

use millrace_schemas::carts::{CartCheckedOut, Command as Carts, Event as CartEvent, ReopenCart};
use millrace_schemas::orders::{Command as Orders, Event as OrderEvent, PlaceOrder, PlaceOrderLine};
use millrace_schemas::{AvroRecord as _, CommandRejected, Event, Message as _};
use serde::{Deserialize, Serialize};

use super::{REASON_MAX, readable};
use crate::contexts::orders::Orders as OrdersContext;
use crate::{Awaited, Context, Input, Reaction, Saga, Standing, Step};

/// The saga of carts that are checked out; an instance is an order and has its id.
#[derive(Debug)]
pub struct CartCheckout;

/// The state of a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkout {
    /// The order was requested.
    Placing {
        /// The cart.
        cart_id: String,
    },
    /// The order was placed.
    Placed,
    /// The order was refused, and the cart is open again.
    Refused,
}

impl Saga for CartCheckout {
    const NAME: &'static str = "checkout";
    const CONTEXTS: &'static [&'static str] = &[millrace_schemas::carts::Event::CONTEXT, OrdersContext::NAME];
    const SENDS_TO: &'static [&'static str] = Self::CONTEXTS;
    const STATE_VERSION: i32 = 1;
    const TIMERS: &'static [(&'static str, Duration)] = &[];
    const STANDINGS: &'static [&'static str] = &["placing", "placed", "refused"];
    type State = Checkout;

    fn instance(input: &Input<'_>) -> Option<String> {
        match input {
            Input::Event(recorded) => match &recorded.event {
                Event::Carts(CartEvent::CartCheckedOut(event)) => Some(event.order_id.clone()),
                Event::Orders(OrderEvent::OrderPlaced(event)) => Some(event.order_id.clone()),
                _ => None,
            },
            Input::Rejection(rejection) => {
                (rejection.command_type == PlaceOrder::FULL_NAME).then(|| rejection.stream.clone())
            }
            Input::Timer(..) | Input::Cancel(_) => None,
        }
    }

    fn react(state: Option<Checkout>, input: &Input<'_>) -> Reaction<Checkout> {
        match input {
            Input::Event(recorded) => match &recorded.event {
                Event::Carts(CartEvent::CartCheckedOut(cart)) => checked_out(state, cart),
                Event::Orders(OrderEvent::OrderPlaced(_)) => placed(state),
                _ => Reaction::Ignore,
            },
            Input::Rejection(rejection) => refused(state, rejection),
            Input::Timer(..) | Input::Cancel(_) => Reaction::Ignore,
        }
    }

    fn awaits(_: &Checkout) -> Vec<Awaited> {
        Vec::new()
    }

    fn standing(state: &Checkout) -> Standing {
        let (name, ended) = match state {
            Checkout::Placing { .. } => ("placing", false),
            Checkout::Placed => ("placed", true),
            Checkout::Refused => ("refused", true),
        };
        Standing { name, ended }
    }
}

/// Requests the order, unless another cart has become that order or is about to.
fn checked_out(state: Option<Checkout>, cart: &CartCheckedOut) -> Reaction<Checkout> {
    match state {
        None | Some(Checkout::Refused) => {
            let placing = Checkout::Placing { cart_id: cart.cart_id.clone() };
            Step::to(placing).send(place(cart)).into()
        }
        Some(taken @ (Checkout::Placing { .. } | Checkout::Placed)) => {
            let reason = format!("another cart was checked out as the order {}", cart.order_id);
            Step::to(taken).tell(reopen(cart.cart_id.clone(), &reason)).into()
        }
    }
}

fn placed(state: Option<Checkout>) -> Reaction<Checkout> {
    match state {
        Some(Checkout::Placing { .. }) => Step::to(Checkout::Placed).into(),
        None | Some(Checkout::Placed | Checkout::Refused) => Reaction::Ignore,
    }
}

fn refused(state: Option<Checkout>, rejection: &CommandRejected) -> Reaction<Checkout> {
    match state {
        Some(Checkout::Placing { cart_id }) => {
            Step::to(Checkout::Refused).tell(reopen(cart_id, &rejection.message)).into()
        }
        None | Some(Checkout::Placed | Checkout::Refused) => Reaction::Ignore,
    }
}

fn place(cart: &CartCheckedOut) -> Orders {
    let lines = cart.lines.iter().map(|line| PlaceOrderLine {
        product_id: line.product_id.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        discount_bp: 0,
    });
    PlaceOrder {
        order_id: cart.order_id.clone(),
        customer_id: cart.customer_id.clone(),
        currency: cart.currency.clone(),
        placed_at: cart.checked_out_at,
        lines: lines.collect(),
        total: cart.total,
        ship_to: None,
    }
    .into()
}

fn reopen(cart_id: String, reason: &str) -> Carts {
    ReopenCart { cart_id, reason: readable(reason, REASON_MAX) }.into()
}

#[cfg(test)]
mod tests {
    use millrace_schemas::carts::CartCheckedOutLine;
    use millrace_schemas::orders::OrderPlaced;
    use millrace_schemas::{Command, carts, orders};

    use super::*;
    use crate::testing::{Process, golden_states, process};

    fn checked_out(cart_id: &str) -> Event {
        let line = CartCheckedOutLine { product_id: "tea".to_owned(), quantity: 2, unit_price: 300 };
        let cart = CartCheckedOut {
            cart_id: cart_id.to_owned(),
            order_id: "7".to_owned(),
            customer_id: "ana".to_owned(),
            currency: "EUR".to_owned(),
            lines: vec![line],
            total: 600,
            checked_out_at: 5,
        };
        carts::Event::from(cart).into()
    }

    fn order() -> Command {
        let line =
            PlaceOrderLine { product_id: "tea".to_owned(), quantity: 2, unit_price: 300, discount_bp: 0 };
        let order = PlaceOrder {
            order_id: "7".to_owned(),
            customer_id: "ana".to_owned(),
            currency: "EUR".to_owned(),
            placed_at: 5,
            lines: vec![line],
            total: 600,
            ship_to: None,
        };
        orders::Command::from(order).into()
    }

    fn reopened(cart_id: &str, reason: &str) -> Command {
        carts::Command::from(ReopenCart { cart_id: cart_id.to_owned(), reason: reason.to_owned() }).into()
    }

    fn placing() -> Process<CartCheckout> {
        process::<CartCheckout>().receives(checked_out("c1")).then("placing", [order()])
    }

    fn placed() -> Process<CartCheckout> {
        placing().receives(order_placed()).then_nothing("placed")
    }

    fn order_placed() -> Event {
        let placed = OrderPlaced {
            order_id: "7".to_owned(),
            customer_id: "ana".to_owned(),
            customer_name: "Ana".to_owned(),
            customer_country: None,
            currency: "EUR".to_owned(),
            placed_at: 5,
            lines: Vec::new(),
            total: 600,
            ship_to: None,
        };
        orders::Event::from(placed).into()
    }

    #[test]
    fn states_of_every_version_still_load_and_finish() {
        let golden = [include_str!("checkout/golden/v1.json")];
        let all = golden_states::<CartCheckout>(&golden, &["placing", "placed", "refused"]);
        let standings = all.into_iter().map(|there| there.receives(order_placed()).standing());
        assert_eq!(standings.collect::<Vec<_>>(), ["placed", "placed", "refused"]);
    }

    #[test]
    fn a_cart_that_is_checked_out_becomes_an_order() {
        placed().ended();
    }

    #[test]
    fn a_cart_whose_order_is_refused_is_open_again_and_may_be_checked_out_again() {
        placing()
            .refused(order(), "product-discontinued")
            .then("refused", [reopened("c1", "product-discontinued")])
            .receives(checked_out("c1"))
            .then("placing", [order()]);
    }

    #[test]
    fn a_second_cart_cannot_become_the_same_order() {
        let reason = "another cart was checked out as the order 7";
        placing().receives(checked_out("c2")).then("placing", [reopened("c2", reason)]);
        placed().receives(checked_out("c2")).then("placed", [reopened("c2", reason)]).ended();
    }
}
