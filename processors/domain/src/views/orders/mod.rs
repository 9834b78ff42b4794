//! Orders with their lines, the customer's name, and the status of delivery and payment.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::orders::{Event as Orders, OrderPlaced, OrderPlacedLine, OrderShipTo};
use millrace_schemas::payments::Event as Payments;
use serde::{Deserialize, Serialize};

use super::payments::PaymentStatus;
use super::time;
use crate::contexts::payments::subscription_of;
use crate::{Recorded, View};

/// The view of orders.
#[derive(Debug)]
pub struct OrderView;

/// Where an order stands, as readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// The customer has ordered.
    Placed,
    /// It is going to be delivered.
    Confirmed,
    /// It is not going to be delivered.
    Cancelled,
    /// It left the warehouse.
    Shipped,
    /// It arrived.
    Delivered,
}

/// The outcome of an order's fulfilment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fulfilment {
    /// It is neither confirmed nor cancelled yet.
    Open,
    /// It was confirmed.
    Confirmed,
    /// It was cancelled, confirmed before or not.
    Cancelled,
}

/// One order. What only the orders' context says is missing until it has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The order.
    pub order_id: String,
    /// Who ordered.
    pub customer_id: Option<String>,
    /// The customer's name when the order was placed.
    pub customer_name: Option<String>,
    /// The customer's country when the order was placed.
    pub customer_country: Option<String>,
    /// Its status.
    pub status: Option<OrderStatus>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Sum of the line amounts in minor units.
    pub total: Option<i64>,
    /// When the customer ordered.
    pub placed_at: Option<DateTime<Utc>>,
    /// When the order was taken in.
    pub accepted_at: Option<DateTime<Utc>>,
    /// The outcome of its fulfilment.
    pub fulfilment: Option<Fulfilment>,
    /// When it was confirmed or, if it never was, cancelled.
    pub settled_at: Option<DateTime<Utc>>,
    /// When it left the warehouse.
    pub shipped_at: Option<DateTime<Utc>>,
    /// Who carries it.
    pub carrier: Option<String>,
    /// The carrier's number of the consignment.
    pub tracking_number: Option<String>,
    /// When it arrived.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Where it ships to.
    pub ship_to: Option<ShipTo>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// The status of its payment.
    pub payment_status: PaymentStatus,
    /// What was captured, in minor units, refunded later or not.
    pub captured: i64,
    /// Requested refunds without an outcome, in minor units.
    pub refunding: i64,
    /// Refunded money, in minor units.
    pub refunded: i64,
    /// What was ordered.
    pub lines: Vec<OrderRowLine>,
}

/// A postal address, as it was when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipTo {
    /// Whom it is for, where that is not the customer.
    pub recipient: Option<String>,
    /// Street and number.
    pub line1: String,
    /// What else finds the door.
    pub line2: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// City.
    pub city: String,
    /// State, province or district.
    pub region: Option<String>,
    /// ISO 3166-1 code of two letters.
    pub country: String,
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
    const CONTEXTS: &'static [&'static str] = &["orders", "payments"];
    const KEY: &'static str = "order_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const SEARCH: &'static [&'static str] =
        &["customer_name", "customer_country", "lines.product_name", "lines.category"];
    const FOLD: u32 = 3;
    type Row = OrderRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Payments(event) if subscription_of(event).is_some() => Vec::new(),
            Event::Orders(_) | Event::Payments(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: OrderRow, key: &str, recorded: &Recorded) -> OrderRow {
        let row = OrderRow { order_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Orders(event) => row.ordered(event, recorded.occurred_at),
            Event::Payments(event) => row.paid(event),
            _ => row,
        }
    }
}

impl OrderRow {
    fn ordered(self, event: &Orders, occurred_at: DateTime<Utc>) -> Self {
        match event {
            Orders::OrderPlaced(event) => self.placed(event.clone(), occurred_at),
            Orders::OrderConfirmed(_) => {
                let status = Some(OrderStatus::Confirmed);
                Self { status, ..self.settled(Fulfilment::Confirmed, occurred_at) }
            }
            Orders::OrderShipped(event) => {
                let (status, shipped_at) = (Some(OrderStatus::Shipped), Some(time(event.shipped_at)));
                let (carrier, tracking_number) = (event.carrier.clone(), event.tracking_number.clone());
                Self { status, shipped_at, carrier, tracking_number, ..self }
            }
            Orders::OrderDelivered(event) => {
                let (status, delivered_at) = (Some(OrderStatus::Delivered), Some(time(event.delivered_at)));
                Self { status, delivered_at, ..self }
            }
            Orders::OrderCancelled(event) => {
                let (status, cancel_reason) = (Some(OrderStatus::Cancelled), Some(event.reason.clone()));
                Self { status, cancel_reason, ..self.settled(Fulfilment::Cancelled, occurred_at) }
            }
        }
    }

