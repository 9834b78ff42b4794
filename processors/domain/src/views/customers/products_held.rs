//! The products that a customer has: those of orders that were confirmed and not cancelled.

use serde::{Deserialize, Serialize};

use super::CustomerRow;

/// A product that a customer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductHeld {
    /// The product.
    pub product_id: String,
    /// Units, of all orders together.
    pub units: i64,
}

impl CustomerRow {
    /// Adds the lines of an order, or takes them back.
    pub(super) fn with_products<'l>(mut self, lines: impl IntoIterator<Item = (&'l str, i64)>) -> Self {
        lines.into_iter().for_each(|(product_id, units)| add(&mut self.products_held, product_id, units));
        // A sum of 0 is the same as none, whatever came first.
        self.products_held.retain(|held| held.units != 0);
        self
    }
}

/// Wrapping, as the sums of money do: the same figure in every order.
fn add(sums: &mut Vec<ProductHeld>, product_id: &str, units: i64) {
    let found = sums.binary_search_by(|held| held.product_id.as_str().cmp(product_id));
    match found.map(|index| sums.get_mut(index)) {
        Ok(held) => held.into_iter().for_each(|h| h.units = h.units.wrapping_add(units)),
        Err(index) => sums.insert(index, ProductHeld { product_id: product_id.to_owned(), units }),
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;
    use millrace_schemas::orders::Event as Orders;

    use super::*;
    use crate::View as _;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::customers::CustomerView;
    use crate::views::tests::{
        assert_maps, cancelled, confirmed, fields, never_confirmed, order_placed, properties, shipped,
    };

    fn row_after(streams: &[Vec<Event>]) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        rows.into_values().next().expect("one row")
    }

    fn held(row: &CustomerRow) -> Vec<(&str, i64)> {
        row.products_held.iter().map(|held| (held.product_id.as_str(), held.units)).collect()
    }

    /// The same confirmation of only one product.
    fn of_only(product_id: &str, mut event: Event) -> Event {
        match &mut event {
            Event::Orders(Orders::OrderConfirmed(event)) => {
                event.lines.retain(|line| line.product_id == product_id);
            }
            other => panic!("{other:?} is no confirmation"),
        }
        event
    }

    #[test]
    fn units_of_confirmed_orders_are_added_up_by_product() {
        let row = row_after(&[
            vec![order_placed("1", 1), confirmed("1", 1), shipped("1", 1)],
            vec![order_placed("2", 2), of_only("3", confirmed("2", 2))],
            vec![order_placed("3", 3)],
        ]);
        assert_eq!(held(&row), [("1", 2), ("2", 2), ("3", 4)]);
    }

    #[test]
    fn a_product_of_only_cancelled_orders_is_not_held() {
        let row = row_after(&[
            vec![order_placed("1", 1), confirmed("1", 1), cancelled("1", 1)],
            vec![order_placed("2", 2), of_only("2", confirmed("2", 2))],
            vec![order_placed("3", 3), never_confirmed(cancelled("3", 3))],
        ]);
        assert_eq!(held(&row), [("2", 2)]);
        let none = row_after(&[vec![order_placed("1", 1), confirmed("1", 1), cancelled("1", 1)]]);
        assert!(none.products_held.is_empty(), "{none:?}");
    }

    #[test]
    fn a_held_product_is_mapped_and_comes_back_as_it_was_stored() {
        let row = row_after(&[vec![confirmed("1", 1)]]);
        assert_survives_storage(&row);
        let mapping = properties(CustomerView::MAPPING.expect("a mapping"));
        assert_maps(&mapping["products_held"]["properties"], fields(&row.products_held[0]));
    }
}
