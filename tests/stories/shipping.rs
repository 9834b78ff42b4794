//! Where orders go: addresses of customers, the consignment of an order, and the history of a customer in one order of time.

use millrace_tests::Instance;
use millrace_tests::load::{add_product, command, customer, order, place, product, register};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

/// All that the document of a customer is made of.
const CONTEXTS: &str = r#"["accounts", "carts", "catalog", "customers", "inventory", "notifications", "orders", "payments",
    "reviews", "subscriptions"]"#;
const SETTINGS: [(&str, &str); 1] = [("contexts", CONTEXTS)];

/// The number of a command whose time is after the delivery, in seconds.
const LATER: usize = 40 * 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_to_the_address_of_its_time_and_shows_who_carries_it() {
    let _turn = beside_others().await;
    let instance = instance_with("shipping", &SETTINGS).await;
    let _process = instance.start();
    instance.send_and_wait(&[register(1), add_product(1)]).await.expect_success();
    instance
        .send_and_wait(&[address(1, "home", "Reims"), address(2, "office", "Lyon")])
        .await
        .expect_success();
    instance.send_and_wait(&[to(1, None), to(2, Some("office"))]).await.expect_success();
    instance.send_and_wait(&[to(3, Some("moon"))]).await.expect_code(1);
    let receipt = instance.millrace(&["receipt", "PlaceOrder-3", "--format", "json"]).await;
    receipt.expect_told("address-unknown");
    // The order keeps the address that it was placed with.
    instance.send_and_wait(&[address(3, "home", "Nice")]).await.expect_success();
    instance.send_and_wait(&[foreign()]).await.expect_code(1);
    instance.millrace(&["receipt", "SetCustomerAddress-4"]).await.expect_told("postal-code-invalid");
    instance.send_and_wait(&consigned()).await.expect_success();
    instance.settle().await;
    goes_to(&instance, 1, "Reims").await;
    goes_to(&instance, 2, "Lyon").await;
    the_consignment_is_shown(&instance).await;
    the_customer_lives_in(&instance, json!([["home", "Nice", true], ["office", "Lyon", false]])).await;
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_has_orders_payments_consignments_subscriptions_and_refunds_in_one_order_of_time() {
    let _turn = beside_others().await;
    let instance = instance_with("history", &SETTINGS).await;
    let _process = instance.start();
    instance.send_and_wait(&[register(1), add_product(1)]).await.expect_success();
    instance.send_and_wait(&[to(1, None), subscribed()]).await.expect_success();
    instance.send_and_wait(&consigned()).await.expect_success();
    instance.send_and_wait(&paid()).await.expect_success();
    instance.settle().await;
    let sql = "SELECT kind FROM customer_history WHERE customer_id = $1 ORDER BY at, entry_id";
    let kinds: Vec<String> =
        sqlx::query_scalar(sql).bind(customer(1)).fetch_all(&instance.read).await.expect("a history");
    let place =
        |kind: &str| kinds.iter().position(|known| known == kind).unwrap_or_else(|| panic!("{kinds:?}"));
    let in_order = [
        "order_placed",
        "subscription_started",
        "order_shipped",
        "order_delivered",
        "payment_requested",
        "payment_captured",
        "refund_requested",
        "payment_refunded",
    ];
    assert!(in_order.map(place).is_sorted(), "{kinds:?}");
    let told = instance.millrace(&["customer", "show", &customer(1), "--format", "json"]).await;
    let told = told.expect_success().json();
    let newest = told["history"][0]["kind"].as_str().expect("a kind");
    assert_eq!(newest, "payment_refunded");
    assert_eq!(told["orders"][0]["carrier"], "Speedy Express");
}

async fn goes_to(instance: &Instance, number: usize, city: &str) {
    let sql = "SELECT ship_to ->> 'city' FROM orders WHERE order_id = $1";
    let found: String =
        sqlx::query_scalar(sql).bind(order(number)).fetch_one(&instance.read).await.expect("an order");
    assert_eq!(found, city);
}

async fn the_consignment_is_shown(instance: &Instance) {
    let sql =
        "SELECT status, carrier, tracking_number, delivered_at > shipped_at FROM orders WHERE order_id = $1";
    let shown: (String, String, String, bool) =
        sqlx::query_as(sql).bind(order(1)).fetch_one(&instance.read).await.expect("the order");
    assert_eq!(shown, ("delivered".into(), "Speedy Express".into(), "SE-1".into(), true));
}

async fn the_customer_lives_in(instance: &Instance, expected: Value) {
    let sql = "SELECT jsonb_agg(jsonb_build_array(one -> 'address_id', one -> 'city', one -> 'is_default') ORDER BY place)
               FROM customers, jsonb_array_elements(addresses) WITH ORDINALITY AS each (one, place)";
    let shown: Value = sqlx::query_scalar(sql).fetch_one(&instance.read).await.expect("the customer");
    assert_eq!(shown, expected);
}

/// The order of a number, to an address of the customer.
fn to(number: usize, ship_to: Option<&str>) -> String {
    let mut line: Value = serde_json::from_str(&place(number, &customer(1), &product(1))).expect("JSON");
    line["data"]["ship_to"] = json!(ship_to);
    line.to_string()
}

fn address(number: usize, address_id: &str, city: &str) -> String {
    let data = json!({
        "customer_id": customer(1), "address_id": address_id, "line1": "59 rue de l'Abbaye", "postal_code": "51100",
        "city": city, "country": "FR",
    });
    command("SetCustomerAddress", number, data)
}

/// A French postal code in Great Britain.
fn foreign() -> String {
    let data = json!({
        "customer_id": customer(1), "address_id": "away", "line1": "1 High Street", "postal_code": "51100",
        "city": "London", "country": "GB",
    });
    command("SetCustomerAddress", 4, data)
}

fn consigned() -> Vec<String> {
    let shipped = json!({
        "order_id": order(1), "shipped_at": "2024-02-01T08:00:00Z", "carrier": "Speedy Express", "tracking_number": "SE-1",
    });
    vec![
        command("ConfirmOrder", 1, json!({"order_id": order(1)})),
        command("ShipOrder", 1, shipped),
        command("DeliverOrder", 1, json!({"order_id": order(1), "delivered_at": "2024-02-03T14:00:00Z"})),
    ]
}

fn subscribed() -> String {
    let data = json!({
        "subscription_id": "sub-1", "customer_id": customer(1), "plan": "tea", "amount": 700, "currency": "EUR",
        "period": "year", "started_at": "2024-01-15T00:00:00Z",
    });
    command("StartSubscription", 1, data)
}

fn paid() -> Vec<String> {
    let of = |name: &str, number: usize, mut data: Value| {
        data["order_id"] = json!(order(1));
        command(name, LATER + number, data)
    };
    vec![
        of("RequestPayment", 1, json!({"customer_id": customer(1), "amount": 100, "currency": "USD"})),
        of("CapturePayment", 2, json!({"amount": 100, "provider_reference": "p"})),
        of("RefundPayment", 3, json!({"refund_id": "r1", "amount": 50, "reason": "late"})),
        of("CompleteRefund", 4, json!({"refund_id": "r1", "provider_reference": "p"})),
    ]
}
