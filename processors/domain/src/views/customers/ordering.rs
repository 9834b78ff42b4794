//! What a customer orders: figures, the last order, how often and of what mean value.

use millrace_schemas::orders::{Event as Orders, OrderCancelled, OrderConfirmed, OrderPlaced};
use serde::{Deserialize, Serialize};

use super::{CustomerRow, Money, add, seen};
use crate::views::time;

/// The orders of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMean {
    /// ISO 4217 code.
    pub currency: String,
    /// Orders that were placed and not cancelled.
    pub orders: i64,
    /// Their mean value in minor units, rounded half up; 0 without any.
    pub amount: i64,
}

/// The customer of an order; shipping and delivery change nothing here.
pub(super) fn of_order(event: &Orders) -> Option<&str> {
    match event {
        Orders::OrderPlaced(event) => Some(&event.customer_id),
        Orders::OrderConfirmed(event) => Some(&event.customer_id),
        Orders::OrderCancelled(event) => Some(&event.customer_id),
        Orders::OrderDelivered(_) | Orders::OrderShipped(_) => None,
    }
}

impl CustomerRow {
    pub(super) fn ordered(self, event: &Orders) -> Self {
        match event {
            Orders::OrderPlaced(event) => self.placed(event),
            Orders::OrderConfirmed(event) => self.confirmed(event),
            Orders::OrderCancelled(event) => self.cancelled(event),
            Orders::OrderDelivered(_) | Orders::OrderShipped(_) => self,
        }
    }

    fn placed(mut self, event: &OrderPlaced) -> Self {
        self.count(1, &event.currency, event.total);
        self.first_order_at = seen::earliest(self.first_order_at, time(event.placed_at));
        // Ties go to the greater id, so that the order of arrival does not matter.
        let newest = (self.last_order_at.take(), self.last_order_id.take());
        let this = (Some(time(event.placed_at)), Some(event.order_id.clone()));
        (self.last_order_at, self.last_order_id) = newest.max(this);
        self.with_interval()
    }

    fn confirmed(self, event: &OrderConfirmed) -> Self {
        let lines = event.lines.iter().map(|line| (line.product_id.as_str(), line.quantity));
        // The first version has no lines; what it confirmed is never taken back as confirmed.
        let counted = i64::from(!event.lines.is_empty());
        Self { orders_confirmed: self.orders_confirmed.wrapping_add(counted), ..self }.with_products(lines)
    }

    fn cancelled(mut self, event: &OrderCancelled) -> Self {
        self.count(-1, &event.currency, event.total.wrapping_neg());
        self.orders_cancelled = self.orders_cancelled.wrapping_add(1);
        self.orders_confirmed = self.orders_confirmed.wrapping_sub(i64::from(event.confirmed));
        // An order that was not confirmed before was not counted.
        let counted = event.lines.iter().filter(|_| event.confirmed);
        self.with_products(counted.map(|line| (line.product_id.as_str(), line.quantity.wrapping_neg())))
    }

    fn count(&mut self, orders: i64, currency: &str, amount: i64) {
        self.order_count = self.order_count.wrapping_add(orders);
        add(&mut self.order_value, currency, amount);
        count(&mut self.order_means, &self.order_value, currency, orders);
    }

    /// With the mean time between two orders. An order that is cancelled was placed all the same.
    fn with_interval(self) -> Self {
        let pauses = self.order_count.wrapping_add(self.orders_cancelled).wrapping_sub(1);
        let all =
            self.last_order_at.zip(self.first_order_at).map(|(last, first)| (last - first).num_seconds());
        let order_interval = all.filter(|_| pauses > 0).and_then(|all| all.checked_div(pauses));
        Self { order_interval, ..self }
    }
}

/// Counts orders of a currency, whose value is among `values` already.
fn count(means: &mut Vec<OrderMean>, values: &[Money], currency: &str, orders: i64) {
    let found = means.binary_search_by(|mean| mean.currency.as_str().cmp(currency));
    let place = found.unwrap_or_else(|place| {
        means.insert(place, OrderMean { currency: currency.to_owned(), orders: 0, amount: 0 });
        place
    });
    let value = values.iter().find(|money| money.currency == currency).map_or(0, |money| money.amount);
    if let Some(mean) = means.get_mut(place) {
        mean.orders = mean.orders.wrapping_add(orders);
        mean.amount = rounded(value, mean.orders);
    }
}

/// Half up. Values and counts are 0 or more; a count below is one whose orders were not all seen yet.
fn rounded(value: i64, orders: i64) -> i64 {
    if orders <= 0 {
        return 0;
    }
    let (value, orders) = (i128::from(value), i128::from(orders));
    i64::try_from((2 * value + orders).div_euclid(2 * orders)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;

    use super::*;
    use crate::View as _;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::customers::CustomerView;
    use crate::views::tests::{
        DAY, assert_maps, cancelled, fields, in_currency, never_confirmed, order_placed, properties,
    };

    fn row_after(streams: &[Vec<Event>]) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        rows.into_values().next().expect("one row")
    }

    fn mean(currency: &str, orders: i64, amount: i64) -> OrderMean {
        OrderMean { currency: currency.into(), orders, amount }
    }

    #[test]
    fn the_interval_is_the_mean_time_between_orders_cancelled_or_not() {
        let row = row_after(&[
            vec![order_placed("1", 0)],
            vec![order_placed("2", 3 * DAY), never_confirmed(cancelled("2", 3 * DAY))],
            vec![order_placed("3", 5 * DAY)],
        ]);
        assert_eq!(row.order_interval, Some(5 * 86_400 / 2));
        assert_eq!(
            row.last_order_at.zip(row.first_order_at).map(|(last, first)| (last - first).num_days()),
            Some(5)
        );
    }

    #[test]
    fn a_single_order_has_no_interval() {
        assert_eq!(row_after(&[vec![order_placed("1", 0)]]).order_interval, None);
    }

    #[test]
    fn the_mean_value_is_that_of_orders_which_were_not_cancelled_by_currency() {
        let row = row_after(&[
            vec![order_placed("1", 0)],
            vec![order_placed("2", 1), never_confirmed(cancelled("2", 1))],
            vec![in_currency("EUR", order_placed("3", 2)), in_currency("EUR", cancelled("3", 2))],
            vec![order_placed("4", 3)],
        ]);
        assert_eq!(row.order_means, [mean("EUR", 0, 0), mean("USD", 2, 1_500)]);
    }

    #[test]
    fn a_mean_is_rounded_half_up() {
        let shown = |value, orders| rounded(value, orders);
        assert_eq!([shown(5, 2), shown(4, 3), shown(5, 3), shown(0, 4), shown(9, 0)], [3, 1, 2, 0, 0]);
    }

    #[test]
    fn a_mean_is_mapped_and_comes_back_as_it_was_stored() {
        let row = row_after(&[vec![order_placed("1", 1)]]);
        assert_survives_storage(&row);
        let mapping = properties(CustomerView::MAPPING.expect("a mapping"));
        assert_maps(&mapping["order_means"]["properties"], fields(&row.order_means[0]));
    }
}
