//! Payments: what each order and each period of a subscription is to pay, what was captured of it, and what was paid back.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::payments::{
    Event as Payments, PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentRequested, RefundRequested,
};
use serde::{Deserialize, Serialize};

use crate::{Recorded, View};

/// The view of payments.
#[derive(Debug)]
pub struct PaymentView;

/// Where a payment stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// There is no payment.
    #[default]
    None,
    /// The provider has not answered yet.
    Requested,
    /// The provider has authorised the money.
    Authorised,
    /// The provider is asked to capture the money.
    Capturing,
    /// The provider has the money.
    Captured,
    /// The provider has refused.
    Declined,
    /// It was given up before it was captured.
    Voided,
    /// Money is on its way back.
    Refunding,
    /// The last refund was paid back, and none is on its way.
    Refunded,
    /// The last refund has failed, and none is on its way.
    RefundFailed,
}

/// The payment of one order, or of one period of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRow {
    /// The order, or the period of a subscription.
    pub order_id: String,
    /// The subscription of which a period is paid; none for an order.
    pub subscription_id: Option<String>,
    /// Who pays.
    pub customer_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// The amount in minor units.
    pub amount: i64,
    /// Its status.
    pub status: PaymentStatus,
    /// What was captured, in minor units, refunded later or not.
    pub captured: i64,
    /// Refunded money, in minor units.
    pub refunded: i64,
    /// What the provider calls what it has captured.
    pub provider_reference: Option<String>,
    /// The provider's code for its refusal.
    pub decline_code: Option<String>,
    /// Why the provider refused.
    pub decline_reason: Option<String>,
    /// When the payment was requested.
    pub requested_at: DateTime<Utc>,
    /// When it was captured.
    pub captured_at: Option<DateTime<Utc>>,
    /// What was to be paid back, in the order in which it was asked for.
    pub refunds: Vec<RefundLine>,
}

/// Money that is to be paid back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundLine {
    /// The refund.
    pub refund_id: String,
    /// Minor units.
    pub amount: i64,
    /// Its status.
    pub status: RefundStatus,
}

/// Where a refund stands, as readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefundStatus {
    /// The provider has not answered yet.
    Open,
    /// The money was refunded.
    Completed,
    /// The provider has refused.
    Failed,
}

impl View for PaymentView {
    const NAME: &'static str = "payments";
    const CONTEXTS: &'static [&'static str] = &["payments"];
    const KEY: &'static str = "order_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    type Row = PaymentRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Payments(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: PaymentRow, key: &str, recorded: &Recorded) -> PaymentRow {
        let row = PaymentRow { order_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Payments(event) => row.after(event, recorded.occurred_at),
            _ => row,
        }
    }
}

impl PaymentStatus {
    /// Where a payment stands after an event, with or without a refund on its way.
    pub(super) fn after(event: &Payments, refunding: bool) -> Self {
        match event {
            Payments::PaymentRequested(_) => Self::Requested,
            Payments::PaymentAuthorised(_) => Self::Authorised,
            Payments::CaptureRequested(_) => Self::Capturing,
            Payments::PaymentCaptured(_) => Self::Captured,
            Payments::PaymentDeclined(_) => Self::Declined,
            Payments::PaymentVoided(_) => Self::Voided,
            Payments::PaymentRefunded(_) if !refunding => Self::Refunded,
            Payments::RefundFailed(_) if !refunding => Self::RefundFailed,
            Payments::RefundRequested(_) | Payments::PaymentRefunded(_) | Payments::RefundFailed(_) => {
                Self::Refunding
            }
        }
    }
}

impl PaymentRow {
    fn after(self, event: &Payments, occurred_at: DateTime<Utc>) -> Self {
        let row = match event {
            Payments::PaymentRequested(event) => self.requested(event.clone(), occurred_at),
            Payments::PaymentCaptured(event) => self.captured(event, occurred_at),
            Payments::PaymentDeclined(event) => self.declined(event.clone()),
            Payments::CaptureRequested(_) | Payments::PaymentAuthorised(_) | Payments::PaymentVoided(_) => {
                self
            }
            Payments::RefundRequested(event) => self.refund_requested(event),
            Payments::PaymentRefunded(event) => self.refunded(event),
            Payments::RefundFailed(event) => self.ended(&event.refund_id, RefundStatus::Failed),
        };
        let refunding = row.refunds.iter().any(|refund| refund.status == RefundStatus::Open);
        Self { status: PaymentStatus::after(event, refunding), ..row }
    }

    fn requested(self, event: PaymentRequested, requested_at: DateTime<Utc>) -> Self {
        let PaymentRequested { order_id: _, customer_id, amount, currency, subscription_id } = event;
        Self { subscription_id, customer_id, amount, currency, requested_at, ..self }
    }

    /// The context captures at most what was requested and refunds at most that; wrapping only keeps this total.
    fn captured(self, event: &PaymentCaptured, occurred_at: DateTime<Utc>) -> Self {
        let captured = self.captured.wrapping_add(event.amount);
        let provider_reference = Some(event.provider_reference.clone());
        Self { captured, provider_reference, captured_at: Some(occurred_at), ..self }
    }

    fn declined(self, event: PaymentDeclined) -> Self {
        let (decline_code, decline_reason) = (Some(event.code), Some(event.reason));
        Self { decline_code, decline_reason, ..self }
    }

    fn refund_requested(mut self, event: &RefundRequested) -> Self {
        let (refund_id, amount) = (event.refund_id.clone(), event.amount);
        self.refunds.push(RefundLine { refund_id, amount, status: RefundStatus::Open });
        self
    }

