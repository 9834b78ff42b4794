//! The decision to write a review.

use millrace_schemas::reviews::{ReviewWritten, WriteReview};

use super::{Content, Decision, Review, content, refusals};
use crate::contexts::catalog::{self, Catalog};
use crate::contexts::customers::{self, Customers};
use crate::rules::{self, Checked};
use crate::{Reference, References, Rejection, emit};

/// The product and the customer. A malformed review refers to nothing, since it is rejected anyway.
pub(super) fn references(command: &WriteReview) -> Vec<Reference> {
    check(command).map_or_else(
        |_| Vec::new(),
        |()| {
            vec![
                Reference::to::<Catalog>(&command.product_id),
                Reference::to::<Customers>(&command.customer_id),
            ]
        },
    )
}

/// Writes a review that is not there yet, or no longer.
pub(super) fn write(known: Option<&Review>, references: &References, command: &WriteReview) -> Decision {
    check(command)?;
    if known.is_some_and(|review| !review.withdrawn) {
        return Err(exists(&command.review_id));
    }
    let WriteReview { review_id, product_id, customer_id, rating, title, text, written_at } = command.clone();
    references.check::<Catalog>(catalog::refusals::PRODUCT_MISSING, "product_id", &product_id)?;
    references.check::<Customers>(customers::refusals::CUSTOMER_MISSING, "customer_id", &customer_id)?;
    Ok(vec![emit(ReviewWritten { review_id, product_id, customer_id, rating, title, text, written_at })])
}

fn check(command: &WriteReview) -> Checked {
    rules::id("product_id", &command.product_id)?;
    rules::id("customer_id", &command.customer_id)?;
    check_id(command)?;
    content!(command).check()?;
    rules::time("written_at", command.written_at)
}

/// The id is made of the product's and the customer's, so there is no second stream for a second review.
fn check_id(command: &WriteReview) -> Checked {
    let WriteReview { review_id, product_id, customer_id, .. } = command;
    let expected = id_of(product_id, customer_id);
    if *review_id != expected {
        let id = rules::quoted(review_id);
        let message = format!(
            "review_id is {id}: send {expected:?}, which is product_id (with ~ written ~0 and : written ~1), a colon, \
             and customer_id"
        );
        return Err(refusals::REVIEW_ID_INVALID.because(message));
    }
    rules::id("review_id", review_id)
}

/// The id of a customer's review of a product. The first colon always ends the product, because colons in the
/// product's own id are escaped, as slashes are in JSON pointers: so no two pairs share an id, whatever is in theirs.
pub(super) fn id_of(product_id: &str, customer_id: &str) -> String {
    let product_id = product_id.replace('~', "~0").replace(':', "~1");
    format!("{product_id}:{customer_id}")
}

fn exists(review_id: &str) -> Rejection {
    let id = rules::quoted(review_id);
    refusals::REVIEW_EXISTS
        .because(format!("review_id {id} was already written: send EditReview, or WithdrawReview first"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_reviews_have_the_same_id_only_if_product_and_customer_are_the_same(
            one in ("[a:~01]{1,4}", "[a:~01]{1,4}"),
            other in ("[a:~01]{1,4}", "[a:~01]{1,4}"),
        ) {
            prop_assert_eq!(id_of(&one.0, &one.1) == id_of(&other.0, &other.1), one == other);
        }
    }

    #[test]
    fn a_colon_on_either_side_stays_on_its_side() {
        assert_eq!(id_of("a", "b:c"), "a:b:c");
        assert_eq!(id_of("a:b", "c"), "a~1b:c");
        assert_eq!(id_of("a~1b", "c"), "a~01b:c");
    }
}
