//! A customer in tests.

use millrace_schemas::customers::CustomerRegistered;

/// A customer of whom only the name is known.
pub(crate) fn registered(customer_id: &str, name: &str) -> CustomerRegistered {
    CustomerRegistered {
        customer_id: customer_id.to_owned(),
        name: name.to_owned(),
        contact_name: None,
        email: None,
        phone: None,
        city: None,
        country: None,
    }
}
