//! Catalog: what is said of a product, a product that comes back on sale, and carts that say what is in stock.

use millrace_tests::Instance;
use millrace_tests::load::{add_product, command, customer, product, register};
use serde_json::{Value, json};

use crate::{beside_others, instance_with};

const SETTINGS: [(&str, &str); 1] =
    [("contexts", r#"["carts", "catalog", "customers", "inventory", "reviews"]"#)];

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_described_and_comes_back_on_sale_in_both_read_models() {
    let _turn = beside_others().await;
    let instance = instance_with("catalog", &SETTINGS).await;
    let _process = instance.start();
    instance.send_and_wait(&[register(1), add_product(1)]).await.expect_success();
    instance.send_and_wait(&[cart(1), of_product("DiscontinueProduct", 1)]).await.expect_success();
    instance.send_and_wait(&[add_to_cart(1, 1, 1)]).await.expect_code(1);
    let receipt = instance.millrace(&["receipt", "AddToCart-1", "--format", "json"]).await;
    receipt.expect_told("product-discontinued");
    instance.send_and_wait(&[of_product("RelistProduct", 1), described()]).await.expect_success();
    instance.send_and_wait(&[add_to_cart(2, 1, 1)]).await.expect_success();
    instance.settle().await;
    let shown: (bool, String, String, String) = sqlx::query_as(
        "SELECT discontinued, unit, brand, description FROM products WHERE product_id = 'product-0001'",
    )
    .fetch_one(&instance.read)
    .await
    .expect("the product");
    assert_eq!(shown, (false, "10 boxes".into(), "Exotic Liquids".into(), "Tea of the mountains".into()));
    instance.assert_both_read_models_agree().await;
    instance.millrace(&["verify"]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_gets_another_name_wherever_its_products_are_shown() {
    let _turn = beside_others().await;
    let instance = instance_with("renamed", &SETTINGS).await;
    let _process = instance.start();
    // Of four categories in turns; the fifth product is discontinued.
    let products: Vec<String> = (0..6).map(add_product).collect();
    instance.send_and_wait(&products).await.expect_success();
    instance.send_and_wait(&[of_product("DiscontinueProduct", 4)]).await.expect_success();
    instance.settle().await;
    let rename = ["category", "rename", "Beverages", "Drinks"];
    instance.millrace(&rename).await.expect_success().expect_told("completed 2");
    instance.settle().await;
    let drinks = "SELECT count(*) FROM products WHERE category = 'Drinks'";
    let left = "SELECT count(*) FROM products WHERE category = 'Beverages'";
    for (sql, expected) in [(drinks, 2_i64), (left, 0)] {
        let found: i64 = sqlx::query_scalar(sql).fetch_one(&instance.read).await.expect("products");
        assert_eq!(found, expected, "{sql}");
    }
    instance.assert_both_read_models_agree().await;
    instance.millrace(&rename).await.expect_code(4).expect_told("no product is in the category `Beverages`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_says_at_once_when_less_is_in_stock_than_it_wants() {
    let _turn = beside_others().await;
    let instance = instance_with("short", &SETTINGS).await;
    let _process = instance.start();
    instance.send_and_wait(&[register(1), add_product(1), add_product(2)]).await.expect_success();
    let received = json!({"product_id": product(1), "quantity": 5});
    instance.send_and_wait(&[cart(1), command("ReceiveStock", 1, received)]).await.expect_success();
    // The second one never was in stock.
    instance.send_and_wait(&[add_to_cart(1, 1, 9), add_to_cart(2, 2, 1)]).await.expect_success();
    instance.settle().await;
    assert_eq!(short(&instance).await, (true, vec![true, true]));
    let fewer = |number: usize| {
        let data = json!({"cart_id": "cart-1", "product_id": product(number), "quantity": 5});
        command("ChangeCartQuantity", number, data)
    };
    let removed = json!({"cart_id": "cart-1", "product_id": product(2)});
    instance.send_and_wait(&[fewer(1), command("RemoveFromCart", 2, removed)]).await.expect_success();
    instance.settle().await;
    assert_eq!(short(&instance).await, (false, vec![false]));
    let events = instance.documents("events").await;
    let says = |line: &&String| line.contains("CartItemAdded") && line.contains(r#""available":5"#);
    assert_eq!(events.iter().filter(says).count(), 1, "the event says it, too");
    instance.millrace(&["verify"]).await.expect_success();
}

/// Whether the cart is short, and which of its lines are.
async fn short(instance: &Instance) -> (bool, Vec<bool>) {
    let sql = "SELECT carts.short, array_agg(line.short ORDER BY line.product_id)
               FROM carts JOIN cart_lines AS line USING (cart_id) GROUP BY 1";
    sqlx::query_as(sql).fetch_one(&instance.read).await.expect("the cart")
}

fn cart(number: usize) -> String {
    let data = json!({"cart_id": format!("cart-{number}"), "customer_id": customer(1), "currency": "USD"});
    command("CreateCart", number, data)
}

fn add_to_cart(number: usize, product_number: usize, quantity: i64) -> String {
    let product_id = product(product_number);
    command("AddToCart", number, json!({"cart_id": "cart-1", "product_id": product_id, "quantity": quantity}))
}

fn of_product(name: &str, number: usize) -> String {
    command(name, number, json!({"product_id": product(number)}))
}

fn described() -> String {
    let data: Value = json!({
        "product_id": product(1), "description": "Tea of the mountains", "unit": "10 boxes",
        "brand": "Exotic Liquids", "image": "products/1.jpg",
    });
    command("DescribeProduct", 1, data)
}
