//! What each customer buys: units and revenue by category and product, of what was confirmed and not cancelled.
//!
//! A table of its own, so that the row of a customer does not grow with what they buy.

use serde::Serialize;

use super::sold::{self, Sales, SoldLine};
use crate::{Recorded, Tally};

/// The tally of purchases.
#[derive(Debug)]
pub struct CustomerPurchases;

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PurchaseKey {
    /// Who ordered.
    pub customer_id: String,
    /// The product's category when the order was placed.
    pub category: String,
    /// The product.
    pub product_id: String,
    /// ISO 4217 code.
    pub currency: String,
}

impl Tally for CustomerPurchases {
    const NAME: &'static str = "customer_purchases";
    const CONTEXTS: &'static [&'static str] = &["orders"];
    const KEYS: &'static [&'static str] = &["customer_id", "category", "product_id", "currency"];
    const AMOUNTS: &'static [&'static str] = &["lines", "units", "revenue"];
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    type Key = PurchaseKey;
    type Amounts = Sales;

    fn delta(recorded: &Recorded) -> Vec<(PurchaseKey, Sales)> {
        sold::lines(recorded).iter().map(|line| (key(line), line.sales)).collect()
    }

    fn add(left: &Sales, right: &Sales) -> Option<Sales> {
        left.plus(right)
    }
}

fn key(line: &SoldLine<'_>) -> PurchaseKey {
    let [customer_id, category, product_id, currency] =
        [line.customer_id, line.category, line.product_id, line.currency].map(str::to_owned);
    PurchaseKey { customer_id, category, product_id, currency }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;

    use super::*;
    use crate::testing::{assert_same_sums_in_any_order, fold_tally, strings};
    use crate::views::tests::{
        DAY, assert_tallys_table, cancelled, confirmed, in_currency, order_placed, several_orders,
    };

    fn purchases(events: &[Event]) -> Vec<(PurchaseKey, [i64; 3])> {
        let row = |(key, sum): (PurchaseKey, Sales)| (key, [sum.lines, sum.units, sum.revenue]);
        fold_tally::<CustomerPurchases>(events).into_iter().map(row).collect()
    }

    fn of_vinet([category, product_id, currency]: [&str; 3]) -> PurchaseKey {
        let [customer_id, category, product_id, currency] =
            strings(["VINET", category, product_id, currency]);
        PurchaseKey { customer_id, category, product_id, currency }
    }

    #[test]
    fn the_table_has_keys_and_amounts_in_order() {
        assert_tallys_table::<CustomerPurchases>(&of_vinet(["Drinks", "1", "USD"]));
    }

    #[test]
    fn confirmed_lines_are_added_by_customer_category_product_and_currency_whatever_the_day() {
        let events = [confirmed("1", 0), confirmed("2", 9 * DAY), in_currency("EUR", confirmed("3", 0))];
        let expected = [
            (of_vinet(["Drinks", "1", "EUR"]), [1, 2, 600]),
            (of_vinet(["Drinks", "1", "USD"]), [2, 4, 1_200]),
            (of_vinet(["Drinks", "3", "EUR"]), [1, 2, 500]),
            (of_vinet(["Drinks", "3", "USD"]), [2, 4, 1_000]),
            (of_vinet(["Sweets", "2", "EUR"]), [1, 2, 400]),
            (of_vinet(["Sweets", "2", "USD"]), [2, 4, 800]),
        ];
        assert_eq!(purchases(&events), expected);
    }

    #[test]
    fn an_order_that_was_not_confirmed_is_not_counted_and_a_cancelled_one_is_taken_back() {
        assert_eq!(purchases(&[order_placed("1", 0)]), []);
        let events = [confirmed("1", 0), confirmed("2", 0), cancelled("2", 0)];
        assert_eq!(purchases(&events), purchases(&[confirmed("1", 0)]));
    }

    #[test]
    fn the_sums_are_the_same_in_any_order() {
        assert_same_sums_in_any_order::<CustomerPurchases>(&several_orders());
    }
}
