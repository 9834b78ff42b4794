//! One customer among many: how long the document of a customer takes when very many have done something in every context.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::Overview;
use crate::instance::Instance;
use crate::latency::milliseconds;
use crate::latency::probe::microseconds;
use crate::report::Report;
use crate::stack::database;

const COLUMNS: [&str; 6] = ["customers", "documents", "p50 ms", "p95 ms", "p99 ms", "max ms"];
/// Customers whose commands are sent at a time.
const AT_ONCE: u64 = 5_000;
const PRODUCTS: u64 = 100;
const WHEN: &str = "2026-01-01T00:00:00Z";
/// What a document is made of.
const CONTEXTS: &str = r#"contexts=["accounts", "carts", "catalog", "customers", "inventory", "notifications", "orders", "payments",
    "reviews", "subscriptions"]"#;
/// A step that is odd to most numbers of customers, so that those asked for lie apart.
const STRIDE: u64 = 7_919;

/// Measures a fresh instance that is filled through the front door, and compares every row with SQL of its own.
pub(crate) async fn measure(instance: &Instance, options: &Overview) -> Result<Report> {
    let instance = &instance.with(CONTEXTS);
    instance.recreate().await?;
    let running = instance.start(&[], &["elasticsearch.publish=false".to_owned()]).await?;
    let began = Instant::now();
    send(instance, (0..PRODUCTS).map(product)).await?;
    for first in (0..options.customers).step_by(usize::try_from(AT_ONCE)?) {
        let numbers = first..options.customers.min(first + AT_ONCE);
        send(instance, numbers.clone().map(register)).await?;
        send(instance, numbers.flat_map(done)).await?;
    }
    instance.millrace(&["status", "--wait", "2h"]).await?;
    let filled = began.elapsed().as_secs_f64();
    running.stop()?;
    let latency = ask(instance, options).await?;
    let began = Instant::now();
    instance.millrace(&["verify", "--set", "elasticsearch.publish=false"]).await?;
    let verified = began.elapsed().as_secs_f64();
    Ok(report(instance, options, &latency, [filled, verified]))
}

/// One after another, as a reader does.
async fn ask(instance: &Instance, options: &Overview) -> Result<Histogram<u64>> {
    let mut read = database(instance.stack.read_database_url()).await?;
    sqlx::query("SELECT set_config('search_path', $1, false)")
        .bind(&instance.name)
        .execute(&mut read)
        .await?;
    // As autovacuum would have done by then.
    sqlx::query("ANALYZE").execute(&mut read).await?;
    let mut latency = Histogram::new(3)?;
    for number in 0..options.documents {
        let id = customer(number * STRIDE % options.customers);
        let began = Instant::now();
        let document: Option<Value> =
            sqlx::query_scalar("SELECT customer_360($1)").bind(&id).fetch_one(&mut read).await?;
        latency.record(microseconds(began.elapsed()))?;
        let document = document.with_context(|| format!("nothing is known of {id}"))?;
        let parts = ["accounts", "carts", "history", "orders", "subscriptions"];
        let lacks = |part: &&str| document.get(*part).and_then(Value::as_array).is_none_or(Vec::is_empty);
        ensure!(!parts.iter().any(lacks), "the document of {id} lacks a part: {document}");
    }
    Ok(latency)
}

fn report(
    instance: &Instance,
    options: &Overview,
    latency: &Histogram<u64>,
    [filled, verified]: [f64; 2],
) -> Report {
    let at = |quantile: f64| milliseconds(latency.value_at_quantile(quantile));
    let quantiles = [at(0.5), at(0.95), at(0.99), milliseconds(latency.max())];
    let counts = [options.customers, latency.len()].map(|count| count.to_string());
    let row = counts.into_iter().chain(quantiles.map(|time| format!("{time:.1}"))).collect();
    let notes = vec![format!(
        "Filled through commands in {filled:.0} s; `verify` found every row equal to the fold and to independent SQL in {verified:.0} s."
    )];
    let figures = json!({
        "settings": instance.settings(), "customers": options.customers, "documents": latency.len(),
        "p50": quantiles[0], "p95": quantiles[1], "p99": quantiles[2], "max": quantiles[3],
        "filled_seconds": filled, "verified_seconds": verified,
    });
    let title = "customer_360 in SQL, one reader".to_owned();
    Report { title, columns: COLUMNS.to_vec(), rows: vec![row], notes, figures }
}

