//! The decision to place an order.

use millrace_schemas::orders::{OrderPlaced, OrderPlacedLine, OrderShipTo, PlaceOrder, PlaceOrderLine};

use super::{Decision, Order, refusals};
use crate::contexts::catalog::{self, Catalog};
use crate::contexts::customers::{self, Address, CustomerPublic, Customers};
use crate::rules::{self, Checked};
use crate::{Reference, References, Rejection, emit};

/// The customer and every product. A malformed order refers to nothing: it is rejected for what it is, not kept
/// waiting for what it names.
pub(super) fn references(command: &PlaceOrder) -> Vec<Reference> {
    if amounts(command).is_err() {
        return Vec::new();
    }
    let customer = Reference::to::<Customers>(&command.customer_id);
    let products = command.lines.iter().map(|line| Reference::to::<Catalog>(&line.product_id));
    std::iter::once(customer).chain(products).collect()
}

/// Places an order that is not there yet.
pub(super) fn place(known: Option<&Order>, references: &References, command: &PlaceOrder) -> Decision {
    let amounts = amounts(command)?;
    if known.is_some() {
        return Err(exists(&command.order_id));
    }
    let missing = customers::refusals::CUSTOMER_MISSING;
    let customer = references.required::<Customers>(missing, "customer_id", &command.customer_id)?;
    let lines = command.lines.iter().zip(amounts).map(|(line, amount)| placed_line(references, line, amount));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let ship_to = ship_to(&customer, command)?;
    let PlaceOrder { order_id, customer_id, currency, placed_at, total, .. } = command.clone();
    Ok(vec![emit(OrderPlaced {
        order_id,
        customer_id,
        customer_name: customer.name,
        customer_country: customer.country,
        currency,
        placed_at,
        lines,
        total,
        ship_to,
    })])
}

/// A copy of the address that the command names, or else of the default one: it may change, and the order ships to this one.
fn ship_to(customer: &CustomerPublic, command: &PlaceOrder) -> Result<Option<OrderShipTo>, Rejection> {
    let named = command.ship_to.as_deref();
    match (customer.addresses.get(named), named) {
        (Some(address), _) => Ok(Some(copied(address))),
        (None, None) => Ok(None),
        (None, Some(id)) => Err(no_address(id)),
    }
}

fn no_address(address_id: &str) -> Rejection {
    let id = rules::quoted(address_id);
    let way_out =
        "send SetCustomerAddress, await its receipt and send a new command; or correct the id, or send null";
    refusals::ADDRESS_UNKNOWN.because(format!("ship_to {id} is no address of the customer: {way_out}"))
}

fn copied(address: &Address) -> OrderShipTo {
    let Address { recipient, line1, line2, postal_code, city, region, country } = address.clone();
    OrderShipTo { recipient, line1, line2, postal_code, city, region, country }
}

fn placed_line(
    references: &References,
    line: &PlaceOrderLine,
    amount: i64,
) -> Result<OrderPlacedLine, Rejection> {
    let PlaceOrderLine { product_id, quantity, unit_price, discount_bp } = line.clone();
    let missing = catalog::refusals::PRODUCT_MISSING;
    let product = references.required::<Catalog>(missing, "product_id", &product_id)?;
    let (product_name, category) = (product.name, product.category);
    Ok(OrderPlacedLine { product_id, product_name, category, quantity, unit_price, discount_bp, amount })
}

/// The line amounts of a well-formed order.
fn amounts(command: &PlaceOrder) -> Result<Vec<i64>, Rejection> {
    check(command)?;
    let lines = command.lines.iter().enumerate();
    let amounts = lines.map(|(index, line)| amount(index, line)).collect::<Result<Vec<_>, _>>()?;
    // Each amount is within the limit and there are at most 500, so the sum cannot overflow.
    let sum: i64 = amounts.iter().sum();
    check_total(command.total, sum)?;
    Ok(amounts)
}

fn check(command: &PlaceOrder) -> Checked {
    rules::id("order_id", &command.order_id)?;
    rules::id("customer_id", &command.customer_id)?;
    rules::currency(&command.currency)?;
    rules::time("placed_at", command.placed_at)?;
    rules::line_count("lines", refusals::ORDER_EMPTY, command.lines.len())?;
    rules::each_once("lines", command.lines.iter().map(|line| line.product_id.as_str()))
}

fn amount(index: usize, line: &PlaceOrderLine) -> Result<i64, Rejection> {
    rules::id(format_args!("lines[{index}].product_id"), &line.product_id)?;
    rules::quantity(format_args!("lines[{index}].quantity"), line.quantity)?;
    rules::price(format_args!("lines[{index}].unit_price"), line.unit_price)?;
    rules::discount(format_args!("lines[{index}].discount_bp"), line.discount_bp)?;
    let amount = rules::line_amount(line.quantity, line.unit_price, line.discount_bp);
    amount.filter(|amount| *amount <= rules::TOTAL_MAX).ok_or_else(|| {
        let too_much = format!("an order may cost at most {} minor units, split it", rules::TOTAL_MAX);
        refusals::AMOUNT_TOO_LARGE
            .because(format!("lines[{index}].quantity * unit_price is too large: {too_much}"))
    })
}

fn check_total(total: i64, sum: i64) -> Checked {
    if total != sum {
        let way_out =
            "correct the total or the lines (each is quantity * unit_price less the discount, half up)";
        let message = format!("total is {total}, but the lines add up to {sum} minor units: {way_out}");
        return Err(refusals::TOTAL_MISMATCH.because(message));
    }
    if total > rules::TOTAL_MAX {
        let message =
            format!("total is {total}: an order may cost at most {} minor units, split it", rules::TOTAL_MAX);
        return Err(refusals::AMOUNT_TOO_LARGE.because(message));
    }
    Ok(())
}

fn exists(order_id: &str) -> Rejection {
    let id = rules::quoted(order_id);
    refusals::ORDER_EXISTS.because(format!("order_id {id} was already placed: take another id"))
}
