//! A deterministic load: fixed ids and times, so that two instances have byte for byte the same rows at the end. Orders go
//! through every stage, stock is reserved across products, some commands are rejected.

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};

/// How large the load is.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Customers.
    pub customers: usize,
    /// Products, each with plenty of stock.
    pub products: usize,
    /// Orders: each is placed and reserved, then shipped or cancelled.
    pub orders: usize,
}

/// In seconds.
const A_DAY: usize = 86_400;
const CATEGORIES: [&str; 4] = ["Beverages", "Condiments", "Seafood", "Produce"];

impl Load {
    /// The size for most stories: about 2,000 commands.
    pub const STANDARD: Self = Self { customers: 40, products: 30, orders: 400 };

    /// The customers and products to which orders refer, which must be decided first.
    pub fn basics(&self) -> Vec<String> {
        let customers = (0..self.customers).map(register);
        let products = (0..self.products).flat_map(|i| [add_product(i), receive(i)]);
        customers.chain(products).collect()
    }

    /// The commands that begin every order.
    pub fn placing(&self) -> Vec<String> {
        (0..self.orders).flat_map(|i| self.begun(i)).collect()
    }

    /// The commands that end every order, and changes beside them.
    pub fn fulfilling(&self) -> Vec<String> {
        (0..self.orders).flat_map(|i| self.ended(i)).collect()
    }

    /// Everything after the basics, in this many slices of whole orders.
    pub fn slices(&self, count: usize) -> Vec<Vec<String>> {
        let slice = |n: usize| (n * self.orders / count)..((n + 1) * self.orders / count);
        let commands = |n: usize| {
            let begun = slice(n).flat_map(|i| self.begun(i));
            begun.chain(slice(n).flat_map(|i| self.ended(i))).collect()
        };
        (0..count).map(commands).collect()
    }

    fn begun(&self, i: usize) -> Vec<String> {
        let lines: Vec<Value> = (0..1 + i % 3).map(|line| self.line(i, line)).collect();
        let reserved: Vec<Value> = lines
            .iter()
            .map(|line| json!({"product_id": line["product_id"], "quantity": line["quantity"]}))
            .collect();
        let placed = json!({
            "order_id": order(i), "customer_id": customer(i % self.customers), "placed_at": time(i % 20 * A_DAY + i),
            "currency": if i.is_multiple_of(4) { "EUR" } else { "USD" },
            "total": lines.iter().map(amount).sum::<i64>(), "lines": lines,
        });
        vec![
            command("PlaceOrder", i, placed),
            command("ReserveStock", i, json!({"reservation_id": order(i), "lines": reserved})),
        ]
    }

    fn ended(&self, i: usize) -> Vec<String> {
        let products: Vec<String> = (0..1 + i % 3).map(|line| self.product(i, line)).collect();
        let stock = json!({"reservation_id": order(i), "product_ids": products});
        let mut commands = if i % 5 == 4 {
            vec![
                command("CancelOrder", i, json!({"order_id": order(i), "reason": "changed their mind"})),
                command("ReleaseStock", i, stock),
            ]
        } else {
            vec![
                command("ConfirmOrder", i, json!({"order_id": order(i)})),
                command("ShipStock", i, stock),
                command(
                    "ShipOrder",
                    i,
                    json!({"order_id": order(i), "shipped_at": time(i % 20 * A_DAY + i + 3_600)}),
                ),
            ]
        };
        commands.extend(self.beside(i));
        commands
    }

