//! Carts: what customers are about to order.

mod checkout;
mod items;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millrace_schemas::Message;
use millrace_schemas::carts::{
    AbandonCart, CartAbandoned, CartCreated, CartItemAdded, CartItemRemoved, CartQuantityChanged,
    CartReopened, Command, CreateCart, Event, ReopenCart,
};
use serde::{Deserialize, Serialize};

use crate::contexts::customers::{self, Customers};
use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of carts; a stream is one cart.
#[derive(Debug)]
pub struct Carts;

/// The status of a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It takes changes.
    Open,
    /// It was given up.
    Abandoned,
    /// It became an order.
    CheckedOut,
}

/// A cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// Its status.
    pub status: Status,
    /// The customer who owns it.
    pub customer_id: String,
    /// ISO 4217 code of every price in it.
    pub currency: String,
    /// The items, by product.
    pub items: BTreeMap<String, Item>,
}

/// A product in a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Units.
    pub quantity: i64,
    /// Its list price in minor units when it was added.
    pub unit_price: i64,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Carts {
    const NAME: &'static str = "carts";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Cart;
    type Command = Command;
    type Event = Event;
    // No other context refers to a cart.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::CreateCart(command) => references(command),
            Command::AddToCart(command) => items::references(command),
            Command::AbandonCart(_)
            | Command::ChangeCartQuantity(_)
            | Command::CheckOutCart(_)
            | Command::RemoveFromCart(_)
            | Command::ReopenCart(_) => Vec::new(),
        }
    }

    fn advice(command: &Command) -> Vec<Reference> {
        match command {
            Command::AddToCart(command) => items::stock(&command.product_id),
            Command::ChangeCartQuantity(command) => items::stock(&command.product_id),
            Command::AbandonCart(_)
            | Command::CheckOutCart(_)
            | Command::CreateCart(_)
            | Command::RemoveFromCart(_)
            | Command::ReopenCart(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Cart>, references: &References, command: &Command) -> Decision {
        let cart = streams.get(command.key());
        let open = || open(cart, command.key());
        match command {
            Command::CreateCart(command) => create(cart, references, command),
            Command::AddToCart(command) => items::add(open()?, references, command),
            Command::RemoveFromCart(command) => items::remove(open()?, command),
            Command::ChangeCartQuantity(command) => items::change_quantity(open()?, references, command),
            Command::AbandonCart(command) => abandon(open()?, command),
            Command::CheckOutCart(command) => checkout::check_out(open()?, command),
            Command::ReopenCart(command) => reopen(cart, command),
        }
    }

    fn evolve(state: Option<Cart>, event: &Event) -> Option<Cart> {
        match event {
            Event::CartCreated(event) => state.or_else(|| Some(Cart::created(event))),
            Event::CartItemAdded(event) => state.map(|cart| cart.while_open(|cart| cart.with(event))),
            Event::CartItemRemoved(event) => state.map(|cart| cart.while_open(|cart| cart.without(event))),
            Event::CartQuantityChanged(event) => {
                state.map(|cart| cart.while_open(|cart| cart.with_quantity(event)))
            }
            Event::CartAbandoned(_) => state.map(|cart| cart.moved_to(Status::Abandoned)),
            Event::CartCheckedOut(_) => state.map(|cart| cart.moved_to(Status::CheckedOut)),
            Event::CartReopened(_) => state.map(|cart| cart.moved_to(Status::Open)),
        }
    }

    fn public(_state: &Cart) {}
}

impl Status {
    /// The whole life of a cart.
    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Open, Self::Abandoned | Self::CheckedOut) | (Self::CheckedOut, Self::Open)
        )
    }
}

impl Cart {
    fn created(event: &CartCreated) -> Self {
        let CartCreated { cart_id: _, customer_id, currency } = event.clone();
        Self { status: Status::Open, customer_id, currency, items: BTreeMap::new() }
    }

    fn moved_to(self, next: Status) -> Self {
        if self.status.may_become(next) { Self { status: next, ..self } } else { self }
    }

