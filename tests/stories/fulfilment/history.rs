//! An independent model: it reads the events, and does not use the code that decides or folds them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::{Event, WriterSchema, definition, unframe};
use millrace_tests::outside::Outside;
use serde_json::Value;
use sqlx::PgPool;

/// An event of the outbox.
pub(super) struct Happened {
    pub(super) id: String,
    stream: String,
    /// Its short name.
    pub(super) type_: String,
    pub(super) data: Value,
    /// The command that caused it, and the cause of that.
    cause: Option<String>,
}

/// Everything that has happened, each stream in its order.
pub(super) struct History {
    events: Vec<Happened>,
    /// The cause of each command that Millrace has sent.
    sent: BTreeMap<String, String>,
}

/// The outcome of an order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// In minor units.
    pub(super) total: i64,
    pub(super) confirmed: bool,
    pub(super) cancelled: bool,
    pub(super) reserved: i64,
    pub(super) released: i64,
    pub(super) shipped: i64,
    pub(super) returned: i64,
    pub(super) captured: i64,
    pub(super) captures: i64,
    pub(super) refunded: i64,
}

impl History {
    /// Reads the outbox.
    pub(super) async fn read(write: &PgPool) -> Self {
        type Row = (String, String, String, Vec<u8>, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id::text, aggregateid, type, payload, causation_id FROM outbox
             WHERE version IS NOT NULL ORDER BY aggregatetype, aggregateid, version",
        )
        .fetch_all(write)
        .await
        .expect("the outbox");
        let sent: Vec<(String, String)> = sqlx::query_as(
            "SELECT id::text, causation_id FROM outbox WHERE version IS NULL AND topic LIKE '%.cmd.%'",
        )
        .fetch_all(write)
        .await
        .expect("the outbox");
        let event = |(id, stream, type_, payload, cause): Row| {
            let definition = definition(&type_).expect("a type of the contract");
            let writer = WriterSchema::parse(definition.avsc).expect("its schema");
            let (_, body) = unframe(&payload).expect("a frame");
            let data = Event::decode(&writer, body).expect("an event");
            let data = serde_json::to_value(&data).expect("JSON");
            Happened { id, stream, type_: definition.name.to_owned(), data, cause }
        };
        Self { events: rows.into_iter().map(event).collect(), sent: sent.into_iter().collect() }
    }

    /// The outcomes of all orders.
    pub(super) fn orders(&self) -> BTreeMap<String, Order> {
        let mut orders: BTreeMap<String, Order> = BTreeMap::new();
        for Happened { type_, data, .. } in &self.events {
            let name = ["order_id", "reservation_id"].iter().find_map(|field| data[field].as_str());
            let Some(name) = name.filter(|_| type_ != "CartCheckedOut") else { continue };
            let order = orders.entry(name.to_owned()).or_default();
            let number = |field: &str| data[field].as_i64().unwrap_or_default();
            match type_.as_str() {
                "OrderPlaced" => order.total = number("total"),
                "OrderConfirmed" => order.confirmed = true,
                "OrderCancelled" => order.cancelled = true,
                "StockReserved" => order.reserved += number("quantity"),
                "StockReleased" => order.released += number("quantity"),
                "StockShipped" => order.shipped += number("quantity"),
                "StockReturned" => order.returned += number("quantity"),
                "PaymentCaptured" => {
                    order.captured += number("amount");
                    order.captures += 1;
                }
                "PaymentRefunded" => order.refunded += number("amount"),
                _ => {}
            }
        }
        orders
    }

    /// Stock is never negative and never promised beyond what is there, at any version.
    fn assert_stock_is_never_negative(&self) {
        let mut stock: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for Happened { stream, type_, data, .. } in &self.events {
            let quantity = data["quantity"].as_i64().unwrap_or_default();
            let (on_hand, reserved) = match type_.as_str() {
                "StockReceived" | "StockReturned" => (quantity, 0),
                "StockReserved" => (0, quantity),
                "StockReleased" => (0, -quantity),
                "StockShipped" => (-quantity, -quantity),
                _ => continue,
            };
            let units = stock.entry(stream).or_default();
            *units = (units.0 + on_hand, units.1 + reserved);
            assert!(0 <= units.1 && units.1 <= units.0, "{stream} after {type_}: {units:?}");
        }
    }

