//! Fulfilment: from an order to reserved stock, captured money and a confirmed order; or back again.
//!
//! Stock is reserved first, all lines or none; then money is authorised and captured; then the order is
//! confirmed, which its own stream decides against a cancellation that comes at the same moment; then the stock leaves.
//! Whatever ends it earlier, what was done is undone and nothing else: what is only authorised is released.

mod compensation;
mod happened;
mod order;
mod states;
#[cfg(test)]
mod tests;

use std::time::Duration;

use millrace_schemas::orders::Event as Orders;
use millrace_schemas::{Event, Message as _};
use serde::{Deserialize, Serialize};

pub use compensation::{Cancelled, Cancelling, Compensation, PaymentDebt, StockDebt};
pub use order::{Line, Order};
pub use states::{Capturing, Committing, Confirming, Fulfilled, Paying, Reserving};

use crate::contexts::{inventory::Inventory, orders::Orders as OrdersContext};
use crate::{Awaited, Context, Input, Reaction, Saga, Standing, Step};
use happened::Happened;

/// An order that has no answer for this long is cancelled.
pub const DEADLINE: &str = "deadline";

/// The name of the context of payments, whose stream is the order.
const PAYMENTS: &str = millrace_schemas::payments::Event::CONTEXT;

/// The saga of orders; an instance is an order and has its id.
#[derive(Debug)]
pub struct OrderFulfilment;

/// The standing of the fulfilment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fulfilment {
    /// Stock is asked for.
    Reserving(Reserving),
    /// Stock is reserved, the provider is to authorise money.
    Paying(Paying),
    /// Money is authorised, and its capture asked for.
    Capturing(Capturing),
    /// Money is captured, the order is to be confirmed.
    Confirming(Confirming),
    /// The order is confirmed, its stock is to leave.
    Committing(Committing),
    /// All is done.
    Fulfilled(Fulfilled),
    /// Steps are being undone.
    Cancelling(Cancelling),
    /// Everything that was done is undone.
    Cancelled(Cancelled),
}

impl Saga for OrderFulfilment {
    const NAME: &'static str = "fulfilment";
    const CONTEXTS: &'static [&'static str] = &[OrdersContext::NAME, Inventory::NAME, PAYMENTS];
    const SENDS_TO: &'static [&'static str] =
        &[OrdersContext::NAME, Inventory::NAME, PAYMENTS, millrace_schemas::notifications::Command::CONTEXT];
    const STATE_VERSION: i32 = 2;
    const TIMERS: &'static [(&'static str, Duration)] = &[(DEADLINE, Duration::from_secs(5 * 60))];
    const STANDINGS: &'static [&'static str] = &[
        "reserving",
        "paying",
        "capturing",
        "confirming",
        "committing",
        "fulfilled",
        "cancelling",
        "cancelled",
    ];
    type State = Fulfilment;

    fn instance(input: &Input<'_>) -> Option<String> {
        match input {
            Input::Event(recorded) => happened::order_of(&recorded.event),
            Input::Rejection(rejection) => Some(rejection.stream.clone()),
            Input::Timer(..) | Input::Cancel(_) => None,
        }
    }

    fn react(state: Option<Fulfilment>, input: &Input<'_>) -> Reaction<Fulfilment> {
        let Some(state) = state else { return begin(input) };
        let Some(happened) = Happened::of(input) else { return Reaction::Ignore };
        match state {
            Fulfilment::Reserving(state) => state.react(happened),
            Fulfilment::Paying(state) => state.react(happened),
            Fulfilment::Capturing(state) => state.react(happened),
            Fulfilment::Confirming(state) => state.react(happened),
            Fulfilment::Committing(state) => state.react(happened),
            Fulfilment::Fulfilled(state) => state.react(happened),
            Fulfilment::Cancelling(Cancelling(open)) | Fulfilment::Cancelled(Cancelled(open)) => {
                open.react(happened)
            }
        }
    }

    fn awaits(state: &Fulfilment) -> Vec<Awaited> {
        match state {
            Fulfilment::Paying(state) => state.awaits().into_iter().collect(),
            Fulfilment::Capturing(state) => vec![state.awaits()],
            Fulfilment::Reserving(_)
            | Fulfilment::Confirming(_)
            | Fulfilment::Committing(_)
            | Fulfilment::Fulfilled(_)
            | Fulfilment::Cancelling(_)
            | Fulfilment::Cancelled(_) => Vec::new(),
        }
    }

    fn standing(state: &Fulfilment) -> Standing {
        let (name, ended) = match state {
            Fulfilment::Reserving(_) => ("reserving", false),
            Fulfilment::Paying(_) => ("paying", false),
            Fulfilment::Capturing(_) => ("capturing", false),
            Fulfilment::Confirming(_) => ("confirming", false),
            Fulfilment::Committing(_) => ("committing", false),
            Fulfilment::Fulfilled(_) => ("fulfilled", true),
            Fulfilment::Cancelling(_) => ("cancelling", false),
            Fulfilment::Cancelled(_) => ("cancelled", true),
        };
        Standing { name, ended }
    }

    /// Version 2 has one state more; what was stored before stands in one of the others.
    fn upcast(version: i32, stored: serde_json::Value) -> Result<serde_json::Value, String> {
        match version {
            1 => Ok(stored),
            _ => Err(format!("no version {version} of a fulfilment was ever written")),
        }
    }
}

fn begin(input: &Input<'_>) -> Reaction<Fulfilment> {
    match input {
        Input::Event(recorded) => match &recorded.event {
            Event::Orders(Orders::OrderPlaced(placed)) => {
                let reserving = Reserving::from(Order::from(placed));
                let ask = reserving.order().reserve();
                Step::to(Fulfilment::Reserving(reserving)).send(ask).set(DEADLINE).into()
            }
            _ => Reaction::Ignore,
        },
        Input::Rejection(_) | Input::Timer(..) | Input::Cancel(_) => Reaction::Ignore,
    }
}
