//! The decision to take shipped units back: all lines of a command, or none.

use millrace_schemas::inventory::{Event, ReturnStock, ReturnStockLine, StockReturned};

use super::{Decision, Stock, on_hand, overflow, refusals};
use crate::{Emitted, Rejection, Streams, emit, rules};

/// Adds the units of every line to the stock on hand.
pub(super) fn take_back(streams: &Streams<Stock>, command: &ReturnStock) -> Decision {
    rules::id("reservation_id", &command.reservation_id)?;
    rules::line_count("lines", refusals::RETURN_EMPTY, command.lines.len())?;
    rules::each_once("lines", command.lines.iter().map(|line| line.product_id.as_str()))?;
    let lines = command.lines.iter().enumerate();
    lines.map(|(index, line)| take_back_line(streams, &command.reservation_id, index, line)).collect()
}

fn take_back_line(
    streams: &Streams<Stock>,
    reservation_id: &str,
    index: usize,
    line: &ReturnStockLine,
) -> Result<Emitted<Event>, Rejection> {
    let ReturnStockLine { product_id, quantity } = line.clone();
    let field = format!("lines[{index}].quantity");
    rules::id(format_args!("lines[{index}].product_id"), &product_id)?;
    rules::quantity(&field, quantity)?;
    let on_hand = on_hand(streams, &product_id);
    on_hand.checked_add(quantity).ok_or_else(|| overflow(&field, quantity, on_hand))?;
    Ok(emit(StockReturned { product_id, reservation_id: reservation_id.to_owned(), quantity }))
}
