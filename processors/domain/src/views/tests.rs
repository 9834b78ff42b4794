//! Events that the tests of several views share, and what every table and mapping must have.

use std::collections::BTreeSet;

use millrace_schemas::Event;
use millrace_schemas::inventory::{StockReceived, StockReleased, StockReserved, StockReturned, StockShipped};
use millrace_schemas::notifications::{NotificationSent, NotificationsAllowed, NotificationsStopped};
use millrace_schemas::orders::{
    Event as Orders, OrderCancelled, OrderCancelledLine, OrderConfirmed, OrderConfirmedLine, OrderDelivered,
    OrderPlaced, OrderPlacedLine, OrderShipTo, OrderShipped,
};
use millrace_schemas::payments::{
    CaptureRequested, Event as Payments, PaymentAuthorised, PaymentCaptured, PaymentDeclined,
    PaymentRefunded, PaymentRequested, PaymentVoided, RefundFailed, RefundRequested,
};
use millrace_schemas::reviews::{ReviewEdited, ReviewWithdrawn, ReviewWritten};
use serde::Serialize;
use serde_json::Value;

use super::carts::{CartRow, CartView};
use super::customers::{CustomerRow, CustomerView, Money};
use super::events::{EventDocument, EventLog};
use super::orders::{OrderRow, OrderView};
use super::payments::{PaymentRow, PaymentView};
use super::products::{ProductRow, ProductView};
use super::sales_daily::{SalesDaily, SalesKey};
use super::stock_reservations::{StockReservationRow, StockReservationView};
use crate::testing::{fold_view, recorded, strings};
use crate::{Log, Tally, View};

const JULY_4_1996: i64 = 836_438_400_000_000;
/// In microseconds.
pub(super) const DAY: i64 = 86_400_000_000;

/// Three lines of 2 units each: drinks of 6.00 and 5.00, sweets of 4.00.
fn lines() -> Vec<OrderPlacedLine> {
    let line = |product_id: &str, name: &str, category: &str, amount| {
        let [product_id, product_name, category] = [product_id, name, category].map(str::to_owned);
        let unit_price = amount / 2;
        OrderPlacedLine {
            product_id,
            product_name,
            category,
            quantity: 2,
            unit_price,
            discount_bp: 0,
            amount,
        }
    };
    vec![line("1", "Chai", "Drinks", 600), line("2", "Jam", "Sweets", 400), line("3", "Beer", "Drinks", 500)]
}

/// An order of 15.00 by VINET, some microseconds after the beginning of 4 July 1996.
pub(super) fn order_placed(order_id: &str, micros: i64) -> Event {
    let placed = OrderPlaced {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        customer_name: "Vins et alcools".into(),
        customer_country: Some("France".into()),
        currency: "USD".into(),
        placed_at: JULY_4_1996 + micros,
        lines: lines(),
        total: 1_500,
        ship_to: Some(OrderShipTo {
            recipient: None,
            line1: "59 rue de l'Abbaye".into(),
            line2: None,
            postal_code: Some("51100".into()),
            city: "Reims".into(),
            region: None,
            country: "FR".into(),
        }),
    };
    Event::Orders(placed.into())
}

/// A confirmed order of 15.00 is cancelled.
pub(super) fn cancelled(order_id: &str, micros: i64) -> Event {
    let line = |line: OrderPlacedLine| {
        let OrderPlacedLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount } =
            line;
        OrderCancelledLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount }
    };
    let cancelled = OrderCancelled {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        reason: "late".into(),
        currency: "USD".into(),
        placed_at: JULY_4_1996 + micros,
        lines: lines().into_iter().map(line).collect(),
        total: 1_500,
        confirmed: true,
        country: "France".into(),
    };
    Event::Orders(cancelled.into())
}

pub(super) fn confirmed(order_id: &str, micros: i64) -> Event {
    let line = |line: OrderPlacedLine| {
        let OrderPlacedLine { product_id, category, quantity, amount, .. } = line;
        OrderConfirmedLine { product_id, category, quantity, amount }
    };
    let confirmed = OrderConfirmed {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        currency: "USD".into(),
        placed_at: JULY_4_1996 + micros,
        lines: lines().into_iter().map(line).collect(),
        total: 1_500,
        country: "France".into(),
    };
    Event::Orders(confirmed.into())
}

pub(super) fn shipped(order_id: &str, micros: i64) -> Event {
    let shipped_at = JULY_4_1996 + micros;
    let (carrier, tracking_number) = (Some("Speedy Express".into()), Some("SE-1".into()));
    let (order_id, customer_id) = (order_id.into(), "VINET".into());
    let shipped = OrderShipped { order_id, customer_id, shipped_at, carrier, tracking_number };
    Event::Orders(shipped.into())
}

