//! Customer 360: who a customer is, and what they have ordered.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::customers::{CustomerDetailsChanged, CustomerRegistered, Event as Customers};
use millrace_schemas::orders::{Event as Orders, OrderCancelled, OrderPlaced};
use serde::{Deserialize, Serialize};

use super::time;
use crate::View;

/// The view of customers.
#[derive(Debug)]
pub struct CustomerView;

/// One customer. What only the customers' context says is missing until it has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// The customer.
    pub customer_id: String,
    /// Company or person.
    pub name: Option<String>,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Country, as the upstream system spells it.
    pub country: Option<String>,
    /// Orders that were placed and not cancelled.
    pub order_count: i64,
    /// What those orders are worth, by currency.
    pub order_value: Vec<Money>,
    /// The newest order ever placed, cancelled or not.
    pub last_order_id: Option<String>,
    /// When it was placed.
    pub last_order_at: Option<DateTime<Utc>>,
}

/// An amount of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// ISO 4217 code.
    pub currency: String,
    /// Minor units.
    pub amount: i64,
}

impl View for CustomerView {
    const NAME: &'static str = "customers";
    const CONTEXTS: &'static [&'static str] = &["customers", "orders"];
    const KEY: &'static str = "customer_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("customers.sql");
    const SQL_VIEW: &'static str = include_str!("customers.view.sql");
    const CHECK: &'static str = include_str!("customers.check.sql");
    const MAPPING: Option<&'static str> =
        Some(include_str!("../../../../connectors/elasticsearch/customers.json"));
    type Row = CustomerRow;

    fn keys(event: &Event) -> Vec<String> {
        match event {
            Event::Customers(_) => vec![event.key().to_owned()],
            Event::Orders(Orders::OrderPlaced(event)) => vec![event.customer_id.clone()],
            Event::Orders(Orders::OrderCancelled(event)) => vec![event.customer_id.clone()],
            Event::Orders(Orders::OrderConfirmed(_) | Orders::OrderShipped(_)) => Vec::new(),
            Event::Carts(_)
            | Event::Catalog(_)
            | Event::Inventory(_)
            | Event::Notifications(_)
            | Event::Payments(_) => Vec::new(),
        }
    }

    fn evolve(row: CustomerRow, key: &str, event: &Event) -> CustomerRow {
        let row = CustomerRow { customer_id: key.to_owned(), ..row };
        match event {
            Event::Customers(Customers::CustomerRegistered(event)) => row.registered(event.clone()),
            Event::Customers(Customers::CustomerDetailsChanged(event)) => row.changed(event.clone()),
            Event::Orders(Orders::OrderPlaced(event)) => row.ordered(event),
            Event::Orders(Orders::OrderCancelled(event)) => row.cancelled(event),
            Event::Orders(Orders::OrderConfirmed(_) | Orders::OrderShipped(_)) => row,
            Event::Carts(_)
            | Event::Catalog(_)
            | Event::Inventory(_)
            | Event::Notifications(_)
            | Event::Payments(_) => row,
        }
    }
}

impl CustomerRow {
    fn registered(self, event: CustomerRegistered) -> Self {
        let CustomerRegistered { customer_id: _, name, contact_name, email, phone, city, country } = event;
        Self { name: Some(name), contact_name, email, phone, city, country, ..self }
    }

    fn changed(self, event: CustomerDetailsChanged) -> Self {
        let CustomerDetailsChanged { customer_id: _, name, contact_name, email, phone, city, country } =
            event;
        Self { name: Some(name), contact_name, email, phone, city, country, ..self }
    }

    fn ordered(mut self, event: &OrderPlaced) -> Self {
        self.count(1, &event.currency, event.total);
        // Ties go to the greater id, so that the order of arrival does not matter.
        let newest = (self.last_order_at.take(), self.last_order_id.take());
        let this = (Some(time(event.placed_at)), Some(event.order_id.clone()));
        (self.last_order_at, self.last_order_id) = newest.max(this);
        self
    }

    fn cancelled(mut self, event: &OrderCancelled) -> Self {
        self.count(-1, &event.currency, event.total.wrapping_neg());
        self
    }

