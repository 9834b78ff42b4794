//! The part of the row that comes from the customers' context.

use millrace_schemas::customers::{
    CustomerDetailsChanged, CustomerPreferenceSet, CustomerRegistered, CustomerRiskAssessed,
    Event as Customers,
};

use super::CustomerRow;
use crate::views::time;

impl CustomerRow {
    pub(super) fn described(self, event: &Customers) -> Self {
        match event {
            Customers::CustomerRegistered(event) => self.registered(event.clone()),
            Customers::CustomerDetailsChanged(event) => self.changed(event.clone()),
            Customers::CustomerTagged(event) => self.tagged(&event.tag),
            Customers::CustomerUntagged(event) => self.untagged(&event.tag),
            Customers::CustomerPreferenceSet(event) => self.preferring(event.clone()),
            Customers::CustomerRiskAssessed(event) => self.assessed(event),
            Customers::CustomerAddressSet(event) => self.with_address(event.clone()),
            Customers::CustomerAddressRemoved(event) => self.without_address(&event.address_id),
            Customers::CustomerBirthDateSet(event) => self.born(event),
        }
    }

    fn registered(self, event: CustomerRegistered) -> Self {
        let CustomerRegistered { customer_id: _, name, contact_name, email, phone, city, country } = event;
        Self { name: Some(name), contact_name, email, phone, city, country, ..self }
    }

    fn changed(self, event: CustomerDetailsChanged) -> Self {
        let CustomerDetailsChanged { customer_id: _, name, contact_name, email, phone, city, country } =
            event;
        Self { name: Some(name), contact_name, email, phone, city, country, ..self }
    }

    fn tagged(mut self, tag: &str) -> Self {
        self.tags.insert(tag.to_owned());
        self
    }

    fn untagged(mut self, tag: &str) -> Self {
        self.tags.remove(tag);
        self
    }

    fn preferring(mut self, event: CustomerPreferenceSet) -> Self {
        let CustomerPreferenceSet { customer_id: _, name, value } = event;
        match value {
            Some(value) => self.preferences.insert(name, value),
            None => self.preferences.remove(&name),
        };
        self
    }

    fn assessed(self, event: &CustomerRiskAssessed) -> Self {
        Self { risk_score: Some(event.score), risk_assessed_at: Some(time(event.assessed_at)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;
    use millrace_schemas::customers::{CustomerTagged, CustomerUntagged};

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::customers::CustomerView;
    use crate::views::tests::order_placed;

    fn customer(event: impl Into<Customers>) -> Event {
        Event::Customers(event.into())
    }

    fn tagged(tag: &str) -> Event {
        customer(CustomerTagged { customer_id: "VINET".into(), tag: tag.into() })
    }

    fn untagged(tag: &str) -> Event {
        customer(CustomerUntagged { customer_id: "VINET".into(), tag: tag.into() })
    }

    fn preferred(name: &str, value: Option<&str>) -> Event {
        let [customer_id, name] = ["VINET", name].map(str::to_owned);
        customer(CustomerPreferenceSet { customer_id, name, value: value.map(str::to_owned) })
    }

    fn assessed(score: i32, assessed_at: i64) -> Event {
        let [customer_id, reason] = ["VINET", "pays late"].map(str::to_owned);
        customer(CustomerRiskAssessed { customer_id, score, reason, assessed_at })
    }

    /// The customer's row, whenever their order comes in between.
    fn row_after(events: Vec<Event>) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(&[events, vec![order_placed("1", 1)]]);
        rows.into_values().next().expect("one row")
    }

    #[test]
    fn tags_are_those_that_were_not_taken_away_in_alphabetical_order() {
        let row = row_after(vec![tagged("vip"), tagged("b2b"), untagged("vip"), tagged("late payer")]);
        assert_eq!(serde_json::json!(row.tags), serde_json::json!(["b2b", "late payer"]));
    }

    #[test]
    fn preferences_are_the_last_of_each_name_that_were_not_removed() {
        let row = row_after(vec![
            preferred("language", Some("de")),
            preferred("delivery", Some("evening")),
            preferred("language", Some("fr")),
            preferred("delivery", None),
        ]);
        assert_eq!(serde_json::json!(row.preferences), serde_json::json!({"language": "fr"}));
    }

    #[test]
    fn the_risk_is_that_of_the_last_assessment() {
        let row = row_after(vec![assessed(70, 1), assessed(30, 2)]);
        assert_eq!((row.risk_score, row.risk_assessed_at), (Some(30), Some(time(2))));
        assert_eq!(row_after(vec![tagged("vip")]).risk_score, None);
    }

    #[test]
    fn what_is_said_of_a_customer_comes_back_as_it_was_stored() {
        let said = vec![tagged("vip"), preferred("language", Some("de")), assessed(70, 1)];
        assert_survives_storage(&row_after(said));
    }
}
