//! The meaning of events, rejections and timers for a fulfilment.

use millrace_schemas::inventory::{Event as Inventory, ReleaseStock, ReserveStock, ReturnStock, ShipStock};
use millrace_schemas::orders::{CancelOrder, ConfirmOrder, Event as Orders};
use millrace_schemas::payments::{
    Event as Payments, RefundPayment, RequestCapture, RequestPayment, VoidPayment,
};
use millrace_schemas::{AvroRecord as _, CommandRejected, Event};

use super::DEADLINE;
use crate::contexts::payments::subscription_of;
use crate::{Input, Recorded};

/// What has happened to an order, its stock or its money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened<'h> {
    Reserved,
    Released,
    Shipped,
    Returned,
    /// The version of the payment.
    PaymentRequested(i64),
    /// The version of the payment.
    Authorised(i64),
    /// The version of the payment.
    CaptureRequested(i64),
    Captured,
    /// Declined or voided, and why.
    NotPaid(&'h str),
    RefundRequested,
    Refunded,
    RefundFailed,
    Confirmed,
    /// Why.
    Cancelled(&'h str),
    Refused(Asked, &'h CommandRejected),
    DeadlinePassed,
    /// An operator cancels it, with the reason.
    Unwanted(&'h str),
}

/// A command that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Reserve,
    Release,
    Ship,
    Return,
    Payment,
    Capture,
    Void,
    Refund,
    Confirm,
    Cancel,
}

/// The order that an event is about. A payment of a subscription is about none.
pub(super) fn order_of(event: &Event) -> Option<String> {
    let id = match event {
        Event::Orders(event) => millrace_schemas::Message::key(event),
        Event::Payments(event) if subscription_of(event).is_some() => return None,
        Event::Payments(event) => millrace_schemas::Message::key(event),
        Event::Inventory(Inventory::StockReserved(event)) => &event.reservation_id,
        Event::Inventory(Inventory::StockReleased(event)) => &event.reservation_id,
        Event::Inventory(Inventory::StockShipped(event)) => &event.reservation_id,
        Event::Inventory(Inventory::StockReturned(event)) => &event.reservation_id,
        Event::Inventory(Inventory::StockReceived(_) | Inventory::StockAdjusted(_)) => return None,
        _ => return None,
    };
    Some(id.to_owned())
}

impl<'h> Happened<'h> {
    /// `None` for what does not matter to a fulfilment that has begun.
    pub(super) fn of(input: &Input<'h>) -> Option<Self> {
        match input {
            Input::Event(recorded) => Self::event(recorded),
            Input::Rejection(rejection) => Some(Self::Refused(asked(rejection)?, rejection)),
            Input::Timer(DEADLINE, _) => Some(Self::DeadlinePassed),
            Input::Timer(..) => None,
            Input::Cancel(why) => Some(Self::Unwanted(why)),
        }
    }

    fn event(Recorded { event, version, .. }: &'h Recorded) -> Option<Self> {
        match event {
            Event::Orders(event) => Self::order(event),
            Event::Inventory(event) => Self::stock(event),
            Event::Payments(event) => Some(Self::payment(event, *version)),
            _ => None,
        }
    }

    fn order(event: &'h Orders) -> Option<Self> {
        match event {
            Orders::OrderConfirmed(_) => Some(Self::Confirmed),
            Orders::OrderCancelled(event) => Some(Self::Cancelled(&event.reason)),
            Orders::OrderDelivered(_) | Orders::OrderPlaced(_) | Orders::OrderShipped(_) => None,
        }
    }

    fn stock(event: &Inventory) -> Option<Self> {
        match event {
            Inventory::StockReserved(_) => Some(Self::Reserved),
            Inventory::StockReleased(_) => Some(Self::Released),
            Inventory::StockShipped(_) => Some(Self::Shipped),
            Inventory::StockReturned(_) => Some(Self::Returned),
            Inventory::StockReceived(_) | Inventory::StockAdjusted(_) => None,
        }
    }

    fn payment(event: &'h Payments, version: i64) -> Self {
        match event {
            Payments::PaymentRequested(_) => Self::PaymentRequested(version),
            Payments::PaymentAuthorised(_) => Self::Authorised(version),
            Payments::CaptureRequested(_) => Self::CaptureRequested(version),
            Payments::PaymentCaptured(_) => Self::Captured,
            Payments::PaymentDeclined(event) => Self::NotPaid(&event.reason),
            Payments::PaymentVoided(event) => Self::NotPaid(&event.reason),
            Payments::RefundRequested(_) => Self::RefundRequested,
            Payments::PaymentRefunded(_) => Self::Refunded,
            Payments::RefundFailed(_) => Self::RefundFailed,
        }
    }
}

fn asked(rejection: &CommandRejected) -> Option<Asked> {
    let types = [
        (ReserveStock::FULL_NAME, Asked::Reserve),
        (ReleaseStock::FULL_NAME, Asked::Release),
        (ShipStock::FULL_NAME, Asked::Ship),
        (ReturnStock::FULL_NAME, Asked::Return),
        (RequestPayment::FULL_NAME, Asked::Payment),
        (RequestCapture::FULL_NAME, Asked::Capture),
        (VoidPayment::FULL_NAME, Asked::Void),
        (RefundPayment::FULL_NAME, Asked::Refund),
        (ConfirmOrder::FULL_NAME, Asked::Confirm),
        (CancelOrder::FULL_NAME, Asked::Cancel),
    ];
    let found = types.into_iter().find(|(full_name, _)| *full_name == rejection.command_type);
    found.map(|(_, asked)| asked)
}