fn customer(number: u64) -> String {
    format!("customer-{number}")
}

fn product_id(number: u64) -> String {
    format!("product-{}", number % PRODUCTS)
}

fn line(name: &str, number: impl std::fmt::Display, data: &Value) -> String {
    json!({"type": name, "source": "bench", "id": format!("{name}-{number}"), "data": data}).to_string()
}

fn product(number: u64) -> String {
    let category = format!("Category {}", number % 8);
    let data = json!({
        "product_id": product_id(number), "name": format!("Product {number}"), "category": category, "price": 100,
        "currency": "EUR",
    });
    line("AddProduct", number, &data)
}

fn register(number: u64) -> String {
    let data = json!({
        "customer_id": customer(number), "name": format!("Customer {number}"), "email": format!("c{number}@example.com"),
        "country": "Germany",
    });
    line("RegisterCustomer", number, &data)
}

/// What a customer does: an address, two orders, an account with two entries, a cart, a subscription, a review.
fn done(number: u64) -> Vec<String> {
    let customer_id = customer(number);
    let address = json!({
        "customer_id": customer_id, "address_id": "home", "line1": "Obere Str. 57", "postal_code": "12209",
        "city": "Berlin", "country": "DE",
    });
    let cart = json!({"cart_id": format!("cart-{number}"), "customer_id": customer_id, "currency": "EUR"});
    let subscription = json!({
        "subscription_id": format!("sub-{number}"), "customer_id": customer_id, "plan": "tea", "amount": 700,
        "currency": "EUR", "period": "year", "started_at": "2126-01-01T00:00:00Z",
    });
    let product_id = product_id(number);
    let review = json!({
        "review_id": format!("{product_id}:{customer_id}"), "product_id": product_id, "customer_id": customer_id,
        "rating": 1 + number % 5, "title": "Tea", "text": "As it should be.", "written_at": WHEN,
    });
    let mut lines = vec![
        line("SetCustomerAddress", number, &address),
        line("CreateCart", number, &cart),
        line("StartSubscription", number, &subscription),
        line("WriteReview", number, &review),
    ];
    lines.extend((0..2).flat_map(|place| ordered(number, place)));
    lines.extend(banked(number));
    lines
}

fn ordered(number: u64, place: u64) -> [String; 2] {
    let order_id = format!("order-{number}-{place}");
    let lines: Vec<Value> = (0..3)
        .map(|line| json!({"product_id": product_id(number + place + line), "quantity": 1 + line, "unit_price": 100}))
        .collect();
    let data = json!({
        "order_id": order_id, "customer_id": customer(number), "currency": "EUR", "placed_at": WHEN, "lines": lines,
        "total": 600,
    });
    [
        line("PlaceOrder", format_args!("{number}-{place}"), &data),
        line("ConfirmOrder", format_args!("{number}-{place}"), &json!({"order_id": order_id})),
    ]
}

fn banked(number: u64) -> impl Iterator<Item = String> {
    let account_id = format!("ACCOUNT{number}");
    let open = json!({
        "account_id": account_id, "customer_id": customer(number), "kind": "current", "currency": "EUR",
        "initial_balance": 0, "overdraft": 0, "opened_at": WHEN,
    });
    let deposit = move |entry: u64| {
        let data = json!({
            "account_id": account_id, "transaction_id": format!("t{entry}"), "amount": 100, "currency": "EUR",
            "text": "salary", "booked_at": WHEN,
        });
        line("DepositMoney", format_args!("{number}-{entry}"), &data)
    };
    std::iter::once(line("OpenAccount", number, &open)).chain((0..2).map(deposit))
}

/// Sends commands and waits for their outcomes: what follows refers to them.
async fn send(instance: &Instance, lines: impl Iterator<Item = String>) -> Result<()> {
    let (file, mut all) = (instance.file("commands.jsonl"), String::new());
    for line in lines {
        writeln!(all, "{line}")?;
    }
    std::fs::write(&file, all)?;
    let path = file.to_str().with_context(|| format!("{} is no text", file.display()))?;
    instance.millrace(&["send", path, "--wait", "--timeout", "600s"]).await
}
