//! Decisions about a customer's details.

use millrace_schemas::customers::{
    ChangeCustomerDetails, CustomerDetailsChanged, CustomerRegistered, RegisterCustomer,
};
use serde::{Deserialize, Serialize};

use super::{Customer, Decision, refusals};
use crate::rules::{self, Checked, Text};
use crate::{Rejection, emit};

const NAME: Text = Text::new("name", rules::refusals::NAME_INVALID, 2, 200);
const CONTACT_NAME: Text = Text::new("contact_name", refusals::CONTACT_NAME_INVALID, 1, 200);
const CITY: Text = Text::new("city", refusals::CITY_INVALID, 1, 200);
const COUNTRY: Text = Text::new("country", refusals::COUNTRY_INVALID, 1, 200);

/// A customer's details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
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

/// Four records spell the details alike.
macro_rules! details_from {
    ($($record:ident),*) => { $(
        impl From<&$record> for Details {
            fn from(record: &$record) -> Self {
                let $record { customer_id: _, name, contact_name, email, phone, city, country } = record.clone();
                Self { name, contact_name, email, phone, city, country }
            }
        }
    )* };
}
details_from!(RegisterCustomer, ChangeCustomerDetails, CustomerRegistered, CustomerDetailsChanged);

/// Registers a customer who is not there yet.
pub(super) fn register(known: Option<&Customer>, command: &RegisterCustomer) -> Decision {
    rules::id("customer_id", &command.customer_id)?;
    let details = Details::from(command);
    details.check()?;
    match known {
        None => Ok(vec![emit(details.registered(&command.customer_id))]),
        Some(_) => Err(exists(&command.customer_id)),
    }
}

/// Replaces all details.
pub(super) fn change(customer: &Customer, command: &ChangeCustomerDetails) -> Decision {
    let details = Details::from(command);
    details.check()?;
    // The same details again is accepted without an event.
    if customer.details == details {
        return Ok(Vec::new());
    }
    Ok(vec![emit(details.changed(&command.customer_id))])
}

impl Details {
    pub(super) fn check(&self) -> Checked {
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
        Err(refusals::CONTACT_MISSING.because("email and phone are both missing: send at least one of them"))
    }

    pub(super) fn registered(self, customer_id: &str) -> CustomerRegistered {
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

    pub(super) fn changed(self, customer_id: &str) -> CustomerDetailsChanged {
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
    refusals::CUSTOMER_EXISTS.because(format!(
        "customer_id {id} is already registered: send ChangeCustomerDetails, or take another id"
    ))
}
