//! Checkout: a cart that was checked out becomes an order; when the order is refused the cart is open again.

use std::time::Duration;

use millrace_schemas::carts::{CartCheckedOut, Command as Carts, Event as CartEvent, ReopenCart};
use millrace_schemas::orders::{Command as Orders, Event as OrderEvent, PlaceOrder, PlaceOrderLine};
use millrace_schemas::{AvroRecord as _, CommandRejected, Event, Message as _};
use serde::{Deserialize, Serialize};

use crate::contexts::orders::Orders as OrdersContext;
use crate::{Awaited, Context, Heard, Reaction, Saga, Standing, Step};

/// Reasons may have this many characters.
const REASON_MAX: usize = 500;

/// The saga of carts that are checked out; an instance is an order and has its id.
#[derive(Debug)]
pub struct CartCheckout;

/// Where a checkout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkout {
    /// The order is asked for.
    Placing {
        /// What was checked out.
        cart_id: String,
    },
    /// The order is there.
    Placed,
    /// The order was refused, and the cart is open again.
    Refused,
}

impl Saga for CartCheckout {
    const NAME: &'static str = "checkout";
    const CONTEXTS: &'static [&'static str] = &[millrace_schemas::carts::Event::CONTEXT, OrdersContext::NAME];
    const STATE_VERSION: i32 = 1;
    const TIMERS: &'static [(&'static str, Duration)] = &[];
    type State = Checkout;

    fn instance(heard: &Heard<'_>) -> Option<String> {
        match heard {
            Heard::Event(recorded) => match &recorded.event {
                Event::Carts(CartEvent::CartCheckedOut(event)) => Some(event.order_id.clone()),
                Event::Orders(OrderEvent::OrderPlaced(event)) => Some(event.order_id.clone()),
                _ => None,
            },
            Heard::Rejection(rejection) => {
                (rejection.command_type == PlaceOrder::FULL_NAME).then(|| rejection.stream.clone())
            }
            Heard::Timer(_) | Heard::Cancel(_) => None,
        }
    }

    fn react(state: Option<Checkout>, heard: &Heard<'_>) -> Reaction<Checkout> {
        match (state, heard) {
            (None | Some(Checkout::Refused), Heard::Event(recorded)) => match &recorded.event {
                Event::Carts(CartEvent::CartCheckedOut(event)) => {
                    let placing = Checkout::Placing { cart_id: event.cart_id.clone() };
                    Step::to(placing).send(place(event)).into()
                }
                _ => Reaction::Ignore,
            },
            (Some(Checkout::Placing { .. }), Heard::Event(recorded)) => match &recorded.event {
                Event::Orders(OrderEvent::OrderPlaced(_)) => Step::to(Checkout::Placed).into(),
                _ => Reaction::Ignore,
            },
            (Some(Checkout::Placing { cart_id }), Heard::Rejection(rejection)) => {
                Step::to(Checkout::Refused).tell(reopen(cart_id, rejection)).into()
            }
            _ => Reaction::Ignore,
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
    }
    .into()
}

fn reopen(cart_id: String, rejection: &CommandRejected) -> Carts {
    let reason =
        rejection.message.chars().filter(|character| !character.is_control()).take(REASON_MAX).collect();
    ReopenCart { cart_id, reason }.into()
}
