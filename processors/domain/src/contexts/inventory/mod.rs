//! Inventory: the units of a product on hand, and how many of them are reserved.

mod promised;
mod refusals;
mod reservations;
mod returns;
#[cfg(test)]
mod tests;

use millrace_schemas::Message;
use millrace_schemas::inventory::{AdjustStock, Command, Event, ReceiveStock, StockAdjusted, StockReceived};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Text};
use crate::{Context, Emitted, References, Refusal, Rejection, Streams, emit};
pub use promised::Reservations;

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of stock; a stream is the stock of one product and has the product's id.
#[derive(Debug)]
pub struct Inventory;

/// The stock of one product. Always 0 ≤ reserved ≤ on hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Units in the warehouse, reserved or not.
    pub on_hand: i64,
    /// Reserved units, by reservation.
    pub reservations: Reservations,
}

/// The public state: what other contexts can read of a product's stock. Advice only: it is out of date at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockPublic {
    /// Units that can still be reserved.
    pub available: i64,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Inventory {
    const NAME: &'static str = "inventory";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Stock;
    type Command = Command;
    type Event = Event;
    type Public = StockPublic;

    fn streams(command: &Command) -> Vec<String> {
        match command {
            Command::AdjustStock(_) | Command::ReceiveStock(_) => rules::streams([command.key()]),
            Command::ReserveStock(command) => {
                rules::streams(command.lines.iter().map(|l| l.product_id.as_str()))
            }
            Command::ReturnStock(command) => {
                rules::streams(command.lines.iter().map(|l| l.product_id.as_str()))
            }
            Command::ReleaseStock(command) => rules::streams(command.product_ids.iter().map(String::as_str)),
            Command::ShipStock(command) => rules::streams(command.product_ids.iter().map(String::as_str)),
        }
    }

    fn decide(streams: &Streams<Stock>, _references: &References, command: &Command) -> Decision {
        match command {
            Command::AdjustStock(command) => adjust(streams, command),
            Command::ReceiveStock(command) => receive(streams, command),
            Command::ReserveStock(command) => reservations::reserve(streams, command),
            Command::ReleaseStock(command) => reservations::release(streams, command),
            Command::ShipStock(command) => reservations::ship(streams, command),
            Command::ReturnStock(command) => returns::take_back(streams, command),
        }
    }

    fn evolve(state: Option<Stock>, event: &Event) -> Option<Stock> {
        let known = state.is_some();
        let mut stock = state.unwrap_or_default();
        let happened = stock.apply(event).is_some();
        (known || happened).then_some(stock)
    }

    fn public(state: &Stock) -> StockPublic {
        StockPublic { available: state.available() }
    }
}

impl Stock {
    /// Reserved units.
    pub fn reserved(&self) -> i64 {
        self.reservations.sum()
    }

    /// Units that can still be reserved.
    pub fn available(&self) -> i64 {
        self.on_hand.saturating_sub(self.reserved())
    }

    /// Applies an event; `None` and no change when it cannot have happened to this stock.
    fn apply(&mut self, event: &Event) -> Option<()> {
        match event {
            Event::StockAdjusted(event) => self.add(event.difference),
            Event::StockReceived(event) => self.add(event.quantity),
            Event::StockReserved(event) => self.reserve(&event.reservation_id, event.quantity),
            Event::StockReleased(event) => self.reservations.close(&event.reservation_id).map(|_| ()),
            Event::StockShipped(event) => self.ship(&event.reservation_id),
            Event::StockReturned(event) => self.add(event.quantity),
        }
    }

    fn add(&mut self, difference: i64) -> Option<()> {
        self.on_hand = self.on_hand.checked_add(difference).filter(|sum| *sum >= self.reserved())?;
        Some(())
    }

    fn reserve(&mut self, reservation_id: &str, quantity: i64) -> Option<()> {
        let possible = (1..=self.available()).contains(&quantity);
        possible.then(|| self.reservations.open(reservation_id, quantity))?
    }

    fn ship(&mut self, reservation_id: &str) -> Option<()> {
        self.on_hand -= self.reservations.close(reservation_id)?;
        Some(())
    }
}

fn receive(streams: &Streams<Stock>, command: &ReceiveStock) -> Decision {
    let ReceiveStock { product_id, quantity } = command.clone();
    rules::id("product_id", &product_id)?;
    rules::quantity("quantity", quantity)?;
    let on_hand = on_hand(streams, &product_id);
    on_hand.checked_add(quantity).ok_or_else(|| overflow("quantity", quantity, on_hand))?;
    Ok(vec![emit(StockReceived { product_id, quantity })])
}

fn adjust(streams: &Streams<Stock>, command: &AdjustStock) -> Decision {
    let AdjustStock { product_id, difference, reason } = command.clone();
    rules::id("product_id", &product_id)?;
    REASON.check(&reason)?;
    if difference == 0 {
        let message = "difference is 0: send the units to add (positive) or take away (negative)";
        return Err(refusals::DIFFERENCE_ZERO.because(message));
    }
    let on_hand = on_hand(streams, &product_id);
    let sum = on_hand.checked_add(difference).ok_or_else(|| overflow("difference", difference, on_hand))?;
    let reserved = streams.get(&product_id).map_or(0, Stock::reserved);
    if sum < reserved {
        return Err(taken_below_reserved(difference, on_hand, reserved));
    }
    Ok(vec![emit(StockAdjusted { product_id, difference, reason })])
}

fn on_hand(streams: &Streams<Stock>, product_id: &str) -> i64 {
    streams.get(product_id).map_or(0, |stock| stock.on_hand)
}

fn overflow(field: &str, value: i64, on_hand: i64) -> Rejection {
    let message = format!("{field} is {value} and {on_hand} are on hand: the sum is too large, send less");
    refusals::STOCK_OVERFLOW.because(message)
}

fn taken_below_reserved(difference: i64, on_hand: i64, reserved: i64) -> Rejection {
    let available = on_hand - reserved;
    let message = format!(
        "difference is {difference}, but of {on_hand} on hand {reserved} are reserved: take away at most \
             {available}, or release reservations first"
    );
    refusals::STOCK_INSUFFICIENT.because(message)
}
