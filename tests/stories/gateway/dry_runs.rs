//! What would become of a command.

use millrace_tests::Instance;
use millrace_tests::load::customer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Gateway, SHOP, answer, registration};

impl Gateway {
    async fn tried(&self, name: &str, data: &Value) -> (u16, Value) {
        let request = self.request(Method::POST, &format!("commands/{name}?dry_run=true"), SHOP);
        answer(request.json(data)).await
    }
}

/// Customer 2 is registered, and customer 50 is not.
pub(super) async fn what_would_become_of_a_command_is_told_without_effect(
    gateway: &Gateway,
    instance: &Instance,
) {
    let before = rows(instance).await;
    // A decision that waits for a lock would not end.
    let mut holder = instance.write.begin().await.expect("a transaction");
    let held = "SELECT id FROM stream WHERE id = $1 FOR UPDATE";
    sqlx::query(held).bind(customer(2)).fetch_one(&mut *holder).await.expect("a stream");
    let (status, found) = gateway.tried("RegisterCustomer", &registration(50)).await;
    assert_eq!(status, 200, "{found}");
    let event = &found["events"][0];
    let expected =
        json!({"type": "millrace.customers.CustomerRegistered", "stream": customer(50), "version": 1});
    for name in ["type", "stream", "version"] {
        assert_eq!(event[name], expected[name], "{found}");
    }
    assert_eq!(event["data"]["name"], "Customer 50", "{found}");
    let (status, problem) = gateway.tried("RegisterCustomer", &registration(2)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("customer-exists")), "{problem}");
    let (status, found) =
        gateway.tried("TagCustomer", &json!({"customer_id": customer(2), "tag": "vip"})).await;
    assert_eq!((status, &found["events"][0]["version"]), (200, &json!(2)), "{found}");
    let (status, problem) = gateway.tried("TagCustomer", &json!({"tag": 7})).await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (422, Some(2)), "{problem}");
    holder.rollback().await.expect("an answer");
    assert_eq!(rows(instance).await, before, "nothing is written");
}

async fn rows(instance: &Instance) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["stream", "outbox", "command"] {
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        counts.push(count.fetch_one(&instance.write).await.expect("a count"));
    }
    counts
}

pub(super) async fn a_missing_reference_is_told_at_once(gateway: &Gateway) {
    let line = json!({"product_id": "chai", "quantity": 1, "unit_price": 1_800, "discount_bp": 0});
    let order = |customer: &str| {
        json!({
            "order_id": "o9", "customer_id": customer, "currency": "EUR", "placed_at": "2026-01-04T10:00:00Z",
            "lines": [line], "total": 1_800,
        })
    };
    let (status, problem) = gateway.tried("PlaceOrder", &order("unheard-of")).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/reference-not-found")), "{problem}");
    let (status, found) = gateway.tried("PlaceOrder", &order("ann")).await;
    assert_eq!((status, &found["events"][0]["version"]), (200, &json!(1)), "{found}");
}