    /// Changes on which no order depends, and commands that are rejected.
    fn beside(&self, i: usize) -> Vec<String> {
        let changes = [
            (7, "ChangePrice", json!({"product_id": self.product(i, 0), "price": 1_000 + i})),
            (11, "ChangeCustomerDetails", details(i % self.customers, &format!("City {i}"))),
            (
                13,
                "AdjustStock",
                json!({"product_id": self.product(i, 0), "difference": 1, "reason": "counted"}),
            ),
            (
                9,
                "TagCustomer",
                json!({"customer_id": customer(i % self.customers), "tag": format!("seen-{i}")}),
            ),
            (
                12,
                "SetCustomerPreference",
                json!({"customer_id": customer(i % self.customers), "name": "language", "value": format!("l{i}")}),
            ),
            (
                16,
                "AssessCustomerRisk",
                json!({"customer_id": customer(i % self.customers), "score": i % 100, "reason": "orders",
                    "assessed_at": time(i)}),
            ),
            (17, "ConfirmOrder", json!({"order_id": format!("nobody-{i}")})),
            (
                10,
                "CreateCart",
                json!({"cart_id": format!("cart-{i}"), "customer_id": customer(i % self.customers), "currency": "USD"}),
            ),
        ];
        let due = changes.into_iter().filter(|(every, ..)| i.is_multiple_of(*every));
        due.map(|(_, name, data)| command(name, if name == "ConfirmOrder" { i + 1_000_000 } else { i }, data))
            .collect()
    }

    fn line(&self, i: usize, line: usize) -> Value {
        json!({
            "product_id": self.product(i, line), "quantity": 1 + (i + line) % 9,
            "unit_price": 100 + (i * 31 + line * 17) % 5_000, "discount_bp": (i % 4) * 575,
        })
    }

    fn product(&self, i: usize, line: usize) -> String {
        product((i * 7 + line) % self.products)
    }
}

/// A line for `millrace send`, with an id that describes it and a fixed time.
pub fn command(name: &str, number: usize, data: Value) -> String {
    command_with_id(&format!("{name}-{number}"), name, number, data)
}

/// As [`command`], with a given id.
pub fn command_with_id(id: &str, name: &str, number: usize, data: Value) -> String {
    json!({
        "id": id, "source": "stories", "type": name, "time": time(number), "correlationid": format!("talk-{number}"),
        "traceparent": format!("00-{:032x}-{:016x}-01", number + 1, number + 1), "data": data,
    })
    .to_string()
}

/// Registers a customer.
pub fn register(i: usize) -> String {
    command("RegisterCustomer", i, details(i, "Berlin"))
}

/// Adds a product.
pub fn add_product(i: usize) -> String {
    let category = CATEGORIES[i % CATEGORIES.len()];
    let data = json!({
        "product_id": product(i), "name": format!("Product {i}"), "category": category, "price": 500 + i, "currency": "USD",
    });
    command("AddProduct", i, data)
}

/// Receives more stock of a product than any load needs.
pub fn receive(i: usize) -> String {
    command("ReceiveStock", i, json!({"product_id": product(i), "quantity": 1_000_000}))
}

/// Places an order of one line, whether or not its customer and its product are there.
pub fn place(i: usize, customer: &str, product: &str) -> String {
    let line = json!({"product_id": product, "quantity": 1, "unit_price": 100, "discount_bp": 0});
    let data = json!({
        "order_id": order(i), "customer_id": customer, "placed_at": time(i), "currency": "USD",
        "lines": [line], "total": 100,
    });
    command("PlaceOrder", i, data)
}

fn details(i: usize, city: &str) -> Value {
    json!({
        "customer_id": customer(i), "name": format!("Customer {i}"), "contact_name": null,
        "email": format!("c{i}@example.com"), "phone": null, "city": city, "country": "Germany",
    })
}

fn amount(line: &Value) -> i64 {
    let [quantity, price, discount] =
        ["quantity", "unit_price", "discount_bp"].map(|f| line[f].as_i64().unwrap());
    (quantity * price * (10_000 - discount) + 5_000) / 10_000
}

/// The id of a customer.
pub fn customer(i: usize) -> String {
    format!("customer-{i:04}")
}

/// The id of a product.
pub fn product(i: usize) -> String {
    format!("product-{i:04}")
}

/// The id of an order.
pub fn order(i: usize) -> String {
    format!("order-{i:06}")
}

fn time(second: usize) -> String {
    let began = DateTime::from_timestamp(1_704_067_200, 0).unwrap();
    let seconds = TimeDelta::seconds(i64::try_from(second % 10_000_000).unwrap());
    (began + seconds).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