    fn placed(self, event: OrderPlaced, accepted_at: DateTime<Utc>) -> Self {
        let OrderPlaced { customer_id, customer_name, customer_country, currency, total, .. } = event;
        Self {
            customer_id: Some(customer_id),
            customer_name: Some(customer_name),
            customer_country,
            status: Some(OrderStatus::Placed),
            currency: Some(currency),
            total: Some(total),
            placed_at: Some(time(event.placed_at)),
            accepted_at: Some(accepted_at),
            fulfilment: Some(Fulfilment::Open),
            ship_to: event.ship_to.map(ShipTo::from),
            lines: event.lines.into_iter().map(OrderRowLine::from).collect(),
            ..self
        }
    }

    /// A confirmed order that is cancelled was settled when it was confirmed.
    fn settled(self, fulfilment: Fulfilment, occurred_at: DateTime<Utc>) -> Self {
        let settled_at = self.settled_at.or(Some(occurred_at));
        Self { fulfilment: Some(fulfilment), settled_at, ..self }
    }

    /// The payments' context keeps amounts below what was captured; wrapping only keeps this total.
    fn paid(mut self, event: &Payments) -> Self {
        match event {
            Payments::PaymentCaptured(event) => self.captured = self.captured.wrapping_add(event.amount),
            Payments::RefundRequested(event) => self.refunding = self.refunding.wrapping_add(event.amount),
            Payments::PaymentRefunded(event) => {
                self.refunding = self.refunding.wrapping_sub(event.amount);
                self.refunded = self.refunded.wrapping_add(event.amount);
            }
            Payments::RefundFailed(event) => self.refunding = self.refunding.wrapping_sub(event.amount),
            Payments::CaptureRequested(_)
            | Payments::PaymentAuthorised(_)
            | Payments::PaymentDeclined(_)
            | Payments::PaymentRequested(_)
            | Payments::PaymentVoided(_) => (),
        }
        let payment_status = PaymentStatus::after(event, self.refunding > 0);
        Self { payment_status, ..self }
    }
}

impl From<OrderShipTo> for ShipTo {
    fn from(address: OrderShipTo) -> Self {
        let OrderShipTo { recipient, line1, line2, postal_code, city, region, country } = address;
        Self { recipient, line1, line2, postal_code, city, region, country }
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view, happened};
    use crate::views::subscriptions::tests::of_subscription;
    use crate::views::tests::{
        cancelled, captured, confirmed, delivered, order_placed, payment_requested, refund_failed,
        refund_requested, refunded, shipped,
    };

    fn row_after(events: &[Event]) -> OrderRow {
        fold_view::<OrderView>(events).remove("10248").expect("the order")
    }

    #[test]
    fn a_payment_of_a_subscription_is_no_orders() {
        let rows = fold_view::<OrderView>(&[of_subscription("s1", captured("s1.1"))]);
        assert_eq!(rows, BTreeMap::new());
    }

    #[test]
    fn an_order_is_shown_with_its_lines_and_the_customers_name() {
        let row = row_after(&[order_placed("10248", 1)]);
        assert_eq!((row.status, row.fulfilment), (Some(OrderStatus::Placed), Some(Fulfilment::Open)));
        assert_eq!((row.customer_name.as_deref(), row.total), (Some("Vins et alcools"), Some(1_500)));
        assert_eq!(row.placed_at, Some(time(836_438_400_000_001)));
        let names: Vec<&str> = row.lines.iter().map(|line| line.product_name.as_str()).collect();
        assert_eq!(names, ["Chai", "Jam", "Beer"]);
    }

