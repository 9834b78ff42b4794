//! Refusals of reviews.

use crate::contexts::{catalog, customers};
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        catalog::refusals::PRODUCT_MISSING,
        customers::refusals::CUSTOMER_MISSING,
        shared::ID_INVALID,
        shared::REASON_INVALID,
        shared::TEXT_INVALID,
        shared::TIME_INVALID,
    ];
    RATING_INVALID = "rating-invalid" when "the rating is not 1 to 5 stars";
    REVIEW_EXISTS = "review-exists" when "the customer has already reviewed the product";
    REVIEW_ID_INVALID = "review-id-invalid" when "the id is not the one that is made of the product and the customer";
    REVIEW_UNKNOWN = "review-unknown" when "the review was never written";
    REVIEW_WITHDRAWN = "review-withdrawn" when "the review was withdrawn";
    TITLE_INVALID = "title-invalid" when "the title is empty or too long, or has control characters";
}
