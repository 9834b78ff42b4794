//! Stock reservations: what was reserved together, and where those units are now.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::inventory::Event as Inventory;
use serde::{Deserialize, Serialize};

use crate::{Recorded, View};

/// The view of stock reservations.
#[derive(Debug)]
pub struct StockReservationView;

/// Where reserved units are. Of a whole reservation: the first of these that any of its units is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationStatus {
    /// In the warehouse, promised.
    #[default]
    Reserved,
    /// Out of the warehouse.
    Shipped,
    /// Back in the warehouse after they were shipped.
    Returned,
    /// In the warehouse, promised no longer.
    Released,
}

/// One reservation. Units that were reserved again after a release count once, as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReservationRow {
    /// The reservation.
    pub reservation_id: String,
    /// Where its units are.
    pub status: ReservationStatus,
    /// Units that are reserved.
    pub reserved: i64,
    /// Units that are shipped.
    pub shipped: i64,
    /// Units that came back.
    pub returned: i64,
    /// Units that were released.
    pub released: i64,
    /// When the first of them was reserved.
    pub reserved_at: Option<DateTime<Utc>>,
    /// When the last of them so far was released or shipped. With nothing reserved any more, that settled it.
    pub settled_at: Option<DateTime<Utc>>,
    /// Its units by product and status, in that order.
    pub lines: Vec<ReservationLine>,
}

/// Units of one product that are in the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationLine {
    /// The product.
    pub product_id: String,
    /// Units.
    pub quantity: i64,
    /// Where they are.
    pub status: ReservationStatus,
}

impl View for StockReservationView {
    const NAME: &'static str = "stock_reservations";
    const CONTEXTS: &'static [&'static str] = &["inventory"];
    const KEY: &'static str = "reservation_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    type Row = StockReservationRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        let reservation = match &recorded.event {
            Event::Inventory(event) => reservation(event),
            _ => None,
        };
        reservation.map(str::to_owned).into_iter().collect()
    }

    fn evolve(row: StockReservationRow, key: &str, recorded: &Recorded) -> StockReservationRow {
        let row = StockReservationRow { reservation_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Inventory(event) => row.after(event, recorded.occurred_at).counted(),
            _ => row,
        }
    }
}

fn reservation(event: &Inventory) -> Option<&str> {
    match event {
        Inventory::StockReserved(event) => Some(&event.reservation_id),
        Inventory::StockReleased(event) => Some(&event.reservation_id),
        Inventory::StockShipped(event) => Some(&event.reservation_id),
        Inventory::StockReturned(event) => Some(&event.reservation_id),
        Inventory::StockAdjusted(_) | Inventory::StockReceived(_) => None,
    }
}

impl StockReservationRow {
    fn after(self, event: &Inventory, at: DateTime<Utc>) -> Self {
        use ReservationStatus::{Released, Reserved, Returned, Shipped};
        match event {
            Inventory::StockReserved(event) => {
                let reserved_at = Some(self.reserved_at.map_or(at, |known| known.min(at)));
                let row = self.without_released(&event.product_id);
                Self { reserved_at, ..row.add(&event.product_id, Reserved, event.quantity) }
            }
            Inventory::StockReleased(event) => {
                self.moved(&event.product_id, event.quantity, (Reserved, Released)).settled(at)
            }
            Inventory::StockShipped(event) => {
                self.moved(&event.product_id, event.quantity, (Reserved, Shipped)).settled(at)
            }
            Inventory::StockReturned(event) => {
                self.moved(&event.product_id, event.quantity, (Shipped, Returned))
            }
            Inventory::StockAdjusted(_) | Inventory::StockReceived(_) => self,
        }
    }

    fn settled(self, at: DateTime<Utc>) -> Self {
        Self { settled_at: self.settled_at.max(Some(at)), ..self }
    }

    /// What is reserved again is not released any more.
    fn without_released(mut self, product_id: &str) -> Self {
        let released = ReservationStatus::Released;
        self.lines.retain(|line| line.product_id != product_id || line.status != released);
        self
    }

    fn moved(
        self,
        product_id: &str,
        quantity: i64,
        (from, to): (ReservationStatus, ReservationStatus),
    ) -> Self {
        self.add(product_id, from, quantity.wrapping_neg()).add(product_id, to, quantity)
    }

    /// The context bounds what is reserved; wrapping only keeps this total. More may come back than was shipped.
    fn add(mut self, product_id: &str, status: ReservationStatus, quantity: i64) -> Self {
        let place =
            |line: &ReservationLine| (line.product_id.as_str(), line.status).cmp(&(product_id, status));
        match self.lines.binary_search_by(place).map(|index| self.lines.get_mut(index)) {
            Ok(line) => line.into_iter().for_each(|l| l.quantity = l.quantity.wrapping_add(quantity)),
            Err(index) => {
                let product_id = product_id.to_owned();
                self.lines.insert(index, ReservationLine { product_id, quantity, status });
            }
        }
        self.lines.retain(|line| line.quantity != 0);
        self
    }

