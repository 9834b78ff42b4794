//! Renames a category: each of its products is moved to the new name by a command, so that every view and index follows.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::listener::Listener;
use crate::postgres::Database;
use crate::send::{self, Sent};

/// The products of a category, page by page.
const PRODUCTS: &str =
    "SELECT product_id FROM products WHERE category = $1 AND product_id > $2 ORDER BY product_id LIMIT $3";
const PAGE: i64 = 5_000;

/// The requested renaming.
#[derive(Debug, Clone)]
pub struct Renaming {
    /// The name that the category has.
    pub from: String,
    /// The name that it gets; products may have it already.
    pub to: String,
    /// How long to wait for the outcomes of the commands of a page, at most.
    pub timeout: Duration,
}

/// Sends `RecategoriseProduct` for each product that the view `products` has in the category, and waits for the outcomes; `sent` has what
/// was sent, also after an error.
///
/// # Errors
/// [`Failure::NotFound`] when no product is in the category; as [`send::send`].
pub async fn rename(
    config: &Config,
    renaming: &Renaming,
    listener: Arc<dyn Listener>,
    sent: &mut Sent,
) -> Result<(), Failure> {
    let read = Database::of(config, Side::Read)?;
    let request = send::Request { source: send::SOURCE.to_owned(), wait: Some(renaming.timeout) };
    let mut after = String::new();
    loop {
        let products = page(&read, &renaming.from, &after).await?;
        let Some(last) = products.last() else { break };
        after.clone_from(last);
        let commands = Cursor::new(commands(&products, &renaming.to));
        let page = send::send(config, &request, commands, listener.clone()).await?;
        *sent = std::mem::take(sent).and(page);
    }
    match after.as_str() {
        "" => Err(Failure::NotFound(format!("no product is in the category `{}`", renaming.from))),
        _ => Ok(()),
    }
}

async fn page(read: &Database, category: &str, after: &str) -> Result<Vec<String>, Failure> {
    // No category has it, and Postgres refuses it.
    if category.contains('\0') {
        return Ok(Vec::new());
    }
    let products = sqlx::query_scalar(PRODUCTS).bind(category).bind(after).bind(PAGE);
    products.fetch_all(&read.pool).await.map_err(|error| read.failure(error))
}

/// One for each product, on a line.
fn commands(products: &[String], category: &str) -> String {
    let command = |product_id: &String| {
        let data = json!({"product_id": product_id, "category": category});
        format!("{}\n", json!({"type": "RecategoriseProduct", "data": data}))
    };
    products.iter().map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_is_moved_by_a_command_of_its_own() {
        let products = ["1".to_owned(), "2\"".to_owned()];
        let expected = "{\"type\":\"RecategoriseProduct\",\"data\":{\"product_id\":\"1\",\"category\":\"Teas\"}}\n\
                        {\"type\":\"RecategoriseProduct\",\"data\":{\"product_id\":\"2\\\"\",\"category\":\"Teas\"}}\n";
        assert_eq!(commands(&products, "Teas"), expected);
    }
}
