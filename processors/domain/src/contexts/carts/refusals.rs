//! Refusals of carts.

use crate::contexts::{catalog, customers};
use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        catalog::refusals::PRODUCT_DISCONTINUED,
        catalog::refusals::PRODUCT_MISSING,
        customers::refusals::CUSTOMER_MISSING,
        shared::CURRENCY_INVALID,
        shared::ID_INVALID,
        shared::LINES_TOO_MANY,
        shared::PRODUCT_REPEATED,
        shared::QUANTITY_INVALID,
        shared::REASON_INVALID,
        shared::TIME_INVALID,
    ];
    AMOUNT_TOO_LARGE = "amount-too-large" when "the cart would cost more than an order may cost";
    CART_ABANDONED = "cart-abandoned" when "the cart was abandoned";
    CART_CHECKED_OUT = "cart-checked-out" when "the cart was checked out";
    CART_EMPTY = "cart-empty" when "a cart with nothing in it is to be checked out";
    CART_EXISTS = "cart-exists" when "a cart with this id was already created";
    CART_NOT_CHECKED_OUT = "cart-not-checked-out" when "a cart that is not checked out is to be reopened";
    CART_UNKNOWN = "cart-unknown" when "the cart was never created";
    CURRENCY_DIFFERS = "currency-differs" when "the product's price is in another currency than the cart";
    PRODUCT_NOT_IN_CART = "product-not-in-cart" when "the product is not in the cart";
}
