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
        shared::TEXT_INVALID,
    ];
    BRAND_INVALID = "brand-invalid" when "the brand is empty or too long, or has control characters";
    CATEGORY_INVALID = "category-invalid" when "the category is empty or too long, or has control characters";
    IMAGE_INVALID = "image-invalid" when "the image's address is empty or too long, or has control characters";
    PRODUCT_DISCONTINUED = "product-discontinued" when "the product was discontinued and is not back on sale";
    PRODUCT_EXISTS = "product-exists" when "a product with this id is already in the catalog";
    PRODUCT_UNKNOWN = "product-unknown" when "the product is not in the catalog";
    UNIT_INVALID = "unit-invalid" when "the unit is empty or too long, or has control characters";
}

/// In the contexts that refer to products.
pub(crate) const PRODUCT_MISSING: Refusal = PRODUCT_UNKNOWN.meaning(
    "a product is not in the catalog; Millrace waits for that first, so only other callers get this",
);
