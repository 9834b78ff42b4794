//! Decisions about a customer's postal addresses.

use std::collections::BTreeMap;

use millrace_schemas::customers::{
    CustomerAddressRemoved, CustomerAddressSet, RemoveCustomerAddress, SetCustomerAddress,
};
use serde::{Deserialize, Serialize};

use super::{Customer, Decision, refusals};
use crate::emit;
use crate::rules::{self, Checked, Text};

pub(super) const ADDRESSES_MAX: usize = 20;
const RECIPIENT: Text = line("recipient");
const LINE1: Text = line("line1");
const LINE2: Text = line("line2");
const CITY: Text = line("city");
const REGION: Text = line("region");

const fn line(field: &'static str) -> Text {
    Text::new(field, refusals::ADDRESS_LINE_INVALID, 1, 200)
}

/// The postal addresses of a customer. Where there are any, one of them is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The addresses by their ids.
    pub by_id: BTreeMap<String, Address>,
    /// The id of the default.
    pub default: Option<String>,
}

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
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

/// Two records spell an address alike.
macro_rules! address_from {
    ($($record:ident),*) => { $(
        impl From<&$record> for Address {
            fn from(record: &$record) -> Self {
                let $record { recipient, line1, line2, postal_code, city, region, country, .. } = record.clone();
                Self { recipient, line1, line2, postal_code, city, region, country }
            }
        }
    )* };
}
address_from!(SetCustomerAddress, CustomerAddressSet);

impl Addresses {
    /// The address of an id, or else the default.
    pub fn get(&self, id: Option<&str>) -> Option<&Address> {
        self.by_id.get(id.or(self.default.as_deref())?)
    }

    fn is_default(&self, id: &str) -> bool {
        self.default.as_deref() == Some(id)
    }
}

/// Adds an address, or replaces the one of this id. The same address again is accepted without an event.
pub(super) fn set(customer: &Customer, command: &SetCustomerAddress) -> Decision {
    let (known, address) = (&customer.addresses, Address::from(command));
    rules::id("address_id", &command.address_id)?;
    address.check()?;
    let is_default = command.is_default || known.default.is_none() || known.is_default(&command.address_id);
    let same = known.by_id.get(&command.address_id) == Some(&address);
    if same && is_default == known.is_default(&command.address_id) {
        return Ok(Vec::new());
    }
    check_room(known, command)?;
    Ok(vec![emit(address.set(&command.customer_id, &command.address_id, is_default))])
}

/// Removes an address. A missing one is accepted without an event.
pub(super) fn remove(customer: &Customer, command: &RemoveCustomerAddress) -> Decision {
    let (known, RemoveCustomerAddress { customer_id, address_id }) = (&customer.addresses, command.clone());
    rules::id("address_id", &address_id)?;
    if known.is_default(&address_id) && known.by_id.len() > 1 {
        let id = rules::quoted(&address_id);
        let way_out = "send SetCustomerAddress with is_default for another one first";
        return Err(
            refusals::ADDRESS_IS_DEFAULT.because(format!("address_id {id} is the default: {way_out}"))
        );
    }
    let there = known.by_id.contains_key(&address_id);
    Ok(there.then(|| emit(CustomerAddressRemoved { customer_id, address_id })).into_iter().collect())
}

/// The customer after an address was set.
pub(super) fn having(mut customer: Customer, event: &CustomerAddressSet) -> Customer {
    customer.addresses.by_id.insert(event.address_id.clone(), Address::from(event));
    if event.is_default {
        customer.addresses.default = Some(event.address_id.clone());
    }
    customer
}

/// The customer after an address was removed.
pub(super) fn without(mut customer: Customer, event: &CustomerAddressRemoved) -> Customer {
    customer.addresses.by_id.remove(&event.address_id);
    customer.addresses.default.take_if(|id| *id == event.address_id);
    customer
}

impl Address {
    fn check(&self) -> Checked {
        RECIPIENT.check_given(self.recipient.as_deref())?;
        LINE1.check(&self.line1)?;
        LINE2.check_given(self.line2.as_deref())?;
        CITY.check(&self.city)?;
        REGION.check_given(self.region.as_deref())?;
        rules::postal_code(&self.country, self.postal_code.as_deref())
    }

    fn set(self, customer_id: &str, address_id: &str, is_default: bool) -> CustomerAddressSet {
        let Self { recipient, line1, line2, postal_code, city, region, country } = self;
        let [customer_id, address_id] = [customer_id, address_id].map(str::to_owned);
        CustomerAddressSet {
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
        }
    }
}

fn check_room(known: &Addresses, command: &SetCustomerAddress) -> Checked {
    if known.by_id.len() < ADDRESSES_MAX || known.by_id.contains_key(&command.address_id) {
        return Ok(());
    }
    let id = rules::quoted(&command.customer_id);
    let most = format!("{ADDRESSES_MAX} addresses, the most there can be");
    Err(refusals::ADDRESSES_TOO_MANY.because(format!("customer_id {id} has {most}: remove one first")))
}
