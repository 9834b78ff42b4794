//! Refusals that several contexts share. Each context lists those that it gives.

use crate::Refusal;

pub(crate) const AMOUNT_INVALID: Refusal =
    Refusal::new("amount-invalid", "an amount is not 1 minor unit or more, or is too large");
pub(crate) const COUNTRY_CODE_INVALID: Refusal =
    Refusal::new("country-code-invalid", "the country is not a code of two letters of ISO 3166-1");
pub(crate) const CURRENCY_INVALID: Refusal =
    Refusal::new("currency-invalid", "the currency is not a code of ISO 4217 today");
pub(crate) const DISCOUNT_INVALID: Refusal =
    Refusal::new("discount-invalid", "a discount is not 0 to 10000 basis points");
pub(crate) const EMAIL_INVALID: Refusal =
    Refusal::new("email-invalid", "the e-mail address does not have the form of one");
pub(crate) const ID_INVALID: Refusal =
    Refusal::new("id-invalid", "an id is empty or too long, or has characters that it may not have");
pub(crate) const LINES_TOO_MANY: Refusal =
    Refusal::new("lines-too-many", "there are more lines than one decision takes");
pub(crate) const NAME_INVALID: Refusal =
    Refusal::new("name-invalid", "the name is too short or too long, or has control characters");
pub(crate) const PHONE_INVALID: Refusal =
    Refusal::new("phone-invalid", "the phone number does not have the form of one");
pub(crate) const POSTAL_CODE_INVALID: Refusal =
    Refusal::new("postal-code-invalid", "the postal code is missing, or is not as its country writes them");
pub(crate) const PRICE_NEGATIVE: Refusal = Refusal::new("price-negative", "a price is below 0");
pub(crate) const PRICE_TOO_LARGE: Refusal =
    Refusal::new("price-too-large", "a price is above 1000000000000000 minor units");
pub(crate) const PRODUCT_REPEATED: Refusal =
    Refusal::new("product-repeated", "the same product would be there twice");
pub(crate) const QUANTITY_INVALID: Refusal =
    Refusal::new("quantity-invalid", "a quantity is not 1 unit or more, or is too large");
pub(crate) const REASON_INVALID: Refusal =
    Refusal::new("reason-invalid", "the reason is empty or too long, or has control characters");
pub(crate) const SUBJECT_INVALID: Refusal =
    Refusal::new("subject-invalid", "the subject is empty or too long, or has control characters");
pub(crate) const TEXT_INVALID: Refusal =
    Refusal::new("text-invalid", "the text is too short or too long, or has control characters");
pub(crate) const TIME_INVALID: Refusal =
    Refusal::new("time-invalid", "a time is not in the years 1900 to 2200");