    fn counted(self) -> Self {
        use ReservationStatus::{Released, Reserved, Returned, Shipped};
        let units = |status| {
            let lines = self.lines.iter().filter(|line| line.status == status);
            lines.fold(0_i64, |sum, line| sum.wrapping_add(line.quantity))
        };
        let [reserved, shipped, returned, released] = [Reserved, Shipped, Returned, Released].map(units);
        let status = match (reserved, shipped, returned) {
            (1.., _, _) => Reserved,
            (_, 1.., _) => Shipped,
            (_, _, 1..) => Returned,
            _ => Released,
        };
        Self { status, reserved, shipped, returned, released, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, happened};
    use crate::views::tests::{
        stock_received, stock_released, stock_reserved, stock_returned, stock_shipped,
    };

    fn only_row(streams: &[Vec<Event>]) -> StockReservationRow {
        let rows = assert_same_rows_in_any_order::<StockReservationView>(streams);
        assert_eq!(rows.len(), 1);
        rows.into_values().next().expect("one row")
    }

    /// Units that are reserved, shipped, returned and released.
    fn units(row: &StockReservationRow) -> [i64; 4] {
        [row.reserved, row.shipped, row.returned, row.released]
    }

    fn line(product_id: &str, quantity: i64, status: ReservationStatus) -> ReservationLine {
        ReservationLine { product_id: product_id.into(), quantity, status }
    }

    #[test]
    fn products_that_are_reserved_together_are_one_row_whatever_comes_first() {
        let row = only_row(&[
            vec![stock_received("2", 9), stock_received("2", 9), stock_reserved("2", "r", 4)],
            vec![stock_received("1", 9), stock_reserved("1", "r", 5)],
        ]);
        let lines = [line("1", 5, ReservationStatus::Reserved), line("2", 4, ReservationStatus::Reserved)];
        assert_eq!(
            (row.status, units(&row), row.lines.as_slice()),
            (lines[0].status, [9, 0, 0, 0], &lines[..])
        );
        assert_eq!((row.reserved_at, row.settled_at), (Some(happened(2)), None));
    }

    #[test]
    fn a_reservation_is_reserved_while_any_unit_is() {
        let row = only_row(&[
            vec![stock_reserved("1", "r", 5), stock_shipped("1", "r", 5)],
            vec![stock_reserved("2", "r", 4), stock_released("2", "r", 4)],
            vec![stock_reserved("3", "r", 3)],
        ]);
        assert_eq!((row.status, units(&row)), (ReservationStatus::Reserved, [3, 5, 0, 4]));
    }

    #[test]
    fn a_reservation_is_shipped_while_any_shipped_unit_is_out() {
        let row = only_row(&[
            vec![stock_reserved("1", "r", 5), stock_shipped("1", "r", 5), stock_returned("1", "r", 2)],
            vec![stock_reserved("2", "r", 4), stock_released("2", "r", 4)],
        ]);
        assert_eq!((row.status, units(&row)), (ReservationStatus::Shipped, [0, 3, 2, 4]));
        let [shipped, returned] =
            [line("1", 3, ReservationStatus::Shipped), line("1", 2, ReservationStatus::Returned)];
        assert_eq!(row.lines, [shipped, returned, line("2", 4, ReservationStatus::Released)]);
    }

    #[test]
    fn a_reservation_whose_shipped_units_came_back_is_returned() {
        let row = only_row(&[
            vec![stock_reserved("1", "r", 5), stock_shipped("1", "r", 5), stock_returned("1", "r", 5)],
            vec![stock_reserved("2", "r", 4), stock_released("2", "r", 4)],
        ]);
        assert_eq!((row.status, units(&row)), (ReservationStatus::Returned, [0, 0, 5, 4]));
    }

    #[test]
    fn a_reservation_is_settled_by_its_last_release_or_shipment_and_not_by_a_return() {
        let row = only_row(&[
            vec![stock_reserved("1", "r", 5), stock_shipped("1", "r", 5), stock_returned("1", "r", 5)],
            vec![stock_received("2", 9), stock_reserved("2", "r", 4), stock_released("2", "r", 4)],
        ]);
        assert_eq!((row.reserved_at, row.settled_at), (Some(happened(1)), Some(happened(3))));
    }

    #[test]
    fn what_is_reserved_again_after_a_release_counts_as_reserved_only() {
        let again =
            vec![stock_reserved("1", "r", 5), stock_released("1", "r", 5), stock_reserved("1", "r", 3)];
        let row = only_row(&[again.clone(), vec![stock_reserved("2", "r", 4), stock_released("2", "r", 4)]]);
        assert_eq!((row.status, units(&row)), (ReservationStatus::Reserved, [3, 0, 0, 4]));
        let row = only_row(&[[again, vec![stock_shipped("1", "r", 3)]].concat()]);
        assert_eq!((row.status, units(&row)), (ReservationStatus::Shipped, [0, 3, 0, 0]));
        assert_eq!((row.reserved_at, row.settled_at), (Some(happened(1)), Some(happened(4))));
    }

    #[test]
    fn reservations_do_not_touch_each_other() {
        let product = vec![
            stock_reserved("1", "r", 5),
            stock_reserved("1", "s", 4),
            stock_shipped("1", "r", 5),
            stock_released("1", "s", 4),
        ];
        let rows = assert_same_rows_in_any_order::<StockReservationView>(&[product]);
        let statuses: Vec<ReservationStatus> = rows.values().map(|row| row.status).collect();
        assert_eq!(statuses, [ReservationStatus::Shipped, ReservationStatus::Released]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&only_row(&[vec![stock_reserved("1", "r", 5), stock_shipped("1", "r", 5)]]));
        assert_survives_storage(&StockReservationRow::default());
    }
}
