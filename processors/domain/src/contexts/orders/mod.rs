//! Orders: placed, confirmed, shipped and delivered, or cancelled before they ship.

mod place;
pub(crate) mod refusals;
#[cfg(test)]
mod tests;

use std::fmt;

use millrace_schemas::Message;
use millrace_schemas::orders::{
    CancelOrder, Command, ConfirmOrder, DeliverOrder, Event, OrderCancelled, OrderCancelledLine,
    OrderConfirmed, OrderConfirmedLine, OrderDelivered, OrderPlaced, OrderPlacedLine, OrderShipped,
    ShipOrder,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Text};
use crate::{Context, Emitted, Reference, References, Refusal, Rejection, Streams, emit};

const CARRIER: Text = Text::new("carrier", refusals::CARRIER_INVALID, 1, 100);
const TRACKING_NUMBER: Text = Text::new("tracking_number", refusals::TRACKING_NUMBER_INVALID, 1, 100);
const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The context of orders; a stream is one order.
#[derive(Debug)]
pub struct Orders;

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The customer has ordered.
    Placed,
    /// It is going to be delivered.
    Confirmed,
    /// It left the warehouse.
    Shipped,
    /// It is not going to be delivered.
    Cancelled,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its status.
    pub status: Status,
    /// Who ordered.
    pub customer_id: String,
    /// Where revenue is counted: the customer's country when the order was placed, or as its confirmation repeated it.
    pub country: String,
    /// ISO 4217 code.
    pub currency: String,
    /// When the customer ordered, in microseconds since 1970 UTC.
    pub placed_at: i64,
    /// What was ordered, kept so that a cancellation can repeat it.
    pub lines: Vec<OrderPlacedLine>,
    /// Sum of the line amounts in minor units.
    pub total: i64,
    /// Whether a confirmation has repeated the lines. Those of version 1 did not: readers could not count them.
    pub counted: bool,
    /// Whether it arrived; not written while it did not, so that stored states are as in release 1, which changes no shipped order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delivered: bool,
}

/// The public state: what other contexts can read of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPublic {
    /// Who ordered.
    pub customer_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum of the line amounts in minor units.
    pub total: i64,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Orders {
    const NAME: &'static str = "orders";
    const STATE_VERSION: i32 = 3;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Order;
    type Command = Command;
    type Event = Event;
    type Public = OrderPublic;

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn references(command: &Command) -> Vec<Reference> {
        match command {
            Command::PlaceOrder(command) => place::references(command),
            Command::ConfirmOrder(_)
            | Command::CancelOrder(_)
            | Command::ShipOrder(_)
            | Command::DeliverOrder(_) => Vec::new(),
        }
    }

    fn decide(streams: &Streams<Order>, references: &References, command: &Command) -> Decision {
        let order = streams.get(command.key());
        match command {
            Command::PlaceOrder(command) => place::place(order, references, command),
            Command::ConfirmOrder(command) => confirm(order, command),
            Command::CancelOrder(command) => cancel(order, command),
            Command::ShipOrder(command) => ship(order, command),
            Command::DeliverOrder(command) => deliver(order, command),
        }
    }

    fn evolve(state: Option<Order>, event: &Event) -> Option<Order> {
        match event {
            Event::OrderPlaced(event) => state.or_else(|| Some(Order::placed(event))),
            Event::OrderConfirmed(event) => state.map(|order| order.confirmed(event)),
            Event::OrderShipped(_) => state.map(|order| order.moved_to(Status::Shipped)),
            Event::OrderDelivered(_) => state.map(|order| Order { delivered: true, ..order }),
            Event::OrderCancelled(_) => state.map(|order| order.moved_to(Status::Cancelled)),
        }
    }

    fn public(state: &Order) -> OrderPublic {
        let Order { customer_id, currency, total, .. } = state.clone();
        OrderPublic { customer_id, currency, total }
    }
}

impl Status {
    /// The whole life of an order.
    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Placed, Self::Confirmed)
                | (Self::Placed | Self::Confirmed, Self::Cancelled)
                | (Self::Confirmed, Self::Shipped)
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
        })
    }
}

impl Order {
    fn placed(event: &OrderPlaced) -> Self {
        let OrderPlaced { customer_id, customer_country, currency, placed_at, lines, total, .. } =
            event.clone();
        let (status, country) = (Status::Placed, customer_country.unwrap_or_default());
        Self {
            status,
            customer_id,
            country,
            currency,
            placed_at,
            lines,
            total,
            counted: false,
            delivered: false,
        }
    }