    #[test]
    fn a_shipped_order_shows_when() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2)]);
        assert_eq!(
            (row.status, row.shipped_at),
            (Some(OrderStatus::Shipped), Some(time(836_438_400_000_002)))
        );
    }

    #[test]
    fn an_order_shows_where_it_goes_who_carries_it_and_when_it_arrived() {
        let events =
            vec![order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2), delivered("10248", 3)];
        let row = row_after(&events);
        assert_eq!(
            (row.status, row.delivered_at),
            (Some(OrderStatus::Delivered), Some(time(836_438_400_000_003)))
        );
        assert_eq!(
            (row.carrier.as_deref(), row.tracking_number.as_deref()),
            (Some("Speedy Express"), Some("SE-1"))
        );
        assert_eq!(row.ship_to.map(|address| address.city).as_deref(), Some("Reims"));
    }

    #[test]
    fn a_cancelled_order_shows_why_and_keeps_what_was_ordered() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), cancelled("10248", 1)]);
        assert_eq!((row.status, row.cancel_reason.as_deref()), (Some(OrderStatus::Cancelled), Some("late")));
        assert_eq!((row.total, row.lines.len()), (Some(1_500), 3));
    }

    #[test]
    fn an_order_that_is_neither_confirmed_nor_cancelled_is_open_since_it_was_accepted() {
        let row = row_after(&[order_placed("10248", 1)]);
        assert_eq!((row.accepted_at, row.settled_at), (Some(happened(1)), None));
    }

    #[test]
    fn an_order_is_settled_when_it_is_confirmed() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2)]);
        assert_eq!((row.fulfilment, row.settled_at), (Some(Fulfilment::Confirmed), Some(happened(2))));
    }

    #[test]
    fn an_order_that_was_never_confirmed_is_settled_when_it_is_cancelled() {
        let row = row_after(&[order_placed("10248", 1), cancelled("10248", 1)]);
        assert_eq!((row.fulfilment, row.settled_at), (Some(Fulfilment::Cancelled), Some(happened(2))));
    }

    #[test]
    fn a_cancellation_changes_what_came_of_a_confirmed_order_but_not_when_it_was_settled() {
        let row = row_after(&[order_placed("10248", 1), confirmed("10248", 1), cancelled("10248", 1)]);
        assert_eq!((row.fulfilment, row.settled_at), (Some(Fulfilment::Cancelled), Some(happened(2))));
    }

    #[test]
    fn delivery_and_payment_are_shown_whatever_comes_first() {
        let order = vec![order_placed("10248", 1), confirmed("10248", 1), cancelled("10248", 1)];
        let payment = vec![
            payment_requested("10248"),
            captured("10248"),
            refund_requested("10248", "a", 1_000),
            refund_requested("10248", "b", 500),
            refunded("10248", "a", 1_000),
        ];
        let row = assert_same_rows_in_any_order::<OrderView>(&[order, payment]).remove("10248");
        let row = row.expect("the order");
        assert_eq!((row.captured, row.refunding, row.refunded), (1_500, 500, 1_000));
        assert_eq!(
            (row.status, row.payment_status),
            (Some(OrderStatus::Cancelled), PaymentStatus::Refunding)
        );
    }

    #[test]
    fn a_failed_refund_is_not_on_its_way_any_more() {
        let row = row_after(&[
            order_placed("10248", 1),
            payment_requested("10248"),
            captured("10248"),
            refund_requested("10248", "a", 1_000),
            refund_failed("10248", "a", 1_000),
        ]);
        assert_eq!((row.refunding, row.refunded), (0, 0));
        assert_eq!(row.payment_status, PaymentStatus::RefundFailed);
    }

    #[test]
    fn an_order_of_which_only_the_payment_is_known_does_not_claim_to_be_placed() {
        let row = row_after(&[payment_requested("10248")]);
        assert_eq!((row.status, row.fulfilment, row.placed_at), (None, None, None));
        assert_eq!(row.payment_status, PaymentStatus::Requested);
    }

    #[test]
    fn orders_do_not_touch_each_other() {
        let first = vec![order_placed("10248", 1), confirmed("10248", 1), shipped("10248", 2)];
        let second = vec![order_placed("10249", 3), cancelled("10249", 3)];
        let rows = assert_same_rows_in_any_order::<OrderView>(&[first, second]);
        let statuses: Vec<OrderStatus> = rows.values().filter_map(|row| row.status).collect();
        assert_eq!(statuses, [OrderStatus::Shipped, OrderStatus::Cancelled]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&row_after(&[order_placed("10248", 1), shipped("10248", 2)]));
        assert_survives_storage(&row_after(&[payment_requested("10248"), captured("10248")]));
    }
}
