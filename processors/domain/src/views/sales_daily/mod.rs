//! Sales by day and category: what was confirmed and not cancelled.

use chrono::NaiveDate;
use serde::Serialize;

use super::sold::{self, Sales, SoldLine};
use crate::{Recorded, Tally};

/// The tally of sales.
#[derive(Debug)]
pub struct SalesDaily;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SalesKey {
    /// The day on which the order was placed, UTC.
    pub day: NaiveDate,
    /// The product's category when the order was placed.
    pub category: String,
    /// ISO 4217 code.
    pub currency: String,
}

impl Tally for SalesDaily {
    const NAME: &'static str = "sales_daily";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEYS: &'static [&'static str] = &["day", "category", "currency"];
    const AMOUNTS: &'static [&'static str] = &["lines", "units", "revenue"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = SalesKey;
    type Amounts = Sales;

    fn delta(recorded: &Recorded) -> Vec<(SalesKey, Sales)> {
        let key = |line: &SoldLine<'_>| {
            let [category, currency] = [line.category, line.currency].map(str::to_owned);
            SalesKey { day: line.day, category, currency }
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

    use super::*;
    use crate::testing::{assert_same_sums_in_any_order, fold_tally};
    use crate::views::tests::{
        DAY, cancelled, confirmed, in_currency, never_confirmed, order_placed, several_orders, shipped,
    };

    fn sales(events: &[Event]) -> Vec<(String, String, String, [i64; 3])> {
        let row = |(key, sum): (SalesKey, Sales)| {
            (key.day.to_string(), key.category, key.currency, [sum.lines, sum.units, sum.revenue])
        };
        fold_tally::<SalesDaily>(events).into_iter().map(row).collect()
    }

    fn row(day: &str, category: &str, sums: [i64; 3]) -> (String, String, String, [i64; 3]) {
        (day.into(), category.into(), "USD".into(), sums)
    }

    #[test]
    fn lines_units_and_revenue_of_confirmed_orders_are_added_by_day_and_category() {
        let events = [confirmed("1", 0), confirmed("2", DAY - 1), confirmed("3", DAY), shipped("1", DAY)];
        let expected = [
            row("1996-07-04", "Drinks", [4, 8, 2_200]),
            row("1996-07-04", "Sweets", [2, 4, 800]),
            row("1996-07-05", "Drinks", [2, 4, 1_100]),
            row("1996-07-05", "Sweets", [1, 2, 400]),
        ];
        assert_eq!(sales(&events), expected);
    }

    #[test]
    fn an_order_that_is_not_confirmed_is_not_counted_and_not_taken_back() {
        assert_eq!(sales(&[order_placed("1", 0), never_confirmed(cancelled("1", 0))]), []);
    }

    #[test]
    fn a_cancelled_order_is_taken_back_on_the_day_it_was_placed() {
        let events = [confirmed("1", 0), confirmed("2", 0), cancelled("2", 0)];
        assert_eq!(sales(&events), sales(&[confirmed("1", 0)]));
    }

    #[test]
    fn currencies_are_not_added_to_each_other() {
        let events = [confirmed("1", 0), in_currency("EUR", confirmed("2", 0))];
        assert_eq!(sales(&events).len(), 4);
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<SalesDaily>(&several_orders());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let most = Sales { units: i64::MAX, ..Sales::default() };
        assert_eq!(SalesDaily::add(&most, &Sales { units: 1, ..most }), None);
    }
}
