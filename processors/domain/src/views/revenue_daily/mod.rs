//! Revenue by day, country, category and product: what was confirmed and not cancelled.

use chrono::NaiveDate;
use serde::Serialize;

use super::sold::{self, Sales, SoldLine};
use crate::{Recorded, Tally};

/// The tally of revenue.
#[derive(Debug)]
pub struct RevenueDaily;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RevenueKey {
    /// The day on which the order was placed, UTC.
    pub day: NaiveDate,
    /// The customer's country when the order was placed; empty when it was not known.
    pub country: String,
    /// The product's category when the order was placed.
    pub category: String,
    /// The product.
    pub product_id: String,
    /// ISO 4217 code.
    pub currency: String,
}

impl Tally for RevenueDaily {
    const NAME: &'static str = "revenue_daily";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEYS: &'static [&'static str] = &["day", "country", "category", "product_id", "currency"];
    const AMOUNTS: &'static [&'static str] = &["lines", "units", "revenue"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = RevenueKey;
    type Amounts = Sales;

    fn delta(recorded: &Recorded) -> Vec<(RevenueKey, Sales)> {
        let key = |line: &SoldLine<'_>| {
            let [country, category, product_id, currency] =
                [line.country, line.category, line.product_id, line.currency].map(str::to_owned);
            RevenueKey { day: line.day, country, category, product_id, currency }
        };
        sold::lines(recorded).iter().map(|line| (key(line), line.sales)).collect()
    }

    fn add(left: &Sales, right: &Sales) -> Option<Sales> {
        left.plus(right)
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;
    use millrace_schemas::orders::Event as Orders;

    use super::*;
    use crate::testing::{assert_same_sums_in_any_order, fold_tally};
    use crate::views::tests::{
        DAY, assert_tallys_table, cancelled, confirmed, in_currency, never_confirmed, order_placed,
        several_orders, shipped,
    };

    fn revenue(events: &[Event]) -> Vec<(RevenueKey, [i64; 3])> {
        let row = |(key, sum): (RevenueKey, Sales)| (key, [sum.lines, sum.units, sum.revenue]);
        fold_tally::<RevenueDaily>(events).into_iter().map(row).collect()
    }

    fn key([day, country, category, product_id]: [&str; 4]) -> RevenueKey {
        let day = day.parse().expect("a day");
        let [country, category, product_id, currency] =
            [country, category, product_id, "USD"].map(str::to_owned);
        RevenueKey { day, country, category, product_id, currency }
    }

    fn in_country(country: &str, mut event: Event) -> Event {
        match &mut event {
            Event::Orders(Orders::OrderConfirmed(event)) => event.country = country.into(),
            Event::Orders(Orders::OrderCancelled(event)) => event.country = country.into(),
            other => panic!("{other:?} has no country"),
        }
        event
    }

    #[test]
    fn the_table_has_keys_and_amounts_in_order() {
        assert_tallys_table::<RevenueDaily>(&key(["1996-07-04", "", "", ""]));
    }

    #[test]
    fn lines_units_and_revenue_of_confirmed_orders_are_added_by_day_country_category_and_product() {
        let events = [
            confirmed("1", 0),
            confirmed("2", DAY - 1),
            in_country("Spain", confirmed("3", 0)),
            shipped("1", DAY),
        ];
        let expected = [
            (key(["1996-07-04", "France", "Drinks", "1"]), [2, 4, 1_200]),
            (key(["1996-07-04", "France", "Drinks", "3"]), [2, 4, 1_000]),
            (key(["1996-07-04", "France", "Sweets", "2"]), [2, 4, 800]),
            (key(["1996-07-04", "Spain", "Drinks", "1"]), [1, 2, 600]),
            (key(["1996-07-04", "Spain", "Drinks", "3"]), [1, 2, 500]),
            (key(["1996-07-04", "Spain", "Sweets", "2"]), [1, 2, 400]),
        ];
        assert_eq!(revenue(&events), expected);
    }

    #[test]
    fn an_order_that_is_not_confirmed_is_not_counted_and_not_taken_back() {
        assert_eq!(revenue(&[order_placed("1", 0), never_confirmed(cancelled("1", 0))]), []);
    }

    #[test]
    fn a_cancelled_order_leaves_nothing_in_its_day_and_country() {
        let sums = revenue(&[confirmed("1", 0), cancelled("1", 0)]);
        assert_eq!(sums.len(), 3);
        assert!(sums.iter().all(|(_, sum)| *sum == [0, 0, 0]), "{sums:?}");
    }

    #[test]
    fn an_order_whose_event_has_no_country_counts_in_none_and_is_taken_back_there() {
        let events = [in_country("", confirmed("1", 0)), in_country("", cancelled("1", 0))];
        let sums = revenue(&events);
        assert!(sums.iter().all(|(key, sum)| key.country.is_empty() && *sum == [0, 0, 0]), "{sums:?}");
    }

    #[test]
    fn days_and_currencies_are_not_added_to_each_other() {
        let events = [confirmed("1", 0), confirmed("2", DAY), in_currency("EUR", confirmed("3", 0))];
        assert_eq!(revenue(&events).len(), 9);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<RevenueDaily>(&several_orders());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = Sales { revenue: i64::MAX, ..Sales::default() };
        assert_eq!(RevenueDaily::add(&most, &Sales { revenue: 1, ..most }), None);
    }
}
