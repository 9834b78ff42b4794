//! The customer's history: orders with their lines, payments, shipments and subscriptions, a row for each thing that
//! happened.
//!
//! A shipment is an order that left the warehouse, which names its customer. Stock that leaves names only the order that it
//! was reserved for, and is no row of its own here.

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_schemas::orders::{Event as Orders, OrderShipped};
use millrace_schemas::payments::Event as Payments;
use millrace_schemas::subscriptions::Event as Subscriptions;
use millrace_schemas::{Event, short_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::time;
use crate::{Recorded, View};

/// The view of customers' histories.
#[derive(Debug)]
pub struct CustomerHistory;

/// One thing that happened to a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Where it was recorded: context, version and stream of the event.
    pub entry_id: String,
    /// The customer.
    pub customer_id: String,
    /// When it happened, as the business says; else when it was decided.
    pub at: DateTime<Utc>,
    /// What happened, such as `order_placed`.
    pub kind: String,
    /// The order, payment or subscription.
    pub reference_id: String,
    /// What it is about in minor units.
    pub amount: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// What else is known of it: lines, reasons, periods.
    pub detail: Value,
}

/// The fields of an entry that differ from event to event.
struct Fields<'e> {
    customer_id: &'e str,
    /// In microseconds since 1970, when the event has a time of the business.
    at: Option<i64>,
    amount: Option<i64>,
    currency: Option<&'e str>,
    detail: Value,
}

impl View for CustomerHistory {
    const NAME: &'static str = "customer_history";
    const CONTEXTS: &'static [&'static str] = &["orders", "payments", "subscriptions"];
    const KEY: &'static str = "entry_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    const FOLD: u32 = 2;
    type Row = HistoryRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            // Events of the first version may not name their customer.
            Event::Orders(Orders::OrderConfirmed(event)) if event.customer_id.is_empty() => Vec::new(),
            Event::Orders(_) | Event::Payments(_) | Event::Subscriptions(_) => {
                let Recorded { stream, version, event, .. } = recorded;
                vec![format!("{}/{version}/{stream}", event.context())]
            }
            _ => Vec::new(),
        }
    }

    fn evolve(row: HistoryRow, key: &str, recorded: &Recorded) -> HistoryRow {
        let fields = match &recorded.event {
            Event::Orders(event) => of_order(event),
            Event::Payments(event) => of_payment(event),
            Event::Subscriptions(event) => of_subscription(event),
            _ => return row,
        };
        HistoryRow {
            entry_id: key.to_owned(),
            customer_id: fields.customer_id.to_owned(),
            at: fields.at.map_or(recorded.occurred_at, time),
            kind: snake_case(short_name(recorded.event.full_name())),
            reference_id: recorded.stream.clone(),
            amount: fields.amount,
            currency: fields.currency.map(str::to_owned),
            detail: fields.detail,
        }
    }
}

/// `order_placed` of `OrderPlaced`.
fn snake_case(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 2);
    for (place, letter) in name.char_indices() {
        if place > 0 && letter.is_ascii_uppercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// Who pays for what: the fields that many events spell alike.
macro_rules! fields {
    ($event:expr, $amount:ident, $at:expr, $detail:expr) => {
        Fields {
            customer_id: &$event.customer_id,
            at: $at,
            amount: Some($event.$amount),
            currency: Some(&$event.currency),
            detail: $detail,
        }
    };
}

fn of_order(event: &Orders) -> Fields<'_> {
    match event {
        Orders::OrderPlaced(event) => {
            fields!(event, total, Some(event.placed_at), json!({"lines": event.lines}))
        }
        // The first version of this event has no amount.
        Orders::OrderConfirmed(event) if event.currency.is_empty() => {
            Fields { amount: None, currency: None, ..fields!(event, total, None, json!({})) }
        }
        Orders::OrderConfirmed(event) => fields!(event, total, None, json!({})),
        Orders::OrderCancelled(event) => fields!(event, total, None, json!({"reason": event.reason})),
        Orders::OrderShipped(event) => Fields {
            customer_id: &event.customer_id,
            at: Some(event.shipped_at),
            amount: None,
            currency: None,
            detail: consigned(event),
        },
        Orders::OrderDelivered(event) => Fields {
            customer_id: &event.customer_id,
            at: Some(event.delivered_at),
            amount: None,
            currency: None,
            detail: json!({}),
        },
    }
}

