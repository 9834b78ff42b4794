//! Refusals of orders.

use crate::Refusal;
use crate::contexts::{catalog, customers};
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        catalog::refusals::PRODUCT_MISSING,
        customers::refusals::CUSTOMER_MISSING,
        shared::CURRENCY_INVALID,
        shared::DISCOUNT_INVALID,
        shared::ID_INVALID,
        shared::LINES_TOO_MANY,
        shared::PRICE_NEGATIVE,
        shared::PRICE_TOO_LARGE,
        shared::PRODUCT_REPEATED,
        shared::QUANTITY_INVALID,
        shared::REASON_INVALID,
        shared::TIME_INVALID,
    ];
    ADDRESS_UNKNOWN = "address-unknown" when "the order is to ship to an address that the customer does not have";
    AMOUNT_TOO_LARGE = "amount-too-large" when "a line or the order costs more than an order may cost";
    CARRIER_INVALID = "carrier-invalid" when "the carrier is empty or too long, or has control characters";
    ORDER_DELIVERED = "order-delivered" when "an order that was delivered is to be delivered";
    ORDER_EMPTY = "order-empty" when "the order has no lines";
    ORDER_EXISTS = "order-exists" when "an order with this id was already placed";
    ORDER_NOT_CONFIRMED = "order-not-confirmed" when "an order that is not confirmed is to be shipped";
    ORDER_NOT_OPEN = "order-not-open" when "an order that is shipped or cancelled is to be cancelled";
    ORDER_NOT_PLACED = "order-not-placed" when "an order that is confirmed, shipped or cancelled is to be confirmed";
    ORDER_NOT_SHIPPED = "order-not-shipped" when "an order that is not shipped is to be delivered";
    ORDER_UNKNOWN = "order-unknown" when "the order was never placed";
    TOTAL_MISMATCH = "total-mismatch" when "the total is not what the lines add up to";
    TRACKING_NUMBER_INVALID = "tracking-number-invalid" when "the tracking number is empty or too long, or has control characters";
}

/// In the contexts that refer to orders.
pub(crate) const ORDER_MISSING: Refusal = ORDER_UNKNOWN
    .meaning("the order was never placed; Millrace waits for that first, so only other callers get this");
