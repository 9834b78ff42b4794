//! Decisions about what is in a cart.

use millrace_schemas::carts::{
    AddToCart, CartItemAdded, CartItemRemoved, CartQuantityChanged, ChangeCartQuantity, RemoveFromCart,
};

use super::{Cart, Decision, Item, refusals, total};
use crate::contexts::catalog::{self, Catalog, ProductPublic};
use crate::contexts::inventory::Inventory;
use crate::rules::{self, Checked};
use crate::{Reference, References, Rejection, emit};

/// The product. A malformed command refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &AddToCart) -> Vec<Reference> {
    check(command).map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Catalog>(&command.product_id)])
}

/// The stock of a product, where it has one.
pub(super) fn stock(product_id: &str) -> Vec<Reference> {
    rules::id("product_id", product_id)
        .map_or_else(|_| Vec::new(), |()| vec![Reference::to::<Inventory>(product_id)])
}

/// Puts a product that is on sale into the cart, at its list price.
pub(super) fn add(cart: &Cart, references: &References, command: &AddToCart) -> Decision {
    check(command)?;
    let AddToCart { cart_id, product_id, quantity } = command.clone();
    check_room(cart, &product_id)?;
    let missing = catalog::refusals::PRODUCT_MISSING;
    let product = references.required::<Catalog>(missing, "product_id", &product_id)?;
    check_offer(cart, &product, &product_id)?;
    let (product_name, unit_price) = (product.name, product.price);
    check_total(cart, &product_id, Item { quantity, unit_price })?;
    let available = Some(available(references, &product_id));
    Ok(vec![emit(CartItemAdded { cart_id, product_id, product_name, quantity, unit_price, available })])
}

/// What can be reserved now: nothing of a product that never was in stock.
fn available(references: &References, product_id: &str) -> i64 {
    references.get::<Inventory>(product_id).map_or(0, |stock| stock.available)
}

/// Removes a product from the cart.
pub(super) fn remove(cart: &Cart, command: &RemoveFromCart) -> Decision {
    let RemoveFromCart { cart_id, product_id } = command.clone();
    item(cart, &product_id)?;
    Ok(vec![emit(CartItemRemoved { cart_id, product_id })])
}

/// Changes how many units there are of a product.
pub(super) fn change_quantity(
    cart: &Cart,
    references: &References,
    command: &ChangeCartQuantity,
) -> Decision {
    let ChangeCartQuantity { cart_id, product_id, quantity } = command.clone();
    let item = item(cart, &product_id)?;
    rules::quantity("quantity", quantity)?;
    check_total(cart, &product_id, Item { quantity, ..item })?;
    // The same quantity again is accepted without an event.
    if item.quantity == quantity {
        return Ok(Vec::new());
    }
    let available = Some(available(references, &product_id));
    Ok(vec![emit(CartQuantityChanged { cart_id, product_id, quantity, available })])
}

fn check(command: &AddToCart) -> Checked {
    rules::id("product_id", &command.product_id)?;
    rules::quantity("quantity", command.quantity)
}

fn check_room(cart: &Cart, product_id: &str) -> Checked {
    if cart.items.contains_key(product_id) {
        let id = rules::quoted(product_id);
        let message = format!("product_id {id} is in the cart already: send ChangeCartQuantity");
        return Err(rules::refusals::PRODUCT_REPEATED.because(message));
    }
    if cart.items.len() >= rules::LINES_MAX {
        let message =
            format!("the cart has {} products already: put the rest into another cart", cart.items.len());
        return Err(rules::refusals::LINES_TOO_MANY.because(message));
    }
    Ok(())
}

/// A product never changes its currency. Whether it is on sale is as of now: a refused command can be sent again.
fn check_offer(cart: &Cart, product: &ProductPublic, product_id: &str) -> Checked {
    let (id, wanted, offered) = (rules::quoted(product_id), &cart.currency, &product.currency);
    if product.discontinued {
        let message = format!(
            "product_id {id} was discontinued: choose another product, or send a new command when it is back on sale"
        );
        return Err(catalog::refusals::PRODUCT_DISCONTINUED.because(message));
    }
    if offered != wanted {
        let message = format!(
            "product_id {id} has a price in {offered}, but the cart is in {wanted}: use another cart"
        );
        return Err(refusals::CURRENCY_DIFFERS.because(message));
    }
    Ok(())
}

fn check_total(cart: &Cart, product_id: &str, item: Item) -> Checked {
    let others = cart.items.iter().filter(|(id, _)| id.as_str() != product_id).map(|(_, other)| other);
    total(others.chain([&item])).map(|_| ())
}

fn item(cart: &Cart, product_id: &str) -> Result<Item, Rejection> {
    let id = rules::quoted(product_id);
    cart.items.get(product_id).copied().ok_or_else(|| {
        refusals::PRODUCT_NOT_IN_CART
            .because(format!("product_id {id} is not in the cart: send AddToCart, or correct the id"))
    })
}
