//! `millrace customer show`: all that is known of a customer, with the version and the freshness of each part.

use clap::{Args, Subcommand};
use millrace_ops::config::Config;
use millrace_ops::customer;
use millrace_ops::failure::Failure;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::output::{self, Format, Table};

/// The help's examples and notes.
pub const HELP: &str = "Examples:
  millrace customer show ALFKI
  millrace --format json customer show ALFKI

The document is that of the SQL function `customer_360`. Each view follows the events with a delay of its own: `version` counts \
the events of a part, `updated` is when the last of them happened, `applied` when its view applied it. `millrace verify \
--customer ID` compares all of it with the events.

Exit code 4 when no view knows the customer.";

/// What to do with customers.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show all that is known of a customer
    Show(Show),
}

/// Options of `customer show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The customer
    customer_id: String,
}

/// Runs the action.
///
/// # Errors
/// [`Failure::NotFound`] when no view knows the customer.
pub async fn customer(config: &Config, format: Format, action: &Action) -> Result<(), Failure> {
    let Action::Show(Show { customer_id }) = action;
    let document = customer::document(config, customer_id).await?;
    output::print(format, &text(&document), &Known(document))
}

/// All that is known of a customer: the document of the SQL function `customer_360`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Customer360")]
pub(crate) struct Known(#[schemars(with = "serde_json::Map<String, Value>")] Value);

/// The profile, then a table for each part that has rows.
fn text(document: &Value) -> String {
    let id = cell(document, "customer_id");
    let mut text = format!("customer {id} as of {}\n\n{}", cell(document, "as_of"), profile(document));
    let lists: [(&str, &[&str]); 7] = [
        ("accounts", &["account_id", "kind", "status", "currency", "balance", "available", "last_booked_at"]),
        ("transactions", &["currency", "days", "entries", "amount_in", "amount_out"]),
        ("orders", &["order_id", "status", "payment_status", "currency", "total", "placed_at"]),
        ("payments", &["order_id", "status", "currency", "amount", "captured", "refunded", "requested_at"]),
        ("subscriptions", &["subscription_id", "plan", "status", "currency", "amount", "next_renewal_at"]),
        ("carts", &["cart_id", "status", "currency", "total", "created_at"]),
        ("history", &["at", "kind", "reference_id", "currency", "amount"]),
    ];
    for (name, columns) in lists {
        text.push_str(&section(name, columns, document.get(name)));
    }
    let favourites = |name: &str| document.get("favourites").and_then(|all| all.get(name));
    text.push_str(&section(
        "favourite categories",
        &["category", "units", "lines"],
        favourites("categories"),
    ));
    text.push_str(&section("favourite products", &["product_id", "units", "lines"], favourites("products")));
    text + &parts(document)
}

/// A line for each field that has a value.
fn profile(document: &Value) -> String {
    let mut table = Table::new(&["profile", "value"]);
    let fields = document.get("profile").and_then(Value::as_object);
    let is_shown = |value: &Value| !value.is_null() && *value != Value::Array(Vec::new());
    for (name, value) in fields.into_iter().flatten().filter(|(_, value)| is_shown(value)) {
        table.row([name.clone(), shown(value)]);
    }
    table.render()
}

fn section(name: &str, columns: &[&str], rows: Option<&Value>) -> String {
    let mut table = Table::new(columns);
    for row in rows.and_then(Value::as_array).into_iter().flatten() {
        table.row(columns.iter().map(|column| cell(row, column)));
    }
    if table.is_empty() { String::new() } else { format!("\n{name}\n{}", table.render()) }
}

fn parts(document: &Value) -> String {
    let mut table = Table::new(&["part", "version", "updated", "applied"]);
    let parts = document.get("parts").and_then(Value::as_object);
    for (name, part) in parts.into_iter().flatten() {
        let known = ["version", "updated_at", "applied_at"].map(|field| cell(part, field));
        table.row(std::iter::once(name.clone()).chain(known));
    }
    format!("\n{}", table.render())
}

fn cell(row: &Value, column: &str) -> String {
    row.get(column).map_or_else(String::new, shown)
}

/// A text without its quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_customer_shows_what_is_known_and_how_fresh_each_part_is() {
        let document = json!({
            "customer_id": "ALFKI", "as_of": "2026-11-29T10:00:00Z",
            "parts": {"orders": {"version": 3, "updated_at": "2026-11-29T09:00:00Z", "applied_at": null}},
            "profile": {"name": "Alfreds", "email": null, "paid": [], "reviews": 2},
            "favourites": {"categories": [{"category": "Tea", "units": 7, "lines": 2}], "products": []},
            "accounts": [], "orders": [{"order_id": "1", "status": "placed", "currency": "EUR", "total": 700}],
        });
        let text = text(&document);
        for line in [
            "customer ALFKI as of 2026-11-29T10:00:00Z",
            "name     Alfreds",
            "reviews  2",
            "Tea       7      2",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert!(text.contains("orders  3        2026-11-29T09:00:00Z"), "{text}");
        for nothing in ["email", "paid", "accounts", "favourite products"] {
            assert!(!text.contains(nothing), "{nothing}:\n{text}");
        }
    }
}