    /// Every payment was asked for because stock was reserved for it.
    fn assert_stock_comes_before_money(&self) {
        let by_id: BTreeMap<&str, &Happened> =
            self.events.iter().map(|event| (event.id.as_str(), event)).collect();
        for event in self.events.iter().filter(|event| event.type_ == "PaymentRequested") {
            let command = event.cause.as_deref().expect("a cause");
            let why = by_id[self.sent[command].as_str()];
            assert_eq!(why.type_, "StockReserved", "what led to the payment of {}", event.stream);
            assert_eq!(why.data["reservation_id"], event.data["order_id"]);
        }
    }

    /// No money was taken before it was held and asked for.
    fn assert_money_is_held_before_it_is_taken(&self) {
        let (mut held, mut asked_for) = (BTreeSet::new(), BTreeSet::new());
        for Happened { stream, type_, .. } in &self.events {
            match type_.as_str() {
                "PaymentAuthorised" => assert!(held.insert(stream), "{stream} was authorised twice"),
                "CaptureRequested" => {
                    assert!(held.contains(stream) && asked_for.insert(stream), "{stream}: {type_}");
                }
                "PaymentCaptured" => assert!(asked_for.contains(stream), "{stream} was not asked for"),
                _ => {}
            }
        }
    }

    /// Each order has one outcome; what was done for one that was cancelled is undone, and nothing else.
    fn assert_orders_have_one_outcome(&self) {
        for (id, order) in self.orders() {
            assert!(order.captures <= 1, "{id} was captured twice: {order:?}");
            let done = Order { total: order.total, ..order.clone() };
            if order.cancelled {
                assert_eq!(order.reserved, order.released + order.shipped, "{id}: {done:?}");
                assert_eq!(
                    (order.returned, order.refunded),
                    (order.shipped, order.captured),
                    "{id}: {done:?}"
                );
            } else {
                assert!(order.confirmed, "{id} has no outcome: {done:?}");
                assert_eq!((order.reserved, order.released), (order.shipped, 0), "{id}: {done:?}");
                assert_eq!((order.returned, order.refunded), (0, 0), "{id}: {done:?}");
                assert_eq!(order.captured, order.total, "{id}: {done:?}");
            }
        }
    }

    /// All of it, and our money is the provider's money.
    pub(super) fn assert_sound(&self, outside: &Outside) {
        self.assert_stock_is_never_negative();
        self.assert_stock_comes_before_money();
        self.assert_money_is_held_before_it_is_taken();
        self.assert_orders_have_one_outcome();
        let ours = self.orders().into_iter().filter(|(_, order)| order.captured + order.refunded > 0);
        let ours: BTreeMap<String, (i64, i64)> =
            ours.map(|(id, order)| (id, (order.captured, order.refunded))).collect();
        assert_eq!(ours, outside.money(), "our ledger and the provider's");
        assert_eq!(outside.held(), BTreeMap::new(), "no money is held for nothing");
    }
}

/// Every saga has come to its end, and nothing is promised any more.
pub(super) async fn assert_nothing_is_left(write: &PgPool) {
    let count =
        async |sql: &'static str| -> i64 { sqlx::query_scalar(sql).fetch_one(write).await.expect("a count") };
    assert_eq!(count("SELECT count(*) FROM saga WHERE NOT ended").await, 0, "every saga has ended");
    assert_eq!(count("SELECT count(*) FROM saga_timer").await, 0, "no timer is set");
    assert_eq!(count("SELECT count(*) FROM dead_letter WHERE status = 'dead'").await, 0, "no dead letters");
    assert_eq!(
        count("SELECT count(*) FROM effect WHERE status IN ('waiting', 'calling')").await,
        0,
        "no calls"
    );
    let given_up = "SELECT count(*) FROM effect WHERE effect = 'payment' AND status = 'gave_up'";
    assert_eq!(count(given_up).await, 0, "no payment was given up");
}