/// What is known of the consignment.
fn consigned(event: &OrderShipped) -> Value {
    let OrderShipped { carrier, tracking_number, .. } = event.clone();
    let known = [("carrier", carrier), ("tracking_number", tracking_number)];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect()
}

fn of_payment(event: &Payments) -> Fields<'_> {
    match event {
        Payments::PaymentRequested(event) => fields!(event, amount, None, json!({})),
        Payments::PaymentAuthorised(event) => {
            fields!(event, amount, None, json!({"provider_reference": event.provider_reference}))
        }
        Payments::CaptureRequested(event) => fields!(event, amount, None, json!({})),
        Payments::PaymentCaptured(event) => {
            fields!(event, amount, None, json!({"provider_reference": event.provider_reference}))
        }
        Payments::PaymentDeclined(event) => {
            fields!(event, amount, None, json!({"code": event.code, "reason": event.reason}))
        }
        Payments::PaymentVoided(event) => fields!(event, amount, None, json!({"reason": event.reason})),
        Payments::RefundRequested(event) => {
            fields!(event, amount, None, json!({"refund_id": event.refund_id, "reason": event.reason}))
        }
        Payments::PaymentRefunded(event) => {
            let detail =
                json!({"refund_id": event.refund_id, "provider_reference": event.provider_reference});
            fields!(event, amount, None, detail)
        }
        Payments::RefundFailed(event) => {
            fields!(event, amount, None, json!({"refund_id": event.refund_id, "reason": event.reason}))
        }
    }
}

fn of_subscription(event: &Subscriptions) -> Fields<'_> {
    match event {
        Subscriptions::SubscriptionStarted(event) => {
            let detail = period(&event.plan, event.period_number, event.period_from, event.period_until);
            fields!(event, amount, Some(event.started_at), detail)
        }
        Subscriptions::SubscriptionRenewed(event) => {
            let detail = period(&event.plan, event.period_number, event.period_from, event.period_until);
            fields!(event, amount, None, detail)
        }
        Subscriptions::SubscriptionResumed(event) => {
            let detail = period(&event.plan, event.period_number, event.period_from, event.period_until);
            fields!(event, amount, Some(event.resumed_at), detail)
        }
        Subscriptions::SubscriptionLapsed(event) => {
            let mut detail = period(&event.plan, event.period_number, event.period_from, event.period_until);
            if let Some(fields) = detail.as_object_mut() {
                fields.insert("reason".to_owned(), event.reason.clone().into());
            }
            fields!(event, amount, None, detail)
        }
        Subscriptions::SubscriptionPaused(event) => fields!(event, amount, None, json!({"plan": event.plan})),
        Subscriptions::SubscriptionCancelled(event) => {
            fields!(event, amount, None, json!({"plan": event.plan, "reason": event.reason}))
        }
    }
}

