//! The decision to check a cart out as an order.

use millrace_schemas::carts::{CartCheckedOut, CartCheckedOutLine, CheckOutCart};

use super::{Cart, Decision, Item, refusals, total};
use crate::emit;
use crate::rules::{self, Checked};

/// Checks a cart out that has something in it.
pub(super) fn check_out(cart: &Cart, command: &CheckOutCart) -> Decision {
    let CheckOutCart { cart_id, order_id, checked_out_at } = command.clone();
    rules::id("order_id", &order_id)?;
    rules::time("checked_out_at", checked_out_at)?;
    check_filled(cart, &cart_id)?;
    let (customer_id, currency) = (cart.customer_id.clone(), cart.currency.clone());
    let lines = cart.items.iter().map(line).collect();
    let total = total(cart.items.values())?;
    Ok(vec![emit(CartCheckedOut { cart_id, order_id, customer_id, currency, lines, total, checked_out_at })])
}

fn check_filled(cart: &Cart, cart_id: &str) -> Checked {
    if !cart.items.is_empty() {
        return Ok(());
    }
    let id = rules::quoted(cart_id);
    Err(refusals::CART_EMPTY.because(format!("cart_id {id} is empty: send AddToCart first")))
}

fn line((product_id, item): (&String, &Item)) -> CartCheckedOutLine {
    let (product_id, Item { quantity, unit_price }) = (product_id.clone(), *item);
    CartCheckedOutLine { product_id, quantity, unit_price }
}
