//! Where a customer lives and gets parcels, and their date of birth.

use chrono::NaiveDate;
use millrace_schemas::customers::{CustomerAddressSet, CustomerBirthDateSet};
use serde::{Deserialize, Serialize};

use super::CustomerRow;

/// A postal address of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerAddress {
    /// The address among the customer's.
    pub address_id: String,
    /// Whether orders that name no address ship to it.
    pub is_default: bool,
    /// Whom it is for, where that is not the customer.
    pub recipient: Option<String>,
    /// Street and number.
    pub line1: String,
    /// What else finds the door.
    pub line2: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// City.
    pub city: String,
    /// State, province or district.
    pub region: Option<String>,
    /// ISO 3166-1 code of two letters.
    pub country: String,
}

impl From<CustomerAddressSet> for CustomerAddress {
    fn from(event: CustomerAddressSet) -> Self {
        let CustomerAddressSet {
            customer_id: _,
            address_id,
            recipient,
            line1,
            line2,
            postal_code,
            city,
            region,
            country,
            is_default,
        } = event;
        Self { address_id, is_default, recipient, line1, line2, postal_code, city, region, country }
    }
}

impl CustomerRow {
    /// There are at most 20, by id.
    pub(super) fn with_address(self, event: CustomerAddressSet) -> Self {
        let mut row = self.without_address(&event.address_id);
        if event.is_default {
            row.addresses.iter_mut().for_each(|address| address.is_default = false);
        }
        row.addresses.push(event.into());
        row.addresses.sort_by(|one, other| one.address_id.cmp(&other.address_id));
        row
    }

    pub(super) fn without_address(mut self, address_id: &str) -> Self {
        self.addresses.retain(|address| address.address_id != address_id);
        self
    }

    /// The context lets only dates through.
    pub(super) fn born(self, event: &CustomerBirthDateSet) -> Self {
        let birth_date = event.birth_date.as_deref().and_then(|date| date.parse::<NaiveDate>().ok());
        Self { birth_date, birth_date_reason: Some(event.reason.clone()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;
    use millrace_schemas::customers::{CustomerAddressRemoved, Event as Customers};

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::customers::CustomerView;
    use crate::views::tests::order_placed;

    fn customer(event: impl Into<Customers>) -> Event {
        Event::Customers(event.into())
    }

    fn address(address_id: &str, city: &str, is_default: bool) -> Event {
        let [customer_id, address_id, line1, city] = ["VINET", address_id, "1, rue", city].map(str::to_owned);
        let (recipient, line2, postal_code, region) = (None, None, Some("51100".into()), None);
        let country = "FR".into();
        customer(CustomerAddressSet {
            customer_id,
            address_id,
            recipient,
            line1,
            line2,
            postal_code,
            city,
            region,
            country,
            is_default,
        })
    }

    fn removed(address_id: &str) -> Event {
        customer(CustomerAddressRemoved { customer_id: "VINET".into(), address_id: address_id.into() })
    }

    fn born(birth_date: Option<&str>, reason: &str) -> Event {
        let (customer_id, birth_date) = ("VINET".into(), birth_date.map(str::to_owned));
        customer(CustomerBirthDateSet { customer_id, birth_date, reason: reason.into() })
    }

    /// The customer's row, whenever their order comes in between.
    fn row_after(events: Vec<Event>) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(&[events, vec![order_placed("1", 1)]]);
        rows.into_values().next().expect("one row")
    }

    fn shown(row: &CustomerRow) -> Vec<(&str, &str, bool)> {
        row.addresses.iter().map(|a| (a.address_id.as_str(), a.city.as_str(), a.is_default)).collect()
    }

    #[test]
    fn addresses_are_shown_by_id_with_one_default() {
        let mut events = vec![address("office", "Reims", true), address("home", "Lyon", false)];
        assert_eq!(shown(&row_after(events.clone())), [("home", "Lyon", false), ("office", "Reims", true)]);
        events.push(address("home", "Nice", true));
        assert_eq!(shown(&row_after(events.clone())), [("home", "Nice", true), ("office", "Reims", false)]);
        events.push(removed("office"));
        assert_eq!(shown(&row_after(events)), [("home", "Nice", true)]);
    }

    #[test]
    fn a_date_of_birth_is_shown_with_the_reason_until_it_is_removed() {
        let row = row_after(vec![born(Some("1985-02-28"), "age check")]);
        assert_eq!(row.birth_date, NaiveDate::from_ymd_opt(1985, 2, 28));
        assert_eq!(row.birth_date_reason.as_deref(), Some("age check"));
        let row = row_after(vec![born(Some("1985-02-28"), "age check"), born(None, "no longer needed")]);
        assert_eq!((row.birth_date, row.birth_date_reason.as_deref()), (None, Some("no longer needed")));
    }

    #[test]
    fn where_a_customer_lives_comes_back_as_it_was_stored() {
        assert_survives_storage(&row_after(vec![
            address("home", "Lyon", true),
            born(Some("1985-02-28"), "x"),
        ]));
    }
}
