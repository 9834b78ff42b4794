//! What is sold: the lines of confirmed orders, taken back when such an order is cancelled, as the tallies of sales add
//! them up.

use chrono::NaiveDate;
use millrace_schemas::Event;
use millrace_schemas::orders::Event as Orders;
use serde::Serialize;

use super::time;
use crate::Recorded;

/// The amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sales {
    /// Order lines.
    pub lines: i64,
    /// Units.
    pub units: i64,
    /// What the lines cost, in minor units.
    pub revenue: i64,
}

impl Sales {
    /// The sum of two; `None` on overflow.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        sum!(Self { lines, units, revenue }, self, other)
    }
}

/// One line that was sold, or taken back.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoldLine<'e> {
    /// Who ordered.
    pub(super) customer_id: &'e str,
    /// The day on which the order was placed, UTC.
    pub(super) day: NaiveDate,
    /// The customer's country when the order was placed; empty when it was not known.
    pub(super) country: &'e str,
    /// The product's category when the order was placed.
    pub(super) category: &'e str,
    pub(super) product_id: &'e str,
    pub(super) currency: &'e str,
    pub(super) sales: Sales,
}

/// The lines of an event, each counted so often: both events spell them alike.
macro_rules! lines {
    ($event:ident, $count:literal) => {{
        let day = time($event.placed_at).date_naive();
        let lines = $event.lines.iter().map(|line| SoldLine {
            customer_id: &$event.customer_id,
            day,
            country: &$event.country,
            category: &line.category,
            product_id: &line.product_id,
            currency: &$event.currency,
            sales: Sales {
                lines: $count,
                units: line.quantity.wrapping_mul($count),
                revenue: line.amount.wrapping_mul($count),
            },
        });
        lines.collect()
    }};
}

/// The lines that an event sells or takes back.
pub(super) fn lines(recorded: &Recorded) -> Vec<SoldLine<'_>> {
    match &recorded.event {
        Event::Orders(Orders::OrderConfirmed(event)) => lines!(event, 1),
        // An order that was never confirmed was never counted.
        Event::Orders(Orders::OrderCancelled(event)) if event.confirmed => lines!(event, -1),
        Event::Orders(
            Orders::OrderPlaced(_)
            | Orders::OrderCancelled(_)
            | Orders::OrderDelivered(_)
            | Orders::OrderShipped(_),
        ) => Vec::new(),
        _ => Vec::new(),
    }
}
