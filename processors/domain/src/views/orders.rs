//! Orders with their lines, the customer's name and the status.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::orders::{Event as Orders, OrderPlaced, OrderPlacedLine};
use serde::{Deserialize, Serialize};

use super::time;
use crate::View;

/// The view of orders.
#[derive(Debug)]
pub struct OrderView;

/// Where an order stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// The customer has ordered.
    #[default]
    Placed,
    /// It is going to be delivered.
    Confirmed,
    /// It is not going to be delivered.
    Cancelled,
    /// It left the warehouse.
    Shipped,
}

/// One order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The order.
    pub order_id: String,
    /// Who ordered.
    pub customer_id: String,
    /// The customer's name when the order was placed.
    pub customer_name: String,
    /// The customer's country when the order was placed.
    pub customer_country: Option<String>,
    /// Where it stands.
    pub status: OrderStatus,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum of the line amounts in minor units.
    pub total: i64,
    /// When the customer ordered.
    pub placed_at: DateTime<Utc>,
    /// When it left the warehouse.
    pub shipped_at: Option<DateTime<Utc>>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// What was ordered.
    pub lines: Vec<OrderRowLine>,
}

/// One product of an order, as it was when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRowLine {
    /// The product.
    pub product_id: String,
    /// Its name at that time.
    pub product_name: String,
    /// Its category at that time.
    pub category: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit in minor units.
    pub unit_price: i64,
    /// Discount in basis points.
    pub discount_bp: i32,
    /// What the line costs in minor units.
    pub amount: i64,
}

impl View for OrderView {
    const NAME: &'static str = "orders";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEY: &'static str = "order_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("orders.sql");
    const SQL_VIEW: &'static str = include_str!("orders.view.sql");
    const CHECK: &'static str = include_str!("orders.check.sql");
    const MAPPING: Option<&'static str> =
        Some(include_str!("../../../../connectors/elasticsearch/orders.json"));
    type Row = OrderRow;

    fn keys(event: &Event) -> Vec<String> {
        match event {
            Event::Orders(_) => vec![event.key().to_owned()],
            Event::Carts(_)
            | Event::Catalog(_)
            | Event::Customers(_)
            | Event::Inventory(_)
            | Event::Notifications(_)
            | Event::Payments(_) => Vec::new(),
        }
    }

    fn evolve(row: OrderRow, key: &str, event: &Event) -> OrderRow {
        let row = OrderRow { order_id: key.to_owned(), ..row };
        match event {
            Event::Orders(event) => row.ordered(event),
            Event::Carts(_)
            | Event::Catalog(_)
            | Event::Customers(_)
            | Event::Inventory(_)
            | Event::Notifications(_)
            | Event::Payments(_) => row,
        }
    }
}

impl OrderRow {
    fn ordered(self, event: &Orders) -> Self {
        match event {
            Orders::OrderPlaced(event) => self.placed(event.clone()),
            Orders::OrderConfirmed(_) => Self { status: OrderStatus::Confirmed, ..self },
            Orders::OrderShipped(event) => {
                Self { status: OrderStatus::Shipped, shipped_at: Some(time(event.shipped_at)), ..self }
            }
            Orders::OrderCancelled(event) => {
                Self { status: OrderStatus::Cancelled, cancel_reason: Some(event.reason.clone()), ..self }
            }
        }
    }

    fn placed(self, event: OrderPlaced) -> Self {
        let OrderPlaced { customer_id, customer_name, customer_country, currency, total, .. } = event;
        let lines = event.lines.into_iter().map(OrderRowLine::from).collect();
        let (status, placed_at) = (OrderStatus::Placed, time(event.placed_at));
        Self {
            customer_id,
            customer_name,
            customer_country,
            status,
            currency,
            total,
            placed_at,
            lines,
            ..self
        }
    }
}

impl From<OrderPlacedLine> for OrderRowLine {
    fn from(line: OrderPlacedLine) -> Self {
        let OrderPlacedLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount } =
            line;
        Self { product_id, product_name, category, quantity, unit_price, discount_bp, amount }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};
    use crate::views::tests::{cancelled, confirmed, order_placed, shipped};

    fn row_after(events: &[Event]) -> OrderRow {
        fold_view::<OrderView>(events).remove("10248").expect("the order")
    }

    #[test]
    fn an_order_is_shown_with_its_lines_and_the_customers_name() {
        let row = row_after(&[order_placed("10248", 1)]);
        assert_eq!(row.status, OrderStatus::Placed);
        assert_eq!((row.customer_name.as_str(), row.total), ("Vins et alcools", 1_500));
        assert_eq!(row.placed_at.to_rfc3339(), "1996-07-04T00:00:00.000001+00:00");
        let names: Vec<&str> = row.lines.iter().map(|line| line.product_name.as_str()).collect();
        assert_eq!(names, ["Chai", "Jam", "Beer"]);
    }

    #[test]
    fn a_shipped_order_shows_when() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2)]);
        assert_eq!((row.status, row.shipped_at), (OrderStatus::Shipped, Some(time(836_438_400_000_002))));
    }

    #[test]
    fn a_cancelled_order_shows_why_and_keeps_what_was_ordered() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), cancelled("10248", 1)]);
        assert_eq!((row.status, row.cancel_reason.as_deref()), (OrderStatus::Cancelled, Some("late")));
        assert_eq!((row.total, row.lines.len()), (1_500, 3));
    }

    #[test]
    fn orders_do_not_touch_each_other() {
        let first = vec![order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2)];
        let second = vec![order_placed("10249", 3), cancelled("10249", 3)];
        let rows = assert_same_rows_in_any_order::<OrderView>(&[first, second]);
        let statuses: Vec<OrderStatus> = rows.values().map(|row| row.status).collect();
        assert_eq!(statuses, [OrderStatus::Shipped, OrderStatus::Cancelled]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&row_after(&[order_placed("10248", 1), shipped("10248", 2)]));
    }
}
