//! Customers: registered, then changed three times. Four commands and four events each.

use millrace_schemas::customers::{
    ChangeCustomerDetails, Command, CustomerDetailsChanged, CustomerRegistered, Event, RegisterCustomer,
};

use serde_json::{Value, json};

use super::{Step, id, time};

/// Records of each stream.
pub(crate) const VERSIONS: u64 = 4;

const CITIES: [&str; 4] = ["Berlin", "Ciudad de México", "London", "Luleå"];

macro_rules! details {
    ($record:ident, $step:expr) => {
        $record {
            customer_id: customer($step),
            name: format!("Customer number {}", $step.stream),
            contact_name: Some("Maria Anders".to_owned()),
            email: Some(format!("customer.{}@example.com", $step.stream)),
            phone: Some(format!("030-{:07}", $step.stream * 10 + $step.version)),
            city: city($step),
            country: Some("Germany".to_owned()),
        }
    };
}

/// The id of the step's customer.
pub(crate) fn customer(step: Step) -> String {
    id("customer", step.stream).to_string()
}

/// A number that no other command has; close to each other for the usual versions of a stream.
pub(crate) fn number(step: Step) -> u64 {
    let (later, usual) = ((step.version - 1) / VERSIONS, (step.version - 1) % VERSIONS);
    (later << 32) + step.stream * VERSIONS + usual + 1
}

fn city(step: Step) -> Option<String> {
    CITIES
        .iter()
        .cycle()
        .nth(usize::try_from(step.version).unwrap_or(0) % CITIES.len())
        .map(|c| (*c).to_owned())
}

/// The command that leads to a version.
pub(crate) fn command(step: Step) -> Command {
    match step.version {
        1 => details!(RegisterCustomer, step).into(),
        _ => details!(ChangeCustomerDetails, step).into(),
    }
}

/// The event of a version.
pub(crate) fn event(step: Step) -> Event {
    match step.version {
        1 => details!(CustomerRegistered, step).into(),
        _ => details!(CustomerDetailsChanged, step).into(),
    }
}

/// The row that a version leads to, as far as it is not empty.
pub(crate) fn row(step: Step) -> Value {
    let CustomerDetailsChanged { customer_id, name, contact_name, email, phone, city, country } =
        details!(CustomerDetailsChanged, step);
    json!({
        "customer_id": customer_id, "name": name, "contact_name": contact_name, "email": email, "phone": phone,
        "city": city, "country": country, "version": step.version, "updated_at": time(step).0,
    })
}
