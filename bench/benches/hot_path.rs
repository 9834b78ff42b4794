//! The hot path in memory, one record at a time: an order of three lines is decoded, decided, encoded, and folded into
//! the row of the view `orders`. `scripts/bench micro` times the steps, `scripts/bench instructions` counts what they
//! execute.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "the input is fixed: what does not work out ends the measurement"
)]

use std::hint::black_box;

use chrono::DateTime;
use millrace_domain::contexts::catalog::Catalog;
use millrace_domain::contexts::customers::Customers;
use millrace_domain::contexts::orders::Orders;
use millrace_domain::views::orders::OrderView;
use millrace_domain::{Context, Recorded, Reference, References, Streams, View};
use millrace_schemas::catalog::ProductAdded;
use millrace_schemas::customers::CustomerRegistered;
use millrace_schemas::orders::{Command, Event, PlaceOrder, PlaceOrderLine};
use millrace_schemas::{AvroRecord as _, Message as _};

const PRODUCTS: [&str; 3] = ["product-11", "product-42", "product-72"];
const CUSTOMER: &str = "customer-1";
const ORDER: &str = "order-10248";
const PLACED_AT: i64 = 836_438_400_000_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn decode(bencher: divan::Bencher<'_, '_>) {
    let body = Command::from(command()).encode().expect("bytes");
    bencher.bench_local(|| decode_once(black_box(&body)));
}

#[divan::bench]
fn decide(bencher: divan::Bencher<'_, '_>) {
    let (references, command) = (references(), command().into());
    bencher.bench_local(|| decide_once(black_box(&references), black_box(&command)));
}

#[divan::bench]
fn encode(bencher: divan::Bencher<'_, '_>) {
    let event = event();
    // The first time also reads the schema.
    event.encode().expect("bytes");
    bencher.bench_local(|| encode_once(black_box(&event)));
}

#[divan::bench]
fn fold(bencher: divan::Bencher<'_, '_>) {
    let recorded = recorded();
    bencher.bench_local(|| fold_once(black_box(&recorded)));
}

#[inline(never)]
fn decode_once(body: &[u8]) -> Command {
    Command::decode(PlaceOrder::schema(), body).expect("a command")
}

#[inline(never)]
fn decide_once(references: &References, command: &Command) -> Event {
    let mut emitted = Orders::decide(&Streams::from_iter([]), references, command).expect("an order");
    emitted.remove(0).event
}

#[inline(never)]
fn encode_once(event: &Event) -> Vec<u8> {
    event.encode().expect("bytes")
}

#[inline(never)]
fn fold_once(recorded: &Recorded) -> <OrderView as View>::Row {
    let row = <OrderView as View>::Row::default();
    OrderView::keys(recorded).into_iter().fold(row, |row, key| OrderView::evolve(row, &key, recorded))
}

fn command() -> PlaceOrder {
    let line = |product: &&str| PlaceOrderLine {
        product_id: (*product).to_owned(),
        quantity: 10,
        unit_price: 985,
        discount_bp: 1_500,
    };
    PlaceOrder {
        order_id: ORDER.to_owned(),
        customer_id: CUSTOMER.to_owned(),
        currency: "EUR".to_owned(),
        placed_at: PLACED_AT,
        lines: PRODUCTS.iter().map(line).collect(),
        // 98.50 less 15 %, rounded up, three times.
        total: 3 * 8_373,
        ship_to: None,
    }
}

fn event() -> Event {
    decide_once(&references(), &command().into())
}

fn recorded() -> Recorded {
    let event: millrace_schemas::Event = event().into();
    Recorded {
        id: "019a0000-0000-7000-8000-000000000000".to_owned(),
        stream: ORDER.to_owned(),
        version: 1,
        occurred_at: DateTime::from_timestamp_micros(PLACED_AT).expect("a time"),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        event,
    }
}

fn references() -> References {
    let mut references = References::default();
    let registered = CustomerRegistered {
        customer_id: CUSTOMER.to_owned(),
        name: "Vins et alcools Chevalier".to_owned(),
        contact_name: None,
        email: None,
        phone: Some("26.47.15.10".to_owned()),
        city: None,
        country: Some("France".to_owned()),
    };
    insert::<Customers>(&mut references, CUSTOMER, &registered.into());
    for product in PRODUCTS {
        let [product_id, name, category, currency] =
            [product, "Queso Cabrales", "Dairy Products", "EUR"].map(str::to_owned);
        let added = ProductAdded { product_id, name, category, price: 985, currency };
        insert::<Catalog>(&mut references, product, &added.into());
    }
    references
}

/// The public state of a stream after its first event.
fn insert<C: Context>(references: &mut References, id: &str, event: &C::Event) {
    let state = C::evolve(None, event).expect("a state");
    references.insert(Reference::to::<C>(id), serde_json::to_string(&state).expect("JSON"));
}
