//! Decisions about what a customer prefers.

use millrace_schemas::customers::{CustomerPreferenceSet, SetCustomerPreference};

use super::{Customer, Decision, refusals};
use crate::emit;
use crate::rules::{self, Checked, Text};

pub(super) const PREFERENCES_MAX: usize = 50;
const NAME_CHARACTERS_MAX: usize = 40;
const VALUE: Text = Text::new("value", refusals::PREFERENCE_VALUE_INVALID, 1, 200);

/// Sets a preference, or removes it. A change that changes nothing is accepted without an event.
pub(super) fn set(customer: &Customer, command: &SetCustomerPreference) -> Decision {
    let SetCustomerPreference { customer_id, name, value } = command.clone();
    check_name(&name)?;
    VALUE.check_given(value.as_deref())?;
    let known = customer.preferences.get(&name);
    if known == value.as_ref() {
        return Ok(Vec::new());
    }
    if known.is_none() && customer.preferences.len() >= PREFERENCES_MAX {
        let id = rules::quoted(&customer_id);
        let most = format!("{PREFERENCES_MAX} preferences, the most there can be");
        let message = format!("customer_id {id} has {most}: send null as the value of another one first");
        return Err(refusals::PREFERENCES_TOO_MANY.because(message));
    }
    Ok(vec![emit(CustomerPreferenceSet { customer_id, name, value })])
}

/// The customer after a preference was set or removed.
pub(super) fn preferring(mut customer: Customer, event: &CustomerPreferenceSet) -> Customer {
    let CustomerPreferenceSet { customer_id: _, name, value } = event.clone();
    match value {
        Some(value) => customer.preferences.insert(name, value),
        None => customer.preferences.remove(&name),
    };
    customer
}

/// Names are keys of documents, so they have neither spaces nor dots.
fn check_name(name: &str) -> Checked {
    let spelt = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.chars().all(spelt) {
        return Ok(());
    }
    let name = rules::quoted(name);
    let way_out = format!(
        "send 1 to {NAME_CHARACTERS_MAX} lower-case letters a to z, digits, hyphens and underscores, such as language"
    );
    Err(refusals::PREFERENCE_NAME_INVALID.because(format!("name is {name}: {way_out}")))
}