    fn confirmed(self, event: &OrderConfirmed) -> Self {
        if self.status != Status::Placed || event.lines.is_empty() {
            return self.moved_to(Status::Confirmed);
        }
        // One of version 2 was counted without a country, and is taken back without it.
        let (counted, country) = (true, event.country.clone());
        Self { counted, country, ..self.moved_to(Status::Confirmed) }
    }

    fn moved_to(self, next: Status) -> Self {
        if self.status.may_become(next) { Self { status: next, ..self } } else { self }
    }
}

fn confirm(order: Option<&Order>, command: &ConfirmOrder) -> Decision {
    let ConfirmOrder { order_id } = command.clone();
    let order = that_may_become(Status::Confirmed, order, &order_id)?;
    let Order { customer_id, country, currency, placed_at, lines, total, .. } = order.clone();
    let lines = lines.into_iter().map(confirmed_line).collect();
    Ok(vec![emit(OrderConfirmed { order_id, customer_id, currency, placed_at, lines, total, country })])
}

fn ship(order: Option<&Order>, command: &ShipOrder) -> Decision {
    let ShipOrder { order_id, shipped_at, carrier, tracking_number } = command.clone();
    let customer_id = that_may_become(Status::Shipped, order, &order_id)?.customer_id.clone();
    rules::time("shipped_at", shipped_at)?;
    CARRIER.check_given(carrier.as_deref())?;
    TRACKING_NUMBER.check_given(tracking_number.as_deref())?;
    Ok(vec![emit(OrderShipped { order_id, customer_id, shipped_at, carrier, tracking_number })])
}

/// Once: an order arrives only once.
fn deliver(order: Option<&Order>, command: &DeliverOrder) -> Decision {
    let DeliverOrder { order_id, delivered_at } = command.clone();
    let order = order.ok_or_else(|| unknown(&order_id))?;
    if order.status != Status::Shipped || order.delivered {
        return Err(not_on_its_way(order, &order_id));
    }
    rules::time("delivered_at", delivered_at)?;
    let customer_id = order.customer_id.clone();
    Ok(vec![emit(OrderDelivered { order_id, customer_id, delivered_at })])
}

fn not_on_its_way(order: &Order, order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    if order.delivered {
        return refusals::ORDER_DELIVERED
            .because(format!("order_id {id} was delivered already: send nothing"));
    }
    let way_out = "only a shipped order can be delivered, send ShipOrder first";
    refusals::ORDER_NOT_SHIPPED.because(format!("order_id {id} is {}: {way_out}", order.status))
}

fn cancel(order: Option<&Order>, command: &CancelOrder) -> Decision {
    let CancelOrder { order_id, reason } = command.clone();
    let order = that_may_become(Status::Cancelled, order, &order_id)?;
    REASON.check(&reason)?;
    let Order { customer_id, country, currency, placed_at, lines, total, counted: confirmed, .. } =
        order.clone();
    let lines = lines.into_iter().map(cancelled_line).collect();
    Ok(vec![emit(OrderCancelled {
        order_id,
        customer_id,
        reason,
        currency,
        placed_at,
        lines,
        total,
        confirmed,
        country,
    })])
}

fn confirmed_line(line: OrderPlacedLine) -> OrderConfirmedLine {
    let OrderPlacedLine { product_id, category, quantity, amount, .. } = line;
    OrderConfirmedLine { product_id, category, quantity, amount }
}

fn cancelled_line(line: OrderPlacedLine) -> OrderCancelledLine {
    let OrderPlacedLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount } =
        line;
    OrderCancelledLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount }
}

fn that_may_become<'a>(
    next: Status,
    order: Option<&'a Order>,
    order_id: &str,
) -> Result<&'a Order, Rejection> {
    match order {
        None => Err(unknown(order_id)),
        Some(order) if order.status.may_become(next) => Ok(order),
        Some(order) => Err(refused(order.status, next, order_id)),
    }
}

fn unknown(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    refusals::ORDER_UNKNOWN
        .because(format!("order_id {id} was never placed: send PlaceOrder, or correct the id"))
}

fn refused(status: Status, next: Status, order_id: &str) -> Rejection {
    let (refusal, way_out) = match next {
        Status::Placed | Status::Confirmed => {
            (refusals::ORDER_NOT_PLACED, "only a placed order can be confirmed")
        }
        Status::Shipped => {
            (refusals::ORDER_NOT_CONFIRMED, "only a confirmed order can be shipped, send ConfirmOrder first")
        }
        Status::Cancelled => (refusals::ORDER_NOT_OPEN, "only a placed or confirmed order can be cancelled"),
    };
    let id = rules::quoted(order_id);
    refusal.because(format!("order_id {id} is {status} and cannot become {next}: {way_out}"))
}
