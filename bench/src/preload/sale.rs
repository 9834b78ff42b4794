//! A sale: what must be there before it, the commands of its orders, and their events.

use anyhow::Result;
use millrace_schemas::Message;

use super::{Encoder, Outgoing, command, customer_command, event, fill};
use crate::cli::Order;
use crate::instance::Instance;
use crate::load::sale::{self, Demand};
use crate::load::{self, Step, steps};

/// Fills the topics of the commands for customers, products and their stock. How many commands these are.
pub(crate) async fn before(instance: &Instance) -> Result<u64> {
    let encoder = Encoder::new(&instance.stack).learn("RegisterCustomer").await?;
    let encoder = encoder.learn("AddProduct").await?.learn("ReceiveStock").await?;
    let customers =
        (0..sale::CUSTOMERS).map(|stream| customer_command(&encoder, Step { stream, version: 1 }));
    fill(&instance.stack, &instance.topic("cmd", "customers"), customers)?;
    let added = (0..sale::PRODUCTS).map(|number| numbered(&encoder, "add", number, &sale::add(number)));
    fill(&instance.stack, &instance.topic("cmd", "catalog"), added)?;
    let received =
        (0..sale::PRODUCTS).map(|number| numbered(&encoder, "receive", number, &sale::receive(number)));
    fill(&instance.stack, &instance.topic("cmd", "inventory"), received)?;
    Ok(sale::CUSTOMERS + 2 * sale::PRODUCTS)
}

/// Fills the topic of the orders' commands.
pub(crate) async fn orders(instance: &Instance, demand: Demand, orders: u64) -> Result<()> {
    let encoder = Encoder::new(&instance.stack).learn("PlaceOrder").await?;
    let placed = demand.orders(orders).map(|order| numbered(&encoder, "place", order.number, &order.place()));
    fill(&instance.stack, &instance.topic("cmd", "orders"), placed)
}

/// Fills the topic of the commands that reserve what the orders want.
pub(crate) async fn reservations(instance: &Instance, demand: Demand, orders: u64) -> Result<()> {
    let encoder = Encoder::new(&instance.stack).learn("ReserveStock").await?;
    let reserved =
        demand.orders(orders).map(|order| numbered(&encoder, "reserve", order.number, &order.reserve()));
    fill(&instance.stack, &instance.topic("cmd", "inventory"), reserved)
}

/// Fills the topic of the orders' events.
pub(crate) async fn events(instance: &Instance, demand: Demand, orders: u64, order: Order) -> Result<()> {
    let encoder = Encoder::new(&instance.stack).learn("OrderPlaced").await?.learn("OrderConfirmed").await?;
    let records = steps(0..orders, sale::VERSIONS, order).map(|step| {
        let Step { stream: number, version } = step;
        event(&encoder, step, &sale::Order { number, demand }.event(version))
    });
    fill(&instance.stack, &instance.topic("evt", "orders"), records)
}

/// A command with an id of its kind.
fn numbered(encoder: &Encoder<'_>, kind: &str, number: u64, message: &impl Message) -> Result<Outgoing> {
    let time = load::time(Step { stream: number, version: 1 }).0;
    command(encoder, message, load::id(kind, number), time)
}