pub(super) fn delivered(order_id: &str, micros: i64) -> Event {
    let (order_id, customer_id) = (order_id.into(), "VINET".into());
    Event::Orders(OrderDelivered { order_id, customer_id, delivered_at: JULY_4_1996 + micros }.into())
}

/// Orders of two days, some of which are taken back; the events of different orders may come in any order.
pub(super) fn several_orders() -> [Vec<Event>; 3] {
    [
        vec![order_placed("1", 0), confirmed("1", 0), cancelled("1", 0)],
        vec![order_placed("2", 0), confirmed("2", 0)],
        vec![confirmed("3", DAY), cancelled("3", DAY)],
    ]
}

/// The same cancellation of an order that was not confirmed before.
pub(super) fn never_confirmed(mut event: Event) -> Event {
    match &mut event {
        Event::Orders(Orders::OrderCancelled(event)) => event.confirmed = false,
        other => panic!("{other:?} is no cancellation"),
    }
    event
}

/// The same order or payment in another currency.
pub(super) fn in_currency(currency: &str, mut event: Event) -> Event {
    match &mut event {
        Event::Orders(Orders::OrderPlaced(event)) => event.currency = currency.into(),
        Event::Orders(Orders::OrderConfirmed(event)) => event.currency = currency.into(),
        Event::Orders(Orders::OrderCancelled(event)) => event.currency = currency.into(),
        Event::Payments(Payments::PaymentCaptured(event)) => event.currency = currency.into(),
        other => panic!("{other:?} has no currency"),
    }
    event
}

/// VINET is to pay an order of 15.00.
pub(super) fn payment_requested(order_id: &str) -> Event {
    let [order_id, customer_id, currency] = [order_id, "VINET", "USD"].map(str::to_owned);
    Event::Payments(
        PaymentRequested { order_id, customer_id, amount: 1_500, currency, subscription_id: None }.into(),
    )
}

pub(super) fn authorised(order_id: &str) -> Event {
    let provider_reference = format!("authorisation-{order_id}");
    let [order_id, customer_id, currency] = [order_id, "VINET", "USD"].map(str::to_owned);
    Event::Payments(
        PaymentAuthorised { order_id, customer_id, amount: 1_500, currency, provider_reference }.into(),
    )
}

pub(super) fn capture_requested(order_id: &str) -> Event {
    let provider_reference = format!("authorisation-{order_id}");
    let [order_id, customer_id, currency] = [order_id, "VINET", "USD"].map(str::to_owned);
    Event::Payments(
        CaptureRequested { order_id, customer_id, amount: 1_500, currency, provider_reference }.into(),
    )
}

pub(super) fn captured(order_id: &str) -> Event {
    let provider_reference = format!("pay-{order_id}");
    let [order_id, customer_id, currency] = [order_id, "VINET", "USD"].map(str::to_owned);
    let captured = PaymentCaptured {
        order_id,
        customer_id,
        amount: 1_500,
        currency,
        provider_reference,
        subscription_id: None,
    };
    Event::Payments(captured.into())
}

pub(super) fn declined(order_id: &str) -> Event {
    let [order_id, customer_id, currency] = [order_id, "VINET", "USD"].map(str::to_owned);
    let [code, reason] = ["card-expired", "the card has expired"].map(str::to_owned);
    let declined = PaymentDeclined {
        order_id,
        customer_id,
        amount: 1_500,
        currency,
        code,
        reason,
        subscription_id: None,
        provider_reference: None,
    };
    Event::Payments(declined.into())
}

pub(super) fn voided(order_id: &str) -> Event {
    let [order_id, customer_id, currency, reason] = [order_id, "VINET", "USD", "late"].map(str::to_owned);
    let voided = PaymentVoided {
        order_id,
        customer_id,
        amount: 1_500,
        currency,
        reason,
        subscription_id: None,
        provider_reference: None,
    };
    Event::Payments(voided.into())
}

pub(super) fn refund_requested(order_id: &str, refund_id: &str, amount: i64) -> Event {
    let provider_reference = format!("pay-{order_id}");
    let [order_id, customer_id, refund_id, currency, reason] =
        [order_id, "VINET", refund_id, "USD", "late"].map(str::to_owned);
    let requested = RefundRequested {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        reason,
        subscription_id: None,
    };
    Event::Payments(requested.into())
}

