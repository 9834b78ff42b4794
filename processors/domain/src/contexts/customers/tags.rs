//! Decisions about a customer's tags.

use millrace_schemas::customers::{CustomerTagged, CustomerUntagged, TagCustomer, UntagCustomer};

use super::{Customer, Decision, refusals};
use crate::emit;
use crate::rules::{self, Checked};

pub(super) const TAGS_MAX: usize = 50;
const TAG_CHARACTERS_MAX: usize = 40;

/// Adds a tag. An existing one is accepted without an event.
pub(super) fn tag(customer: &Customer, command: &TagCustomer) -> Decision {
    let TagCustomer { customer_id, tag } = command.clone();
    check(&tag)?;
    if customer.tags.contains(&tag) {
        return Ok(Vec::new());
    }
    if customer.tags.len() >= TAGS_MAX {
        let id = rules::quoted(&customer_id);
        let message = format!("customer_id {id} has {TAGS_MAX} tags, the most there can be: untag one first");
        return Err(refusals::TAGS_TOO_MANY.because(message));
    }
    Ok(vec![emit(CustomerTagged { customer_id, tag })])
}

/// Removes a tag. A missing one is accepted without an event.
pub(super) fn untag(customer: &Customer, command: &UntagCustomer) -> Decision {
    let UntagCustomer { customer_id, tag } = command.clone();
    check(&tag)?;
    let there = customer.tags.contains(&tag);
    Ok(there.then(|| emit(CustomerUntagged { customer_id, tag })).into_iter().collect())
}

/// The customer after a tag was added.
pub(super) fn tagged(mut customer: Customer, event: &CustomerTagged) -> Customer {
    customer.tags.insert(event.tag.clone());
    customer
}

/// The customer after a tag was taken away.
pub(super) fn untagged(mut customer: Customer, event: &CustomerUntagged) -> Customer {
    customer.tags.remove(&event.tag);
    customer
}

/// One spelling for each tag: lower case, one space between words.
pub(super) fn check(tag: &str) -> Checked {
    let spelt = |c: char| c.is_alphanumeric() && !c.is_uppercase() || c == '-';
    let is_word = |word: &str| !word.is_empty() && word.chars().all(spelt);
    if tag.chars().count() <= TAG_CHARACTERS_MAX && tag.split(' ').all(is_word) {
        return Ok(());
    }
    let tag = rules::quoted(tag);
    let way_out = format!(
        "send words of lower-case letters, digits and hyphens with one space between them, at most \
         {TAG_CHARACTERS_MAX} characters"
    );
    Err(refusals::TAG_INVALID.because(format!("tag is {tag}: {way_out}")))
}