    fn refunded(self, event: &PaymentRefunded) -> Self {
        let refunded = self.refunded.wrapping_add(event.amount);
        Self { refunded, ..self.ended(&event.refund_id, RefundStatus::Completed) }
    }

    fn ended(mut self, refund_id: &str, status: RefundStatus) -> Self {
        let refund = self.refunds.iter_mut().find(|refund| refund.refund_id == refund_id);
        refund.into_iter().for_each(|refund| refund.status = status);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view, happened};
    use crate::views::subscriptions::tests::of_subscription;
    use crate::views::tests::{
        authorised, capture_requested, captured, declined, payment_requested, refund_failed,
        refund_requested, refunded, voided,
    };

    fn row_after(events: &[Event]) -> PaymentRow {
        fold_view::<PaymentView>(events).remove("1").expect("the payment")
    }

    fn status_after(events: &[Event]) -> PaymentStatus {
        row_after(events).status
    }

    fn line(refund_id: &str, amount: i64, status: RefundStatus) -> RefundLine {
        RefundLine { refund_id: refund_id.into(), amount, status }
    }

    #[test]
    fn a_requested_payment_shows_what_to_pay_and_since_when() {
        let row = row_after(&[payment_requested("1")]);
        assert_eq!((row.amount, row.currency.as_str(), row.customer_id.as_str()), (1_500, "USD", "VINET"));
        assert_eq!((row.status, row.requested_at), (PaymentStatus::Requested, happened(1)));
        assert_eq!((row.captured, row.captured_at), (0, None));
    }

    #[test]
    fn a_payment_shows_that_its_money_is_authorised_and_asked_for() {
        let events = [payment_requested("1"), authorised("1"), capture_requested("1"), captured("1")];
        let statuses = [PaymentStatus::Authorised, PaymentStatus::Capturing, PaymentStatus::Captured];
        assert_eq!([2, 3, 4].map(|count| status_after(&events[..count])), statuses);
        let row = row_after(&events[..3]);
        assert_eq!((row.captured, row.captured_at, row.provider_reference), (0, None, None));
    }

    #[test]
    fn a_captured_payment_shows_when_and_what_the_provider_calls_it() {
        let row = row_after(&[payment_requested("1"), captured("1")]);
        assert_eq!((row.status, row.captured), (PaymentStatus::Captured, 1_500));
        assert_eq!(row.captured_at, Some(happened(2)));
        assert_eq!(row.provider_reference.as_deref(), Some("pay-1"));
    }

    #[test]
    fn a_declined_payment_shows_why() {
        let row = row_after(&[payment_requested("1"), declined("1")]);
        assert_eq!(row.status, PaymentStatus::Declined);
        assert_eq!(row.decline_code.as_deref(), Some("card-expired"));
        assert_eq!(row.decline_reason.as_deref(), Some("the card has expired"));
    }

    #[test]
    fn a_payment_may_be_captured_after_it_was_voided() {
        let events = [payment_requested("1"), voided("1"), captured("1")];
        assert_eq!(status_after(&events[..2]), PaymentStatus::Voided);
        assert_eq!(status_after(&events), PaymentStatus::Captured);
    }

    #[test]
    fn a_payment_is_refunding_as_long_as_a_refund_is_on_its_way() {
        let mut events = vec![
            payment_requested("1"),
            captured("1"),
            refund_requested("1", "b", 1_000),
            refund_requested("1", "a", 500),
            refunded("1", "a", 500),
        ];
        let row = row_after(&events);
        assert_eq!((row.status, row.refunded), (PaymentStatus::Refunding, 500));
        let refunds = [line("b", 1_000, RefundStatus::Open), line("a", 500, RefundStatus::Completed)];
        assert_eq!(row.refunds, refunds);
        events.push(refunded("1", "b", 1_000));
        assert_eq!(status_after(&events), PaymentStatus::Refunded);
    }

    #[test]
    fn a_refund_that_failed_is_shown_until_another_one_is_asked_for() {
        let mut events = vec![
            payment_requested("1"),
            captured("1"),
            refund_requested("1", "a", 500),
            refund_failed("1", "a", 500),
        ];
        let row = row_after(&events);
        assert_eq!((row.status, row.refunded), (PaymentStatus::RefundFailed, 0));
        assert_eq!(row.refunds, [line("a", 500, RefundStatus::Failed)]);
        events.push(refund_requested("1", "b", 500));
        assert_eq!(status_after(&events), PaymentStatus::Refunding);
    }

    #[test]
    fn a_payment_of_a_subscription_names_it() {
        let row = row_after(&[of_subscription("s1", payment_requested("1"))]);
        assert_eq!(row.subscription_id.as_deref(), Some("s1"));
        assert_eq!(row_after(&[payment_requested("1")]).subscription_id, None);
    }

    #[test]
    fn payments_do_not_touch_each_other() {
        let first = vec![payment_requested("1"), captured("1"), refund_requested("1", "a", 500)];
        let second = vec![payment_requested("2"), declined("2")];
        let rows = assert_same_rows_in_any_order::<PaymentView>(&[first, second]);
        let statuses: Vec<PaymentStatus> = rows.values().map(|row| row.status).collect();
        assert_eq!(statuses, [PaymentStatus::Refunding, PaymentStatus::Declined]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        let events = [payment_requested("1"), captured("1"), refund_requested("1", "a", 500)];
        assert_survives_storage(&row_after(&events));
        assert_survives_storage(&row_after(&[payment_requested("1"), declined("1")]));
    }
}
