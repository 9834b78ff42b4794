//! Refusals of payments.

use crate::contexts::{orders, subscriptions};
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        orders::refusals::ORDER_MISSING,
        shared::AMOUNT_INVALID,
        shared::CURRENCY_INVALID,
        shared::ID_INVALID,
        shared::REASON_INVALID,
        subscriptions::refusals::SUBSCRIPTION_MISSING,
    ];
    AMOUNT_DIFFERS = "amount-differs" when "the amount is not what is due, or not what was requested";
    CAPTURE_REQUESTED = "capture-requested" when "the authorised money was already asked for";
    CODE_INVALID = "code-invalid" when "the provider's code is empty or too long, or has control characters";
    CURRENCY_DIFFERS = "currency-differs" when "the currency is not that of the order or the subscription";
    CUSTOMER_DIFFERS = "customer-differs" when "the customer is not that of the order or the subscription";
    PAYMENT_AUTHORISED = "payment-authorised" when "the payment was authorised and not captured yet";
    PAYMENT_CAPTURED = "payment-captured" when "the payment was already captured";
    PAYMENT_CHARGED_AT_ONCE = "payment-charged-at-once" when "the payment is of a subscription, whose periods are charged at once";
    PAYMENT_DECLINED = "payment-declined" when "the payment was declined";
    PAYMENT_EXISTS = "payment-exists" when "the order or the period has a payment already";
    PAYMENT_ID_DIFFERS = "payment-id-differs" when "the id is not that of the payment of this period";
    PAYMENT_NOT_AUTHORISED = "payment-not-authorised" when "the payment was not authorised yet";
    PAYMENT_NOT_CAPTURED = "payment-not-captured" when "the payment was not captured yet";
    PAYMENT_UNKNOWN = "payment-unknown" when "the payment was never requested";
    PAYMENT_VOIDED = "payment-voided" when "the payment was voided";
    PERIOD_NUMBER_INVALID = "period-number-invalid" when "the number of the period is below 1";
    PROVIDER_REFERENCE_INVALID = "provider-reference-invalid" when "the reference is empty or too long, or has control characters";
    REFUND_ENDED = "refund-ended" when "the refund was already completed, or has failed";
    REFUND_EXCEEDS_CAPTURE = "refund-exceeds-capture" when "more is to be paid back than was captured and is not refunded yet";
    REFUND_EXISTS = "refund-exists" when "a refund with this id was already asked for";
    REFUND_UNKNOWN = "refund-unknown" when "the refund was never asked for";
}