pub(super) fn refunded(order_id: &str, refund_id: &str, amount: i64) -> Event {
    let provider_reference = format!("refund-{order_id}");
    let [order_id, customer_id, refund_id, currency] =
        [order_id, "VINET", refund_id, "USD"].map(str::to_owned);
    let refunded = PaymentRefunded {
        order_id,
        customer_id,
        refund_id,
        amount,
        currency,
        provider_reference,
        subscription_id: None,
    };
    Event::Payments(refunded.into())
}

pub(super) fn refund_failed(order_id: &str, refund_id: &str, amount: i64) -> Event {
    let [order_id, customer_id, refund_id, currency, reason] =
        [order_id, "VINET", refund_id, "USD", "the account is closed"].map(str::to_owned);
    Event::Payments(
        RefundFailed { order_id, customer_id, refund_id, amount, currency, reason, subscription_id: None }
            .into(),
    )
}

/// VINET wants no notifications.
pub(super) fn notifications_stopped() -> Event {
    Event::Notifications(NotificationsStopped { customer_id: "VINET".into() }.into())
}

pub(super) fn notifications_allowed() -> Event {
    Event::Notifications(NotificationsAllowed { customer_id: "VINET".into() }.into())
}

/// A notification to VINET was sent.
pub(super) fn notification_sent(notification_id: &str) -> Event {
    let [notification_id, customer_id] = [notification_id, "VINET"].map(str::to_owned);
    Event::Notifications(NotificationSent { notification_id, customer_id }.into())
}

pub(super) fn stock_received(product_id: &str, quantity: i64) -> Event {
    Event::Inventory(StockReceived { product_id: product_id.into(), quantity }.into())
}

pub(super) fn stock_reserved(product_id: &str, reservation_id: &str, quantity: i64) -> Event {
    let [product_id, reservation_id] = [product_id, reservation_id].map(str::to_owned);
    Event::Inventory(StockReserved { product_id, reservation_id, quantity }.into())
}

pub(super) fn stock_released(product_id: &str, reservation_id: &str, quantity: i64) -> Event {
    let [product_id, reservation_id] = [product_id, reservation_id].map(str::to_owned);
    Event::Inventory(StockReleased { product_id, reservation_id, quantity }.into())
}

pub(super) fn stock_shipped(product_id: &str, reservation_id: &str, quantity: i64) -> Event {
    let [product_id, reservation_id] = [product_id, reservation_id].map(str::to_owned);
    Event::Inventory(StockShipped { product_id, reservation_id, quantity }.into())
}

pub(super) fn stock_returned(product_id: &str, reservation_id: &str, quantity: i64) -> Event {
    let [product_id, reservation_id] = [product_id, reservation_id].map(str::to_owned);
    Event::Inventory(StockReturned { product_id, reservation_id, quantity }.into())
}

pub(super) fn fields(value: &impl Serialize) -> Vec<String> {
    let value = serde_json::to_value(value).expect("JSON");
    value.as_object().expect("an object").keys().cloned().collect()
}

pub(super) fn and_version(mut fields: Vec<String>) -> Vec<String> {
    fields.extend(["version", "updated_at"].map(str::to_owned));
    fields
}

/// The first word of each column's line.
pub(super) fn columns(sql: &str) -> Vec<String> {
    let table = sql.split("CREATE TABLE IF NOT EXISTS {table} (").nth(1).expect("a table");
    let body = table.split("\n)").next().expect("its end");
    let words = body.lines().filter_map(|line| line.split_whitespace().next());
    words.filter(|word| word.chars().all(|c| c.is_lowercase() || c == '_')).map(str::to_owned).collect()
}

pub(super) fn properties(mapping: &str) -> Value {
    serde_json::from_str(mapping).expect("the mapping is JSON")
}

#[track_caller]
pub(super) fn assert_maps(properties: &Value, expected: Vec<String>) {
    let mapped: BTreeSet<&String> = properties.as_object().expect("properties").keys().collect();
    assert_eq!(mapped, expected.iter().collect());
}

#[track_caller]
pub(super) fn assert_table<V: View>(row: &V::Row) {
    assert_eq!(columns(V::TABLE), and_version(fields(row)));
}

#[track_caller]
pub(super) fn assert_table_and_mapping<V: View>(row: &V::Row) {
    assert_table::<V>(row);
    let search = (!V::SEARCH.is_empty()).then(|| "search".to_owned());
    let expected = and_version(fields(row)).into_iter().chain(search).collect();
    assert_maps(&properties(V::MAPPING.expect("a mapping")), expected);
}

#[track_caller]
pub(super) fn assert_tallys_table<T: Tally>(key: &T::Key) {
    let (key, amounts) = (fields(key), fields(&T::Amounts::default()));
    assert_eq!(
        (key.as_slice(), amounts.as_slice()),
        (named(T::KEYS).as_slice(), named(T::AMOUNTS).as_slice())
    );
    assert_eq!(columns(T::TABLE), and_version([key, amounts].concat()));
}