    /// The orders' context keeps totals so small that sums fit. Should one not, wrapping still gives the same figure
    /// in every order. A currency once used stays, at 0: dropping it would depend on the order.
    fn count(&mut self, orders: i64, currency: &str, amount: i64) {
        self.order_count = self.order_count.wrapping_add(orders);
        let found = self.order_value.binary_search_by(|money| money.currency.as_str().cmp(currency));
        match found.map(|index| self.order_value.get_mut(index)) {
            Ok(money) => money.into_iter().for_each(|m| m.amount = m.amount.wrapping_add(amount)),
            Err(index) => self.order_value.insert(index, Money { currency: currency.to_owned(), amount }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::tests::{cancelled, confirmed, in_currency, order_placed, shipped};

    fn details() -> CustomerRegistered {
        CustomerRegistered {
            customer_id: "VINET".into(),
            name: "Vins et alcools".into(),
            contact_name: None,
            email: None,
            phone: Some("26.47.15.10".into()),
            city: Some("Reims".into()),
            country: Some("France".into()),
        }
    }

    fn customer() -> Vec<Event> {
        let CustomerRegistered { customer_id, name, phone, country, .. } = details();
        let (email, city) = (Some("paul@example.fr".into()), Some("Lyon".into()));
        let changed =
            CustomerDetailsChanged { customer_id, name, contact_name: None, email, phone, city, country };
        vec![Event::Customers(details().into()), Event::Customers(changed.into())]
    }

    fn money(currency: &str, amount: i64) -> Money {
        Money { currency: currency.into(), amount }
    }

    fn only_row(streams: &[Vec<Event>]) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        assert_eq!(rows.len(), 1);
        rows.into_values().next().expect("one row")
    }

    #[test]
    fn a_customers_orders_are_counted_whatever_comes_first() {
        let row = only_row(&[
            customer(),
            vec![order_placed("1", 5), confirmed("1", 5), shipped("1", 6)],
            vec![order_placed("2", 4)],
        ]);
        assert_eq!((row.order_count, row.order_value), (2, vec![money("USD", 3_000)]));
        assert_eq!((row.city.as_deref(), row.email.as_deref()), (Some("Lyon"), Some("paul@example.fr")));
        assert_eq!(
            (row.last_order_id.as_deref(), row.last_order_at),
            (Some("1"), Some(time(836_438_400_000_005)))
        );
    }

    #[test]
    fn a_cancelled_order_is_taken_out_of_the_figures_but_may_be_the_last_one() {
        let row = only_row(&[
            customer(),
            vec![order_placed("1", 4)],
            vec![order_placed("2", 5), cancelled("2", 5)],
            vec![order_placed("3", 1)],
        ]);
        assert_eq!((row.order_count, row.order_value), (2, vec![money("USD", 3_000)]));
        assert_eq!(row.last_order_id.as_deref(), Some("2"));
    }

    #[test]
    fn of_two_orders_at_the_same_time_the_greater_id_is_the_last() {
        let row =
            only_row(&[vec![order_placed("7", 5)], vec![order_placed("8", 5)], vec![order_placed("70", 5)]]);
        assert_eq!(row.last_order_id.as_deref(), Some("8"));
    }

    #[test]
    fn values_are_kept_by_currency_in_alphabetical_order() {
        let row = only_row(&[
            vec![order_placed("1", 1)],
            vec![in_currency("EUR", order_placed("2", 2)), in_currency("EUR", cancelled("2", 2))],
            vec![in_currency("CHF", order_placed("3", 3))],
            vec![in_currency("ZAR", order_placed("4", 3))],
        ]);
        let expected = [("CHF", 1_500), ("EUR", 0), ("USD", 1_500), ("ZAR", 1_500)];
        assert_eq!(row.order_value, expected.map(|(currency, amount)| money(currency, amount)));
        assert_eq!(row.order_count, 3);
    }

    #[test]
    fn a_customer_without_orders_has_none() {
        let row = only_row(&[vec![Event::Customers(details().into())]]);
        assert_eq!((row.order_count, row.order_value, row.last_order_at), (0, vec![], None));
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&only_row(&[customer(), vec![order_placed("1", 5)]]));
        assert_survives_storage(&CustomerRow::default());
    }
}
