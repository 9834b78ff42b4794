//! A fulfilment's data about its order, and the commands that it sends for it.

use millrace_schemas::inventory::{
    Command as Inventory, ReleaseStock, ReserveStock, ReserveStockLine, ReturnStock, ReturnStockLine,
    ShipStock,
};
use millrace_schemas::notifications::{Command as Notifications, QueueNotification};
use millrace_schemas::orders::{CancelOrder, Command as Orders, ConfirmOrder, OrderPlaced};
use millrace_schemas::payments::{
    Command as Payments, RefundPayment, RequestCapture, RequestPayment, VoidPayment,
};
use serde::{Deserialize, Serialize};

use crate::sagas::{REASON_MAX, readable};

/// An order, as far as its fulfilment needs it. At least one line, nothing negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Order {
    order_id: String,
    customer_id: String,
    currency: String,
    /// In minor units.
    total: i64,
    lines: Vec<Line>,
    /// Whether it is confirmed already.
    confirmed: bool,
}

/// A product of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    product_id: String,
    quantity: i64,
}

/// An order as it was stored, not checked yet.
#[derive(Deserialize)]
struct Stored {
    order_id: String,
    customer_id: String,
    currency: String,
    total: i64,
    lines: Vec<Line>,
    confirmed: bool,
}

impl TryFrom<Stored> for Order {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { order_id, customer_id, currency, total, lines, confirmed } = stored;
        if order_id.is_empty() {
            return Err("order_id is empty".to_owned());
        }
        if total < 0 {
            return Err(format!("total is {total}: it cannot be negative"));
        }
        if lines.is_empty() {
            return Err("lines is empty: nothing was ordered".to_owned());
        }
        if let Some(line) = lines.iter().find(|line| line.quantity < 1) {
            return Err(format!(
                "the quantity of {} is {}: at least one was ordered",
                line.product_id, line.quantity
            ));
        }
        Ok(Self { order_id, customer_id, currency, total, lines, confirmed })
    }
}

impl From<&OrderPlaced> for Order {
    fn from(placed: &OrderPlaced) -> Self {
        let line = |line: &millrace_schemas::orders::OrderPlacedLine| Line {
            product_id: line.product_id.clone(),
            quantity: line.quantity,
        };
        Self {
            order_id: placed.order_id.clone(),
            customer_id: placed.customer_id.clone(),
            currency: placed.currency.clone(),
            total: placed.total,
            lines: placed.lines.iter().map(line).collect(),
            confirmed: false,
        }
    }
}

impl Order {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.order_id
    }

    pub(super) fn is_free(&self) -> bool {
        self.total == 0
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    pub(super) fn confirmed(self) -> Self {
        Self { confirmed: true, ..self }
    }

    pub(super) fn reserve(&self) -> Inventory {
        let line = |Line { product_id, quantity }: Line| ReserveStockLine { product_id, quantity };
        let lines = self.lines.iter().cloned().map(line).collect();
        ReserveStock { reservation_id: self.order_id.clone(), lines }.into()
    }

    pub(super) fn release(&self) -> Inventory {
        ReleaseStock { reservation_id: self.order_id.clone(), product_ids: self.products() }.into()
    }

    pub(super) fn ship(&self) -> Inventory {
        ShipStock { reservation_id: self.order_id.clone(), product_ids: self.products() }.into()
    }

    pub(super) fn bring_back(&self) -> Inventory {
        let line = |Line { product_id, quantity }: Line| ReturnStockLine { product_id, quantity };
        let lines = self.lines.iter().cloned().map(line).collect();
        ReturnStock { reservation_id: self.order_id.clone(), lines }.into()
    }

    fn products(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.product_id.clone()).collect()
    }

    pub(super) fn request_payment(&self) -> Payments {
        let Self { order_id, customer_id, currency, total, .. } = self.clone();
        RequestPayment { order_id, customer_id, amount: total, currency }.into()
    }

    pub(super) fn request_capture(&self) -> Payments {
        RequestCapture { order_id: self.order_id.clone() }.into()
    }

    pub(super) fn void_payment(&self, reason: &str) -> Payments {
        VoidPayment { order_id: self.order_id.clone(), reason: short(reason) }.into()
    }

    /// The `number`-th refund of all that was captured.
    pub(super) fn refund(&self, number: u32, reason: &str) -> Payments {
        let order_id = self.order_id.clone();
        let refund_id = format!("{order_id}/{number}");
        RefundPayment { order_id, refund_id, amount: self.total, reason: short(reason) }.into()
    }

    pub(super) fn confirm(&self) -> Orders {
        ConfirmOrder { order_id: self.order_id.clone() }.into()
    }

    pub(super) fn cancel(&self, reason: &str) -> Orders {
        CancelOrder { order_id: self.order_id.clone(), reason: short(reason) }.into()
    }

    pub(super) fn notify_confirmed(&self) -> Notifications {
        let body = format!("Your order {} is confirmed and on its way.", self.order_id);
        self.notification("confirmed", body)
    }

    pub(super) fn notify_cancelled(&self, reason: &str) -> Notifications {
        let body = format!("Your order {} was cancelled: {reason}", self.order_id);
        self.notification("cancelled", body)
    }

    fn notification(&self, what: &str, body: String) -> Notifications {
        let Self { order_id, customer_id, .. } = self.clone();
        let subject = readable(&format!("Your order {order_id} is {what}"), 200);
        QueueNotification { notification_id: format!("{order_id}-{what}"), customer_id, subject, body }.into()
    }
}

/// A reason, cut to the limit of a command's field.
pub(super) fn short(reason: &str) -> String {
    match reason.trim() {
        "" => "no reason was given".to_owned(),
        reason => readable(reason, REASON_MAX),
    }
}
