//! Refusals of the inventory.

use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        shared::ID_INVALID,
        shared::LINES_TOO_MANY,
        shared::PRODUCT_REPEATED,
        shared::QUANTITY_INVALID,
        shared::REASON_INVALID,
    ];
    DIFFERENCE_ZERO = "difference-zero" when "an adjustment adds nothing and takes nothing away";
    RESERVATION_EMPTY = "reservation-empty" when "no product of the reservation is named";
    RESERVATION_EXISTS = "reservation-exists" when "the reservation has already reserved the product";
    RESERVATION_UNKNOWN = "reservation-unknown" when "the reservation has reserved nothing of the product, or no longer";
    RETURN_EMPTY = "return-empty" when "nothing is named that is returned";
    STOCK_INSUFFICIENT = "stock-insufficient" when "more is reserved or taken away than is available";
    STOCK_OVERFLOW = "stock-overflow" when "more units would be on hand than can be counted";
}