fn period(plan: &str, number: i64, from: i64, until: i64) -> Value {
    let [from, until] = [from, until].map(|at| time(at).to_rfc3339_opts(SecondsFormat::AutoSi, true));
    json!({"plan": plan, "period_number": number, "period_from": from, "period_until": until})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, happened, recorded};
    use crate::views::subscriptions::tests::{
        cancelled as subscription_cancelled, day, lapsed, paused, renewed, resumed, started,
    };
    use crate::views::tests::{
        assert_table, authorised, cancelled, capture_requested, captured, confirmed, declined, delivered,
        order_placed, payment_requested, refund_failed, refund_requested, refunded, shipped, stock_shipped,
        voided,
    };

    const JULY_4_1996: i64 = 836_438_400_000_000;

    /// The rows in the order of time, whatever comes first.
    fn history(streams: &[Vec<Event>]) -> Vec<HistoryRow> {
        let rows = assert_same_rows_in_any_order::<CustomerHistory>(streams);
        let mut rows: Vec<HistoryRow> = rows.into_values().collect();
        rows.sort_by_key(|row| row.at);
        rows
    }

    fn kinds(rows: &[HistoryRow]) -> Vec<&str> {
        rows.iter().map(|row| row.kind.as_str()).collect()
    }

    #[test]
    fn an_order_its_payment_and_its_shipment_are_entries_in_the_order_of_time() {
        let order = vec![order_placed("1", 5), confirmed("1", 5), shipped("1", 6), delivered("1", 7)];
        let rows = history(&[order, vec![payment_requested("1"), captured("1")]]);
        let mut found = kinds(&rows);
        found.sort_unstable();
        let expected = [
            "order_confirmed",
            "order_delivered",
            "order_placed",
            "order_shipped",
            "payment_captured",
            "payment_requested",
        ];
        assert_eq!(found, expected);
        let placed = rows.iter().find(|row| row.kind == "order_placed").unwrap();
        assert_eq!((placed.at, placed.amount), (time(JULY_4_1996 + 5), Some(1_500)));
        assert_eq!((placed.customer_id.as_str(), placed.reference_id.as_str()), ("VINET", "1"));
        assert_eq!(placed.detail["lines"][0]["product_name"], "Chai");
        let shipped = rows.iter().find(|row| row.kind == "order_shipped").unwrap();
        assert_eq!((shipped.at, shipped.amount), (time(JULY_4_1996 + 6), None));
        assert_eq!(shipped.detail, json!({"carrier": "Speedy Express", "tracking_number": "SE-1"}));
        let delivered = rows.iter().find(|row| row.kind == "order_delivered").unwrap();
        assert_eq!((delivered.at, &delivered.detail), (time(JULY_4_1996 + 7), &json!({})));
        let captured = rows.iter().find(|row| row.kind == "payment_captured").unwrap();
        assert_eq!((captured.at, &captured.detail), (happened(2), &json!({"provider_reference": "pay-1"})));
    }

    #[test]
    fn authorised_money_has_the_providers_reference() {
        let rows = history(&[vec![authorised("1"), capture_requested("1")]]);
        assert_eq!(kinds(&rows), ["payment_authorised", "capture_requested"]);
        assert_eq!(rows[0].detail, json!({"provider_reference": "authorisation-1"}));
        assert_eq!(rows[1].detail, json!({}));
    }

    #[test]
    fn a_subscription_shows_its_periods() {
        let life = vec![
            started("s1"),
            renewed(1, "2024-01-31", "2024-02-29"),
            lapsed(2, "2024-02-29", "2024-03-31"),
            resumed(3, "2024-05-05", "2024-06-05"),
            paused(),
            subscription_cancelled(),
        ];
        let rows = history(&[life]);
        let expected = [
            "subscription_renewed",
            "subscription_lapsed",
            "subscription_paused",
            "subscription_cancelled",
            "subscription_started",
            "subscription_resumed",
        ];
        assert_eq!(
            kinds(&rows),
            expected,
            "what has no time of its own happened when it was decided: in 1970"
        );
        assert_eq!((rows[4].at, rows[5].at), (day("2024-01-31"), day("2024-05-05")));
        let detail = json!({
            "plan": "wine", "period_number": 2, "period_from": "2024-02-29T00:00:00Z",
            "period_until": "2024-03-31T00:00:00Z", "reason": "no funds",
        });
        assert_eq!((rows[1].amount, &rows[1].detail), (Some(700), &detail));
    }

    #[test]
    fn what_ends_badly_says_why() {
        let reason = |event: Event| history(&[vec![event]]).remove(0).detail["reason"].clone();
        for event in [cancelled("1", 1), voided("1"), refund_requested("1", "a", 5)] {
            assert_eq!(reason(event), "late");
        }
        assert_eq!(reason(declined("1")), "the card has expired");
        assert_eq!(reason(refund_failed("1", "a", 5)), "the account is closed");
        assert_eq!(history(&[vec![refunded("1", "a", 5)]]).remove(0).amount, Some(5));
    }

    #[test]
    fn what_names_no_customer_is_nobodys_history() {
        let mut unnamed = confirmed("1", 1);
        if let Event::Orders(Orders::OrderConfirmed(event)) = &mut unnamed {
            event.customer_id = String::new();
        }
        for event in [unnamed, stock_shipped("tea", "1", 2)] {
            assert_eq!(CustomerHistory::keys(&recorded(&event, 1)), Vec::<String>::new());
        }
    }

    #[test]
    fn the_table_has_the_rows_fields_and_a_row_comes_back_as_it_was_stored() {
        let row = history(&[vec![order_placed("1", 5)]]).remove(0);
        assert_table::<CustomerHistory>(&row);
        assert_survives_storage(&row);
    }
}
