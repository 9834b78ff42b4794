//! Customers: their details, addresses, date of birth, tags, preferences and risk.

mod addresses;
mod birth_date;
mod details;
#[cfg(test)]
pub(crate) mod examples;
mod preferences;
pub(crate) mod refusals;
mod risk;
mod tags;

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::Message;
use millrace_schemas::customers::{Command, Event};
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::{Context, Emitted, References, Refusal, Rejection, Streams};

pub use addresses::{Address, Addresses};
pub use details::Details;
pub use risk::Risk;

/// The context of customers; a stream is one customer.
#[derive(Debug)]
pub struct Customers;

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Who they are and how to reach them.
    pub details: Details,
    /// Their tags.
    pub tags: BTreeSet<String>,
    /// Their preferences, by name.
    pub preferences: BTreeMap<String, String>,
    /// The newest assessment of their risk.
    pub risk: Option<Risk>,
    /// Their postal addresses.
    pub addresses: Addresses,
    /// Their date of birth, such as `1985-02-28`.
    pub birth_date: Option<String>,
}

/// The public state: what other contexts can read of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerPublic {
    /// Company or person.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Country, as the upstream system spells it.
    pub country: Option<String>,
    /// Postal addresses.
    pub addresses: Addresses,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Customers {
    const NAME: &'static str = "customers";
    const STATE_VERSION: i32 = 3;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Customer;
    type Command = Command;
    type Event = Event;
    type Public = CustomerPublic;

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn decide(streams: &Streams<Customer>, _references: &References, command: &Command) -> Decision {
        let customer = streams.get(command.key());
        let registered = || customer.ok_or_else(|| unknown(command.key()));
        match command {
            Command::RegisterCustomer(command) => details::register(customer, command),
            Command::ChangeCustomerDetails(command) => details::change(registered()?, command),
            Command::TagCustomer(command) => tags::tag(registered()?, command),
            Command::UntagCustomer(command) => tags::untag(registered()?, command),
            Command::SetCustomerPreference(command) => preferences::set(registered()?, command),
            Command::AssessCustomerRisk(command) => risk::assess(registered()?, command),
            Command::SetCustomerAddress(command) => addresses::set(registered()?, command),
            Command::RemoveCustomerAddress(command) => addresses::remove(registered()?, command),
            Command::SetCustomerBirthDate(command) => birth_date::set(registered()?, command),
        }
    }

    fn evolve(state: Option<Customer>, event: &Event) -> Option<Customer> {
        match event {
            Event::CustomerRegistered(event) => state.or_else(|| Some(Customer::new(Details::from(event)))),
            Event::CustomerDetailsChanged(event) => {
                state.map(|customer| Customer { details: Details::from(event), ..customer })
            }
            Event::CustomerTagged(event) => state.map(|customer| tags::tagged(customer, event)),
            Event::CustomerUntagged(event) => state.map(|customer| tags::untagged(customer, event)),
            Event::CustomerPreferenceSet(event) => {
                state.map(|customer| preferences::preferring(customer, event))
            }
            Event::CustomerRiskAssessed(event) => {
                state.map(|customer| Customer { risk: Some(Risk::from(event)), ..customer })
            }
            Event::CustomerAddressSet(event) => state.map(|customer| addresses::having(customer, event)),
            Event::CustomerAddressRemoved(event) => state.map(|customer| addresses::without(customer, event)),
            Event::CustomerBirthDateSet(event) => {
                state.map(|customer| Customer { birth_date: event.birth_date.clone(), ..customer })
            }
        }
    }

    fn public(state: &Customer) -> CustomerPublic {
        let Details { name, email, country, .. } = state.details.clone();
        CustomerPublic { name, email, country, addresses: state.addresses.clone() }
    }
}

impl Customer {
    fn new(details: Details) -> Self {
        Self {
            details,
            tags: BTreeSet::new(),
            preferences: BTreeMap::new(),
            risk: None,
            addresses: Addresses::default(),
            birth_date: None,
        }
    }
}

fn unknown(customer_id: &str) -> Rejection {
    let id = rules::quoted(customer_id);
    refusals::CUSTOMER_UNKNOWN
        .because(format!("customer_id {id} is not registered: send RegisterCustomer, or correct the id"))
}

#[cfg(test)]
mod tests;
