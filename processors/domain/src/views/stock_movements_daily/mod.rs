//! Stock movements by product and day: how many units came, were promised and went.

use chrono::NaiveDate;
use millrace_schemas::Event;
use millrace_schemas::inventory::Event as Inventory;
use serde::Serialize;

use crate::{Recorded, Tally};

/// The tally of stock movements.
#[derive(Debug)]
pub struct StockMovementsDaily;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MovementsKey {
    /// The product.
    pub product_id: String,
    /// The day on which the units moved, UTC.
    pub day: NaiveDate,
}

/// What is added up, in units. On hand are those received, adjusted and returned, less those shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Movements {
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
}

impl Tally for StockMovementsDaily {
    const NAME: &'static str = "stock_movements_daily";
    const CONTEXTS: &'static [&'static str] = &["inventory"];
    const KEYS: &'static [&'static str] = &["product_id", "day"];
    const AMOUNTS: &'static [&'static str] =
        &["received", "adjusted", "reserved", "released", "shipped", "returned"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = MovementsKey;
    type Amounts = Movements;

    fn delta(recorded: &Recorded) -> Vec<(MovementsKey, Movements)> {
        let Event::Inventory(event) = &recorded.event else { return Vec::new() };
        let (product_id, movements) = moved(event);
        let day = recorded.occurred_at.date_naive();
        vec![(MovementsKey { product_id: product_id.to_owned(), day }, movements)]
    }

    fn add(left: &Movements, right: &Movements) -> Option<Movements> {
        sum!(Movements { received, adjusted, reserved, released, shipped, returned }, left, right)
    }
}

/// The product, and what happened to its stock.
fn moved(event: &Inventory) -> (&str, Movements) {
    let none = Movements::default();
    match event {
        Inventory::StockReceived(event) => {
            (&event.product_id, Movements { received: event.quantity, ..none })
        }
        Inventory::StockAdjusted(event) => {
            (&event.product_id, Movements { adjusted: event.difference, ..none })
        }
        Inventory::StockReserved(event) => {
            (&event.product_id, Movements { reserved: event.quantity, ..none })
        }
        Inventory::StockReleased(event) => {
            (&event.product_id, Movements { released: event.quantity, ..none })
        }
        Inventory::StockShipped(event) => (&event.product_id, Movements { shipped: event.quantity, ..none }),
        Inventory::StockReturned(event) => {
            (&event.product_id, Movements { returned: event.quantity, ..none })
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use millrace_schemas::inventory::StockAdjusted;

    use super::*;
    use crate::testing::{assert_same_sums_in_any_order, fold_tally, recorded};
    use crate::views::tests::{
        assert_tallys_table, order_placed, stock_received, stock_released, stock_reserved, stock_returned,
        stock_shipped,
    };

    fn adjusted(product_id: &str, difference: i64) -> Event {
        let adjusted = StockAdjusted { product_id: product_id.into(), difference, reason: "counted".into() };
        Event::Inventory(adjusted.into())
    }

    fn movements(events: &[Event]) -> Vec<(String, Movements)> {
        let sums = fold_tally::<StockMovementsDaily>(events).into_iter();
        sums.map(|(key, sum)| (key.product_id, sum)).collect()
    }

    #[test]
    fn the_table_has_keys_and_amounts_in_order() {
        let key = MovementsKey { product_id: "1".into(), day: NaiveDate::MIN };
        assert_tallys_table::<StockMovementsDaily>(&key);
    }

    #[test]
    fn every_movement_of_a_product_is_added_to_its_own_sum() {
        let events = [
            stock_received("1", 100),
            stock_received("1", 20),
            adjusted("1", -3),
            stock_reserved("1", "a", 10),
            stock_reserved("1", "b", 5),
            stock_released("1", "b", 5),
            stock_shipped("1", "a", 10),
            stock_returned("1", "a", 2),
            stock_received("2", 7),
        ];
        let first =
            Movements { received: 120, adjusted: -3, reserved: 15, released: 5, shipped: 10, returned: 2 };
        let second = Movements { received: 7, ..Movements::default() };
        assert_eq!(movements(&events), [("1".to_owned(), first), ("2".to_owned(), second)]);
    }

    #[test]
    fn a_movement_counts_on_the_day_on_which_it_happened() {
        let event = recorded(&stock_received("1", 5), 1);
        let later = Recorded { occurred_at: event.occurred_at + TimeDelta::days(1), ..event.clone() };
        let events = [event, later];
        let keys = events.iter().flat_map(StockMovementsDaily::delta).map(|(key, _)| key);
        let days = keys.map(|key| key.day.to_string());
        assert_eq!(days.collect::<Vec<_>>(), ["1970-01-01", "1970-01-02"]);
    }

    #[test]
    fn what_happens_elsewhere_moves_no_stock() {
        assert_eq!(movements(&[order_placed("1", 0)]), []);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        let streams = [
            vec![stock_received("1", 9), stock_reserved("1", "a", 2), stock_shipped("1", "a", 2)],
            vec![stock_received("2", 4), stock_reserved("2", "a", 1), stock_released("2", "a", 1)],
        ];
        assert_same_sums_in_any_order::<StockMovementsDaily>(&streams);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = Movements { adjusted: i64::MIN, ..Movements::default() };
        assert_eq!(StockMovementsDaily::add(&most, &Movements { adjusted: -1, ..most }), None);
    }
}
