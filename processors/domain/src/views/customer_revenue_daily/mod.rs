//! Revenue by customer and day: what was confirmed and not cancelled.

use chrono::NaiveDate;
use millrace_schemas::Event;
use millrace_schemas::orders::Event as Orders;
use serde::Serialize;

use super::time;
use crate::{Recorded, Tally};

/// The tally of customers' revenue.
#[derive(Debug)]
pub struct CustomerRevenueDaily;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CustomerRevenueKey {
    /// Who ordered.
    pub customer_id: String,
    /// The day on which the order was placed, UTC.
    pub day: NaiveDate,
    /// ISO 4217 code.
    pub currency: String,
}

/// The amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CustomerRevenue {
    /// Orders.
    pub orders: i64,
    /// Their revenue in minor units.
    pub revenue: i64,
}

impl Tally for CustomerRevenueDaily {
    const NAME: &'static str = "customer_revenue_daily";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEYS: &'static [&'static str] = &["customer_id", "day", "currency"];
    const AMOUNTS: &'static [&'static str] = &["orders", "revenue"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = CustomerRevenueKey;
    type Amounts = CustomerRevenue;

    fn delta(recorded: &Recorded) -> Vec<(CustomerRevenueKey, CustomerRevenue)> {
        match &recorded.event {
            // Confirmations of version 1 did not say what was ordered: nothing to count, nothing to take back.
            Event::Orders(Orders::OrderConfirmed(event)) if !event.lines.is_empty() => {
                let revenue = CustomerRevenue { orders: 1, revenue: event.total };
                vec![(key(&event.customer_id, event.placed_at, &event.currency), revenue)]
            }
            Event::Orders(Orders::OrderCancelled(event)) if event.confirmed => {
                let revenue = CustomerRevenue { orders: -1, revenue: event.total.wrapping_neg() };
                vec![(key(&event.customer_id, event.placed_at, &event.currency), revenue)]
            }
            Event::Orders(
                Orders::OrderPlaced(_)
                | Orders::OrderConfirmed(_)
                | Orders::OrderCancelled(_)
                | Orders::OrderDelivered(_)
                | Orders::OrderShipped(_),
            ) => Vec::new(),
            _ => Vec::new(),
        }
    }

    fn add(left: &CustomerRevenue, right: &CustomerRevenue) -> Option<CustomerRevenue> {
        sum!(CustomerRevenue { orders, revenue }, left, right)
    }
}

fn key(customer_id: &str, placed_at: i64, currency: &str) -> CustomerRevenueKey {
    let [customer_id, currency] = [customer_id, currency].map(str::to_owned);
    CustomerRevenueKey { customer_id, day: time(placed_at).date_naive(), currency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_sums_in_any_order, fold_tally};
    use crate::views::tests::{
        DAY, assert_tallys_table, cancelled, confirmed, in_currency, never_confirmed, order_placed,
        several_orders, shipped,
    };

    fn revenue(events: &[Event]) -> Vec<(String, String, String, [i64; 2])> {
        let row = |(key, sum): (CustomerRevenueKey, CustomerRevenue)| {
            (key.customer_id, key.day.to_string(), key.currency, [sum.orders, sum.revenue])
        };
        fold_tally::<CustomerRevenueDaily>(events).into_iter().map(row).collect()
    }

    fn row(
        customer_id: &str,
        day: &str,
        currency: &str,
        sums: [i64; 2],
    ) -> (String, String, String, [i64; 2]) {
        (customer_id.into(), day.into(), currency.into(), sums)
    }

    fn by(customer_id: &str, mut event: Event) -> Event {
        match &mut event {
            Event::Orders(Orders::OrderConfirmed(event)) => event.customer_id = customer_id.into(),
            other => panic!("{other:?} is no confirmation"),
        }
        event
    }

    /// As a confirmation was before it said what was ordered.
    fn without_lines(mut event: Event) -> Event {
        match &mut event {
            Event::Orders(Orders::OrderConfirmed(event)) => (event.lines, event.total) = (Vec::new(), 0),
            other => panic!("{other:?} is no confirmation"),
        }
        event
    }

    #[test]
    fn the_table_has_keys_and_amounts_in_order() {
        assert_tallys_table::<CustomerRevenueDaily>(&key("VINET", 0, "USD"));
    }

    #[test]
    fn confirmed_orders_and_their_totals_are_added_by_customer_day_and_currency() {
        let events = [
            confirmed("1", 0),
            confirmed("2", DAY - 1),
            confirmed("3", DAY),
            by("TOMSP", confirmed("4", 0)),
            in_currency("EUR", confirmed("5", 0)),
            shipped("1", DAY),
        ];
        let expected = [
            row("TOMSP", "1996-07-04", "USD", [1, 1_500]),
            row("VINET", "1996-07-04", "EUR", [1, 1_500]),
            row("VINET", "1996-07-04", "USD", [2, 3_000]),
            row("VINET", "1996-07-05", "USD", [1, 1_500]),
        ];
        assert_eq!(revenue(&events), expected);
    }

    #[test]
    fn an_order_that_is_not_confirmed_is_not_counted_and_not_taken_back() {
        assert_eq!(revenue(&[order_placed("1", 0), never_confirmed(cancelled("1", 0))]), []);
    }

    #[test]
    fn a_cancelled_order_is_taken_back_on_the_day_it_was_placed() {
        let events = [confirmed("1", 0), confirmed("2", 0), cancelled("2", 0)];
        assert_eq!(revenue(&events), revenue(&[confirmed("1", 0)]));
    }

    #[test]
    fn a_confirmation_that_does_not_say_what_was_ordered_is_not_counted() {
        assert_eq!(revenue(&[without_lines(confirmed("1", 0))]), []);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<CustomerRevenueDaily>(&several_orders());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = CustomerRevenue { revenue: i64::MAX, ..CustomerRevenue::default() };
        assert_eq!(CustomerRevenueDaily::add(&most, &CustomerRevenue { revenue: 1, ..most }), None);
    }
}
