//! Customers: who buys, and how to reach them.

use millrace_schemas::Message;
use millrace_schemas::customers::{
    ChangeCustomerDetails, Command, CustomerDetailsChanged, CustomerRegistered, Event, RegisterCustomer,
};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Checked, Text};
use crate::{Context, Emitted, Faces, Rejection, Streams, emit};

const NAME: Text = Text::new("name", "name-invalid", 2, 200);
const CONTACT_NAME: Text = Text::new("contact_name", "contact-name-invalid", 1, 200);
const CITY: Text = Text::new("city", "city-invalid", 1, 200);
const COUNTRY: Text = Text::new("country", "country-invalid", 1, 200);

/// The context of customers; a stream is one customer.
#[derive(Debug)]
pub struct Customers;

/// A customer's details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Company or person.
    pub name: String,
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
}

/// What other contexts may see of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFace {
    /// Company or person.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Country, as the upstream system spells it.
    pub country: Option<String>,
}

/// The details that four records spell alike.
macro_rules! details {
    ($record:expr) => {
        Customer {
            name: $record.name.clone(),
            contact_name: $record.contact_name.clone(),
            email: $record.email.clone(),
            phone: $record.phone.clone(),
            city: $record.city.clone(),
            country: $record.country.clone(),
        }
    };
}

impl Context for Customers {
    const NAME: &'static str = "customers";
    const STATE_VERSION: i32 = 1;
    type State = Customer;
    type Command = Command;
    type Event = Event;
    type Face = CustomerFace;

    fn streams(command: &Command) -> Vec<String> {
        rules::streams([command.key()])
    }

    fn decide(
        streams: &Streams<Customer>,
        _faces: &Faces,
        command: &Command,
    ) -> Result<Vec<Emitted<Event>>, Rejection> {
        let customer = streams.get(command.key());
        match command {
            Command::RegisterCustomer(command) => register(customer, command),
            Command::ChangeCustomerDetails(command) => change(customer, command),
        }
    }

    fn evolve(state: Option<Customer>, event: &Event) -> Option<Customer> {
        match event {
            Event::CustomerRegistered(event) => state.or_else(|| Some(details!(event))),
            Event::CustomerDetailsChanged(event) => state.map(|_| details!(event)),
        }
    }

    fn face(state: &Customer) -> CustomerFace {
        let Customer { name, email, country, .. } = state.clone();
        CustomerFace { name, email, country }
    }
}

fn register(known: Option<&Customer>, command: &RegisterCustomer) -> Result<Vec<Emitted<Event>>, Rejection> {
    rules::id("customer_id", &command.customer_id)?;
    let details = details!(command);
    details.check()?;
    match known {
        None => Ok(vec![emit(details.registered(&command.customer_id))]),
        Some(_) => Err(exists(&command.customer_id)),
    }
}

fn change(
    known: Option<&Customer>,
    command: &ChangeCustomerDetails,
) -> Result<Vec<Emitted<Event>>, Rejection> {
    let known = known.ok_or_else(|| unknown(&command.customer_id))?;
    let details = details!(command);
    details.check()?;
    // The same details again are fine, and nothing happens.
    if *known == details {
        return Ok(Vec::new());
    }
    Ok(vec![emit(details.changed(&command.customer_id))])
}

impl Customer {
    fn check(&self) -> Checked {
        NAME.check(&self.name)?;
        CONTACT_NAME.check_given(self.contact_name.as_deref())?;
        CITY.check_given(self.city.as_deref())?;
        COUNTRY.check_given(self.country.as_deref())?;
        self.email.as_deref().map_or(Ok(()), rules::email)?;
        self.phone.as_deref().map_or(Ok(()), rules::phone)?;
        self.can_be_reached()
    }

    fn can_be_reached(&self) -> Checked {
        if self.email.is_some() || self.phone.is_some() {
            return Ok(());
        }
        Err(Rejection::new("contact-missing", "email and phone are both missing: send at least one of them"))
    }

    fn registered(self, customer_id: &str) -> CustomerRegistered {
        let Self { name, contact_name, email, phone, city, country } = self;
        CustomerRegistered {
            customer_id: customer_id.to_owned(),
            name,
            contact_name,
            email,
            phone,
            city,
            country,
        }
    }

    fn changed(self, customer_id: &str) -> CustomerDetailsChanged {
        let Self { name, contact_name, email, phone, city, country } = self;
        CustomerDetailsChanged {
            customer_id: customer_id.to_owned(),
            name,
            contact_name,
            email,
            phone,
            city,
            country,
        }
    }
}

fn exists(customer_id: &str) -> Rejection {
    let id = rules::quoted(customer_id);
    Rejection::new(
        "customer-exists",
        format!("customer_id {id} is already registered: send ChangeCustomerDetails, or take another id"),
    )
}

fn unknown(customer_id: &str) -> Rejection {
    let id = rules::quoted(customer_id);
    Rejection::new(
        "customer-unknown",
        format!("customer_id {id} is not registered: send RegisterCustomer, or correct the id"),
    )
}

#[cfg(test)]
mod tests;
