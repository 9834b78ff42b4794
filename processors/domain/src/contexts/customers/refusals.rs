//! Refusals of customers.

use crate::Refusal;
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        shared::COUNTRY_CODE_INVALID,
        shared::EMAIL_INVALID,
        shared::ID_INVALID,
        shared::NAME_INVALID,
        shared::PHONE_INVALID,
        shared::POSTAL_CODE_INVALID,
        shared::REASON_INVALID,
        shared::TIME_INVALID,
    ];
    ADDRESS_IS_DEFAULT = "address-is-default" when "the default address is to be removed while there are others";
    ADDRESS_LINE_INVALID = "address-line-invalid" when "a line of an address is empty or too long, or has control characters";
    ADDRESSES_TOO_MANY = "addresses-too-many" when "the customer has as many addresses as there can be";
    BIRTH_DATE_INVALID = "birth-date-invalid" when "the date of birth is no date, or before 1900";
    CITY_INVALID = "city-invalid" when "the city is empty or too long, or has control characters";
    CONTACT_MISSING = "contact-missing" when "there is neither an e-mail address nor a phone number";
    CONTACT_NAME_INVALID = "contact-name-invalid" when "the contact's name is empty or too long, or has control characters";
    COUNTRY_INVALID = "country-invalid" when "the country is empty or too long, or has control characters";
    CUSTOMER_EXISTS = "customer-exists" when "a customer with this id is already registered";
    CUSTOMER_UNKNOWN = "customer-unknown" when "the customer is not registered";
    PREFERENCE_NAME_INVALID = "preference-name-invalid" when "the name of a preference is empty, too long, or not spelt as one";
    PREFERENCE_VALUE_INVALID = "preference-value-invalid" when "a preference's value is empty or too long, or has control characters";
    PREFERENCES_TOO_MANY = "preferences-too-many" when "the customer has as many preferences as there can be";
    RISK_ASSESSMENT_OUTDATED = "risk-assessment-outdated" when "a newer assessment of the risk is known";
    RISK_SCORE_INVALID = "risk-score-invalid" when "the score is not 0 to 100";
    TAG_INVALID = "tag-invalid" when "a tag is empty, too long, or not spelt as one";
    TAGS_TOO_MANY = "tags-too-many" when "the customer has as many tags as there can be";
}

/// In the contexts that refer to customers.
pub(crate) const CUSTOMER_MISSING: Refusal = CUSTOMER_UNKNOWN
    .meaning("the customer is not registered; Millrace waits for that first, so only other callers get this");
