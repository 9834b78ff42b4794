//! From order to delivery: sagas, their timers, and calls to external systems that happen once.

mod forged;
mod history;
mod killed;
mod last_items;
mod money;
mod operator;
mod timers;
mod webhooks;

use millrace_tests::load::{add_product, command, customer, order, product, register};
use millrace_tests::outside::Outside;
use millrace_tests::{Instance, Process};
use serde_json::json;

use crate::{WORKSHOP, instance_with};

/// What one unit of any product costs here, in minor units.
const PRICE: i64 = 250;

/// An instance with external systems beside it.
pub(crate) struct Shop {
    pub(crate) instance: Instance,
    pub(crate) outside: Outside,
}

/// What an order touches on its way.
const CONTEXTS: &str =
    r#"["carts", "catalog", "customers", "inventory", "notifications", "orders", "payments"]"#;

/// A shop with customers, and with products that have so many units each.
pub(crate) async fn shop(story: &str, settings: &[(&str, &str)], outside: &[&str]) -> Shop {
    let outside = Outside::start(WORKSHOP, story, outside).await;
    let own = outside.settings();
    let own = own.iter().map(|(field, value)| (*field, value.as_str()));
    let own: Vec<(&str, &str)> = own.chain([("contexts", CONTEXTS)]).collect();
    Shop { instance: instance_with(story, &[own.as_slice(), settings].concat()).await, outside }
}

impl Shop {
    /// Customers, and products with so many units each, known before anything is ordered.
    pub(crate) async fn stocked(&self, customers: usize, units: &[i64]) {
        let mut process = self.instance.start_with(&["commands"], &[]);
        let mut lines: Vec<String> = (0..customers).map(register).collect();
        for (i, units) in units.iter().enumerate() {
            lines.push(add_product(i));
            lines.push(command("ReceiveStock", i, json!({"product_id": product(i), "quantity": units})));
        }
        self.instance.send_and_wait(&lines).await.expect_success();
        process.stops().await;
    }

    /// Starts every role.
    pub(crate) fn open(&self) -> Process {
        self.instance.start()
    }

    /// Waits until no saga or call is in progress and every view has caught up.
    pub(crate) async fn rest(&self) {
        self.instance.millrace(&["status", "--wait", "20m"]).await.expect_success();
    }

    /// The standing of the order's fulfilment.
    async fn standing(&self, i: usize) -> String {
        let standing = "SELECT standing FROM saga WHERE saga = 'fulfilment' AND instance = $1";
        let standing = sqlx::query_scalar(standing).bind(order(i));
        standing.fetch_one(&self.instance.write).await.expect("an instance")
    }

    /// Waits until the order's fulfilment has this standing.
    pub(crate) async fn stands(&self, i: usize, expected: &str) {
        millrace_tests::eventually(&format!("order {i} is {expected}"), async || {
            let standing = "SELECT standing FROM saga WHERE saga = 'fulfilment' AND instance = $1";
            let found: Option<String> = sqlx::query_scalar(standing)
                .bind(order(i))
                .fetch_optional(&self.instance.write)
                .await
                .map_err(|error| error.to_string())?;
            if found.as_deref() == Some(expected) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

/// Orders so many units of each of these products.
pub(crate) fn place(i: usize, customers: usize, lines: &[(usize, i64)]) -> String {
    let ordered: Vec<_> = lines
        .iter()
        .map(|(i, quantity)| json!({"product_id": product(*i), "quantity": quantity, "unit_price": PRICE, "discount_bp": 0}))
        .collect();
    let total: i64 = lines.iter().map(|(_, quantity)| quantity * PRICE).sum();
    let data = json!({
        "order_id": order(i), "customer_id": customer(i % customers), "placed_at": "2024-01-01T00:00:00Z",
        "currency": "USD", "lines": ordered, "total": total,
    });
    command("PlaceOrder", i, data)
}

pub(crate) fn cancel(i: usize) -> String {
    command("CancelOrder", i, json!({"order_id": order(i), "reason": "changed my mind"}))
}