fn named(columns: &[&str]) -> Vec<String> {
    columns.iter().map(ToString::to_string).collect()
}

#[test]
fn a_table_has_the_rows_fields_in_order_and_the_mapping_has_them_all() {
    assert_table_and_mapping::<ProductView>(&ProductRow::default());
    assert_table_and_mapping::<OrderView>(&OrderRow::default());
    assert_table_and_mapping::<CustomerView>(&CustomerRow::default());
    assert_table_and_mapping::<PaymentView>(&PaymentRow::default());
    assert_table::<StockReservationView>(&StockReservationRow::default());
    assert_table::<CartView>(&CartRow::default());
}

#[test]
fn a_tallys_table_has_its_keys_and_amounts_in_order() {
    let (category, currency) = ("Drinks".to_owned(), "USD".to_owned());
    assert_tallys_table::<SalesDaily>(&SalesKey { day: chrono::NaiveDate::MIN, category, currency });
}

#[test]
fn what_is_inside_a_document_is_mapped_too() {
    let orders = fold_view::<OrderView>(&[order_placed("1", 0)]);
    let line = fields(&orders["1"].lines[0]);
    assert_maps(&properties(OrderView::MAPPING.expect("a mapping"))["lines"]["properties"], line);
    let money = fields(&Money { currency: "USD".into(), amount: 1 });
    for sum in ["order_value", "paid", "refunded", "balance"] {
        let mapping = properties(CustomerView::MAPPING.expect("a mapping"));
        assert_maps(&mapping[sum]["properties"], money.clone());
    }
    let payments = fold_view::<PaymentView>(&[payment_requested("1"), refund_requested("1", "a", 500)]);
    let refund = fields(&payments["1"].refunds[0]);
    assert_maps(&properties(PaymentView::MAPPING.expect("a mapping"))["refunds"]["properties"], refund);
}

#[test]
fn every_field_of_the_event_log_is_mapped() {
    let document = EventDocument {
        event_id: "e1".into(),
        event_type: "type",
        event: "type",
        context: "orders",
        stream: "1".into(),
        version: 1,
        occurred_at: chrono::DateTime::default(),
        correlation_id: None,
        causation_id: None,
        data: serde_json::to_value(order_placed("1", 0)).expect("JSON"),
    };
    assert_maps(&properties(EventLog::MAPPING), fields(&document));
}

#[test]
fn a_view_subscribes_only_to_the_contexts_that_it_reads() {
    assert!(ProductView::keys(&recorded(&order_placed("1", 0), 1)).is_empty());
    assert!(CustomerView::keys(&recorded(&shipped("1", 0), 1)).is_empty());
    assert!(CustomerView::keys(&recorded(&payment_requested("1"), 1)).is_empty());
    assert!(StockReservationView::keys(&recorded(&stock_received("1", 5), 1)).is_empty());
    assert_eq!(CustomerView::keys(&recorded(&order_placed("1", 0), 1)), ["VINET"]);
    assert_eq!(OrderView::keys(&recorded(&shipped("1", 0), 1)), ["1"]);
}

/// A customer's review of a product.
pub(crate) fn review_written(product_id: &str, customer_id: &str, rating: i32) -> Event {
    let [review_id, product_id] = strings([&format!("{product_id}:{customer_id}"), product_id]);
    let [customer_id, title, text] = strings([customer_id, "Chai", "Tea."]);
    let written_at = 0;
    let written = ReviewWritten { review_id, product_id, customer_id, rating, title, text, written_at };
    Event::Reviews(written.into())
}

/// The same review with another rating.
pub(crate) fn review_edited(product_id: &str, customer_id: &str, previous_rating: i32, rating: i32) -> Event {
    let [review_id, product_id] = strings([&format!("{product_id}:{customer_id}"), product_id]);
    let [customer_id, title, text] = strings([customer_id, "Chai", "Cold tea."]);
    let edited_at = 0;
    let edited =
        ReviewEdited { review_id, product_id, customer_id, rating, previous_rating, title, text, edited_at };
    Event::Reviews(edited.into())
}

/// The same review taken back.
pub(crate) fn review_withdrawn(product_id: &str, customer_id: &str, previous_rating: i32) -> Event {
    let [review_id, product_id] = strings([&format!("{product_id}:{customer_id}"), product_id]);
    let [customer_id, reason] = strings([customer_id, "mistaken"]);
    let withdrawn = ReviewWithdrawn { review_id, product_id, customer_id, previous_rating, reason };
    Event::Reviews(withdrawn.into())
}
