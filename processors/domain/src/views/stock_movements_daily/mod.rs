//! Stock movements by product and day: how many units came, were promised and went. A document of each, so that a dashboard can
//! show how often stock turns over.

use chrono::NaiveDate;
use millrace_schemas::Event;
use millrace_schemas::inventory::Event as Inventory;
use serde::{Deserialize, Serialize};

use super::part;
use crate::{Recorded, View};

/// The view of stock movements.
#[derive(Debug)]
pub struct StockMovementsDaily;

/// What moved of a product on a day, in units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovementsRow {
    /// The product and the day (`part::key`).
    pub day_id: String,
    /// The product.
    pub product_id: String,
    /// The day on which the units moved, UTC.
    pub day: NaiveDate,
    /// Arrived.
    pub received: i64,
    /// Added or, when it is below 0, taken away by corrections.
    pub adjusted: i64,
    /// Promised.
    pub reserved: i64,
    /// No longer promised, and still here.
    pub released: i64,
    /// Left the warehouse.
    pub shipped: i64,
    /// Came back.
    pub returned: i64,
    /// What the day adds to the units on hand.
    pub change: i64,
    /// The same times the days from 1970-01-01 to the day: a sum of these gives an average over days.
    pub change_days: i64,
}

impl View for StockMovementsDaily {
    const NAME: &'static str = "stock_movements_daily";
    const CONTEXTS: &'static [&'static str] = &["inventory"];
    const KEY: &'static str = "day_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const FOLD: u32 = 2;
    type Row = MovementsRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Inventory(_) => vec![part::key(&recorded.stream, day(recorded))],
            _ => Vec::new(),
        }
    }

    fn evolve(row: MovementsRow, key: &str, recorded: &Recorded) -> MovementsRow {
        let Event::Inventory(event) = &recorded.event else { return row };
        let (day_id, product_id, day) = (key.to_owned(), recorded.stream.clone(), day(recorded));
        MovementsRow { day_id, product_id, day, ..row }.moved(event).summed()
    }
}

fn day(recorded: &Recorded) -> NaiveDate {
    recorded.occurred_at.date_naive()
}

impl MovementsRow {
    /// Sums wrap, so that they are the same in any order.
    fn moved(mut self, event: &Inventory) -> Self {
        let (sum, units) = match event {
            Inventory::StockReceived(event) => (&mut self.received, event.quantity),
            Inventory::StockAdjusted(event) => (&mut self.adjusted, event.difference),
            Inventory::StockReserved(event) => (&mut self.reserved, event.quantity),
            Inventory::StockReleased(event) => (&mut self.released, event.quantity),
            Inventory::StockShipped(event) => (&mut self.shipped, event.quantity),
            Inventory::StockReturned(event) => (&mut self.returned, event.quantity),
        };
        *sum = sum.wrapping_add(units);
        self
    }

    /// `change_days` follows from the row alone, so it may stop at the ends, which keeps its sign.
    fn summed(self) -> Self {
        let came = self.received.wrapping_add(self.adjusted).wrapping_add(self.returned);
        let change = came.wrapping_sub(self.shipped);
        let days = self.day.signed_duration_since(NaiveDate::default()).num_days();
        Self { change, change_days: change.saturating_mul(days), ..self }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use millrace_schemas::inventory::StockAdjusted;

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view, recorded};
    use crate::views::tests::{
        assert_table_and_mapping, order_placed, stock_received, stock_released, stock_reserved,
        stock_returned, stock_shipped,
    };

    fn adjusted(product_id: &str, difference: i64) -> Event {
        let adjusted = StockAdjusted { product_id: product_id.into(), difference, reason: "counted".into() };
        Event::Inventory(adjusted.into())
    }

    fn first_day(product_id: &str) -> MovementsRow {
        let day_id = format!("{product_id}-1970-01-01");
        MovementsRow { day_id, product_id: product_id.into(), ..MovementsRow::default() }
    }

    #[test]
    fn the_table_and_the_mapping_fit_the_row() {
        assert_table_and_mapping::<StockMovementsDaily>(&MovementsRow::default());
    }

    #[test]
    fn every_movement_of_a_product_is_added_to_its_own_row() {
        let streams = [
            vec![
                stock_received("1", 100),
                stock_received("1", 20),
                adjusted("1", -3),
                stock_reserved("1", "a", 10),
                stock_reserved("1", "b", 5),
                stock_released("1", "b", 5),
                stock_shipped("1", "a", 10),
                stock_returned("1", "a", 2),
            ],
            vec![stock_received("2", 7)],
        ];
        let rows = assert_same_rows_in_any_order::<StockMovementsDaily>(&streams);
        let first = MovementsRow {
            received: 120,
            adjusted: -3,
            reserved: 15,
            released: 5,
            shipped: 10,
            returned: 2,
            change: 109,
            ..first_day("1")
        };
        let second = MovementsRow { received: 7, change: 7, ..first_day("2") };
        assert_eq!(rows.into_values().collect::<Vec<_>>(), [first, second]);
    }

    #[test]
    fn a_movement_counts_on_the_day_on_which_it_happened() {
        let event = recorded(&stock_received("1", 5), 1);
        let occurred_at = event.occurred_at + TimeDelta::days(20_000);
        let later = Recorded { occurred_at, ..event.clone() };
        let [keys, later_keys] = [&event, &later].map(StockMovementsDaily::keys);
        assert_eq!((keys, &later_keys[..]), (vec!["1-1970-01-01".into()], &["1-2024-10-04".to_owned()][..]));
        let row = StockMovementsDaily::evolve(MovementsRow::default(), &later_keys[0], &later);
        assert_eq!((row.change, row.change_days), (5, 100_000));
    }

    #[test]
    fn the_largest_movements_are_counted_in_any_order() {
        let on_day = |difference| {
            let event = recorded(&adjusted("1", difference), 1);
            let occurred_at = event.occurred_at + TimeDelta::days(20_000);
            Recorded { occurred_at, ..event }
        };
        let folded = |differences: &[i64]| {
            differences.iter().fold(MovementsRow::default(), |row, difference| {
                StockMovementsDaily::evolve(row, "1-2024-10-04", &on_day(*difference))
            })
        };
        let days = |differences| {
            let row = folded(differences);
            (row.change, row.change_days)
        };
        assert_eq!(days(&[i64::MAX]), (i64::MAX, i64::MAX));
        assert_eq!(days(&[i64::MIN]), (i64::MIN, i64::MIN));
        assert_eq!(days(&[i64::MAX, i64::MAX]), (-2, -40_000));
        assert_eq!(folded(&[i64::MAX, i64::MAX, -7]), folded(&[-7, i64::MAX, i64::MAX]));
        assert_eq!(days(&[i64::MAX, -7, -i64::MAX]), (-7, -140_000));
    }

    #[test]
    fn what_happens_elsewhere_moves_no_stock() {
        assert!(fold_view::<StockMovementsDaily>(&[order_placed("1", 0)]).is_empty());
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&fold_view::<StockMovementsDaily>(&[stock_received("1", 5)])["1-1970-01-01"]);
    }
}
