//! Decisions about reservations: all products of a command, or none.

use millrace_schemas::inventory::{
    Event, ReleaseStock, ReserveStock, ReserveStockLine, ShipStock, StockReleased, StockReserved,
    StockShipped,
};

use super::{Decision, Stock, refusals};
use crate::rules::{self, Checked};
use crate::{Emitted, Rejection, Streams, emit};

/// Reserves every line, or nothing when one is not possible.
pub(super) fn reserve(streams: &Streams<Stock>, command: &ReserveStock) -> Decision {
    rules::id("reservation_id", &command.reservation_id)?;
    rules::line_count("lines", refusals::RESERVATION_EMPTY, command.lines.len())?;
    rules::each_once("lines", command.lines.iter().map(|line| line.product_id.as_str()))?;
    let lines = command.lines.iter().enumerate();
    lines.map(|(index, line)| reserve_line(streams, &command.reservation_id, index, line)).collect()
}

fn reserve_line(
    streams: &Streams<Stock>,
    reservation_id: &str,
    index: usize,
    line: &ReserveStockLine,
) -> Result<Emitted<Event>, Rejection> {
    let ReserveStockLine { product_id, quantity } = line.clone();
    rules::id(format_args!("lines[{index}].product_id"), &product_id)?;
    rules::quantity(format_args!("lines[{index}].quantity"), quantity)?;
    let stock = streams.get(&product_id);
    if stock.is_some_and(|stock| stock.reservations.get(reservation_id).is_some()) {
        return Err(exists(reservation_id, &product_id));
    }
    let available = stock.map_or(0, Stock::available);
    if quantity > available {
        return Err(insufficient(index, line, available));
    }
    Ok(emit(StockReserved { product_id, reservation_id: reservation_id.to_owned(), quantity }))
}

/// Gives the reserved units of every named product back.
pub(super) fn release(streams: &Streams<Stock>, command: &ReleaseStock) -> Decision {
    let reservation = &command.reservation_id;
    let reserved = reserved(streams, reservation, &command.product_ids)?.into_iter();
    let event = |(product_id, quantity)| {
        emit(StockReleased { product_id, reservation_id: reservation.clone(), quantity })
    };
    Ok(reserved.map(event).collect())
}

/// Takes the reserved units of every named product out of the warehouse.
pub(super) fn ship(streams: &Streams<Stock>, command: &ShipStock) -> Decision {
    let reservation = &command.reservation_id;
    let reserved = reserved(streams, reservation, &command.product_ids)?.into_iter();
    let event = |(product_id, quantity)| {
        emit(StockShipped { product_id, reservation_id: reservation.clone(), quantity })
    };
    Ok(reserved.map(event).collect())
}

/// The reserved quantity of every named product.
fn reserved(
    streams: &Streams<Stock>,
    reservation_id: &str,
    product_ids: &[String],
) -> Result<Vec<(String, i64)>, Rejection> {
    check_products(reservation_id, product_ids)?;
    let quantity = |product_id: &String| {
        let reserved = streams.get(product_id).and_then(|stock| stock.reservations.get(reservation_id));
        let quantity = reserved.ok_or_else(|| unknown(reservation_id, product_id))?;
        Ok((product_id.clone(), quantity))
    };
    product_ids.iter().map(quantity).collect()
}

fn check_products(reservation_id: &str, product_ids: &[String]) -> Checked {
    rules::id("reservation_id", reservation_id)?;
    rules::line_count("product_ids", refusals::RESERVATION_EMPTY, product_ids.len())?;
    rules::each_once("product_ids", product_ids.iter().map(String::as_str))
}

fn exists(reservation_id: &str, product_id: &str) -> Rejection {
    let (reservation, product) = (rules::quoted(reservation_id), rules::quoted(product_id));
    let message = format!(
        "reservation_id {reservation} has already reserved the product {product}: release it first, or take \
             another reservation_id"
    );
    refusals::RESERVATION_EXISTS.because(message)
}

fn insufficient(index: usize, line: &ReserveStockLine, available: i64) -> Rejection {
    let (product, quantity) = (rules::quoted(&line.product_id), line.quantity);
    let message = format!(
        "lines[{index}].quantity is {quantity}, but only {available} of the product {product} are available: \
             reserve less, or receive stock first"
    );
    refusals::STOCK_INSUFFICIENT.because(message)
}

fn unknown(reservation_id: &str, product_id: &str) -> Rejection {
    let (reservation, product) = (rules::quoted(reservation_id), rules::quoted(product_id));
    let message = format!(
        "reservation_id {reservation} has reserved nothing of the product {product}, or it was released or \
             shipped: name only products that are reserved"
    );
    refusals::RESERVATION_UNKNOWN.because(message)
}
