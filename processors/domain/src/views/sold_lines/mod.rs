//! Lines that were sold: a row and a document for each, so that searches and dashboards can add up revenue by whatever they
//! like. Documents of orders have their lines nested, where a sum has no currency.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::orders::{Event as Orders, OrderConfirmed};
use serde::{Deserialize, Serialize};

use super::{part, time};
use crate::{Recorded, View};

/// The view of sold lines.
#[derive(Debug)]
pub struct SoldLineView;

/// One line of an order that was confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoldLineRow {
    /// The order and the place of the line in it, from 1, with a hyphen between them; of an order whose id has more than 480 bytes
    /// the SHA-256 of the id and the place, with a slash.
    pub line_id: String,
    /// The order.
    pub order_id: String,
    /// Who ordered.
    pub customer_id: String,
    /// The customer's country when the order was placed; empty when it was not known.
    pub country: String,
    /// When the customer ordered.
    pub placed_at: DateTime<Utc>,
    /// The product's category when the order was placed.
    pub category: String,
    /// The product.
    pub product_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Units.
    pub units: i64,
    /// What the line costs, in minor units.
    pub revenue: i64,
    /// Whether the order was cancelled afterwards: then it is no revenue.
    pub cancelled: bool,
}

impl View for SoldLineView {
    const NAME: &'static str = "sold_lines";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEY: &'static str = "line_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const FOLD: u32 = 2;
    type Row = SoldLineRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        let lines = match &recorded.event {
            Event::Orders(Orders::OrderConfirmed(event)) => event.lines.len(),
            Event::Orders(Orders::OrderCancelled(event)) if event.confirmed => event.lines.len(),
            _ => 0,
        };
        (1..=lines).map(|place| part::key(&recorded.stream, place)).collect()
    }

    fn evolve(row: SoldLineRow, key: &str, recorded: &Recorded) -> SoldLineRow {
        match &recorded.event {
            Event::Orders(Orders::OrderConfirmed(event)) => sold(key, event).unwrap_or(row),
            Event::Orders(Orders::OrderCancelled(_)) => SoldLineRow { cancelled: true, ..row },
            _ => row,
        }
    }
}

/// The line of this key.
fn sold(key: &str, event: &OrderConfirmed) -> Option<SoldLineRow> {
    let place: usize = key.rsplit_once(['-', '/'])?.1.parse().ok()?;
    let line = event.lines.get(place.checked_sub(1)?)?.clone();
    Some(SoldLineRow {
        line_id: key.to_owned(),
        order_id: event.order_id.clone(),
        customer_id: event.customer_id.clone(),
        country: event.country.clone(),
        placed_at: time(event.placed_at),
        category: line.category,
        product_id: line.product_id,
        currency: event.currency.clone(),
        units: line.quantity,
        revenue: line.amount,
        cancelled: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};
    use crate::views::tests::{
        assert_table_and_mapping, cancelled, confirmed, never_confirmed, order_placed, several_orders,
    };

    #[test]
    fn the_table_and_the_mapping_fit_the_row() {
        assert_table_and_mapping::<SoldLineView>(&SoldLineRow::default());
    }

    #[test]
    fn each_line_of_a_confirmed_order_is_a_row() {
        let rows = fold_view::<SoldLineView>(&[order_placed("a-1", 5), confirmed("a-1", 5)]);
        let lines: Vec<(&str, &str, i64)> =
            rows.iter().map(|(key, row)| (key.as_str(), row.product_id.as_str(), row.revenue)).collect();
        assert_eq!(lines, [("a-1-1", "1", 600), ("a-1-2", "2", 400), ("a-1-3", "3", 500)]);
        let row = &rows["a-1-1"];
        assert_eq!((row.order_id.as_str(), row.customer_id.as_str(), row.units), ("a-1", "VINET", 2));
        assert_eq!((row.country.as_str(), row.cancelled), ("France", false));
    }

    #[test]
    fn lines_of_an_order_with_a_very_long_id_have_short_keys() {
        let order_id = "\u{1F600}".repeat(128);
        let rows = fold_view::<SoldLineView>(&[confirmed(&order_id, 1)]);
        let products: Vec<&str> = rows.values().map(|row| row.product_id.as_str()).collect();
        assert_eq!(products, ["1", "2", "3"]);
        assert!(rows.values().all(|row| row.order_id == order_id && row.line_id.len() == 66));
    }

    #[test]
    fn a_cancellation_marks_the_lines_that_were_sold() {
        let rows = assert_same_rows_in_any_order::<SoldLineView>(&several_orders());
        let sold = rows.values().filter(|row| !row.cancelled).map(|row| row.order_id.as_str());
        assert_eq!(sold.collect::<Vec<_>>(), ["2", "2", "2"]);
        assert_eq!(rows.len(), 9);
    }

    #[test]
    fn what_was_never_confirmed_was_never_sold() {
        let events = [order_placed("1", 1), never_confirmed(cancelled("1", 1))];
        assert!(fold_view::<SoldLineView>(&events).is_empty());
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&fold_view::<SoldLineView>(&[confirmed("1", 1)])["1-1"]);
    }
}