    fn while_open(self, change: impl FnOnce(Self) -> Self) -> Self {
        if self.status == Status::Open { change(self) } else { self }
    }

    fn with(mut self, event: &CartItemAdded) -> Self {
        let item = Item { quantity: event.quantity, unit_price: event.unit_price };
        self.items.entry(event.product_id.clone()).or_insert(item);
        self
    }

    fn without(mut self, event: &CartItemRemoved) -> Self {
        self.items.remove(&event.product_id);
        self
    }

    fn with_quantity(mut self, event: &CartQuantityChanged) -> Self {
        if let Some(item) = self.items.get_mut(&event.product_id) {
            item.quantity = event.quantity;
        }
        self
    }
}

/// The customer. A malformed cart refers to nothing, since it is rejected anyway.
fn references(command: &CreateCart) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Customers>(&command.customer_id)])
}

fn create(known: Option<&Cart>, references: &References, command: &CreateCart) -> Decision {
    check(command)?;
    let CreateCart { cart_id, customer_id, currency } = command.clone();
    if known.is_some() {
        return Err(exists(&cart_id));
    }
    references.check::<Customers>(customers::refusals::CUSTOMER_MISSING, "customer_id", &customer_id)?;
    Ok(vec![emit(CartCreated { cart_id, customer_id, currency })])
}

fn check(command: &CreateCart) -> Checked {
    rules::id("cart_id", &command.cart_id)?;
    rules::id("customer_id", &command.customer_id)?;
    rules::currency(&command.currency)
}

fn abandon(open: &Cart, command: &AbandonCart) -> Decision {
    let AbandonCart { cart_id, reason } = command.clone();
    REASON.check(&reason)?;
    Ok(vec![emit(CartAbandoned { cart_id, reason, customer_id: open.customer_id.clone() })])
}

fn reopen(cart: Option<&Cart>, command: &ReopenCart) -> Decision {
    let ReopenCart { cart_id, reason } = command.clone();
    if !cart.ok_or_else(|| unknown(&cart_id))?.status.may_become(Status::Open) {
        let id = rules::quoted(&cart_id);
        let message = format!("cart_id {id} is not checked out: only a checked-out cart can be reopened");
        return Err(refusals::CART_NOT_CHECKED_OUT.because(message));
    }
    REASON.check(&reason)?;
    Ok(vec![emit(CartReopened { cart_id, reason })])
}

/// A cart that takes changes.
fn open<'a>(cart: Option<&'a Cart>, cart_id: &str) -> Result<&'a Cart, Rejection> {
    let cart = cart.ok_or_else(|| unknown(cart_id))?;
    let (refusal, way_out) = match cart.status {
        Status::Open => return Ok(cart),
        Status::Abandoned => (refusals::CART_ABANDONED, "was abandoned: create another one"),
        Status::CheckedOut => {
            (refusals::CART_CHECKED_OUT, "was checked out: create another one, or send ReopenCart")
        }
    };
    Err(refusal.because(format!("cart_id {} {way_out}", rules::quoted(cart_id))))
}

/// The price of items in minor units: at most that of an order.
fn total<'a>(items: impl IntoIterator<Item = &'a Item>) -> Result<i64, Rejection> {
    let amount = |item: &Item| rules::line_amount(item.quantity, item.unit_price, 0);
    let sum = items.into_iter().try_fold(0_i64, |sum, item| sum.checked_add(amount(item)?));
    sum.filter(|sum| *sum <= rules::TOTAL_MAX).ok_or_else(|| {
        let way_out = format!("a cart may cost at most {} minor units, split it", rules::TOTAL_MAX);
        refusals::AMOUNT_TOO_LARGE.because(format!("quantity is too large for its price: {way_out}"))
    })
}

fn exists(cart_id: &str) -> Rejection {
    let id = rules::quoted(cart_id);
    refusals::CART_EXISTS.because(format!("cart_id {id} was already created: take another id"))
}

fn unknown(cart_id: &str) -> Rejection {
    let id = rules::quoted(cart_id);
    refusals::CART_UNKNOWN
        .because(format!("cart_id {id} was never created: send CreateCart, or correct the id"))
}
