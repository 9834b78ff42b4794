//! Refusals of the catalog.

use crate::Refusal;
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        shared::CURRENCY_INVALID,
        shared::ID_INVALID,
        shared::NAME_INVALID,
        shared::PRICE_NEGATIVE,
        shared::PRICE_TOO_LARGE,
    ];
    CATEGORY_INVALID = "category-invalid" when "the category is empty or too long, or has control characters";
    PRODUCT_DISCONTINUED = "product-discontinued" when "the product was discontinued";
    PRODUCT_EXISTS = "product-exists" when "a product with this id is already in the catalog";
    PRODUCT_UNKNOWN = "product-unknown" when "the product is not in the catalog";
}

/// In the contexts that refer to products.
pub(crate) const PRODUCT_MISSING: Refusal = PRODUCT_UNKNOWN.meaning(
    "a product is not in the catalog; Millrace waits for that first, so only other callers get this",
);
