//! Subscriptions: what is subscribed to, how far it is paid, and when it is renewed next.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::subscriptions::{Event as Subscriptions, SubscriptionRenewed, SubscriptionStarted};
use serde::{Deserialize, Serialize};

use super::time;
use crate::{Recorded, View};

/// The view of subscriptions.
#[derive(Debug)]
pub struct SubscriptionView;

/// Where a subscription stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionStatus {
    /// It is renewed period by period.
    #[default]
    Active,
    /// Its customer wants nothing to be charged.
    Paused,
    /// A period was not paid.
    Lapsed,
    /// It has ended for good.
    Cancelled,
}

/// One subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRow {
    /// The subscription.
    pub subscription_id: String,
    /// Who subscribes.
    pub customer_id: String,
    /// What is subscribed to.
    pub plan: String,
    /// What one period costs in minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// How long a period is: month or year.
    pub period: String,
    /// Its status.
    pub status: SubscriptionStatus,
    /// Why it has lapsed or was cancelled.
    pub reason: Option<String>,
    /// When its first period began.
    pub started_at: DateTime<Utc>,
    /// Periods that were paid.
    pub periods_paid: i64,
    /// The last period that was paid.
    pub period_number: Option<i64>,
    /// When that one began.
    pub period_from: Option<DateTime<Utc>>,
    /// When that one ends.
    pub period_until: Option<DateTime<Utc>>,
    /// When the next period begins and is charged; none while nothing is.
    pub next_renewal_at: Option<DateTime<Utc>>,
}

impl View for SubscriptionView {
    const NAME: &'static str = "subscriptions";
    const CONTEXTS: &'static [&'static str] = &["subscriptions"];
    const KEY: &'static str = "subscription_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    type Row = SubscriptionRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Subscriptions(_) => vec![recorded.stream.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: SubscriptionRow, key: &str, recorded: &Recorded) -> SubscriptionRow {
        let row = SubscriptionRow { subscription_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Subscriptions(event) => row.after(event),
            _ => row,
        }
    }
}

impl SubscriptionRow {
    fn after(self, event: &Subscriptions) -> Self {
        use SubscriptionStatus::{Active, Cancelled, Lapsed, Paused};
        match event {
            Subscriptions::SubscriptionStarted(event) => self.started(event.clone()),
            Subscriptions::SubscriptionRenewed(event) => self.renewed(event),
            Subscriptions::SubscriptionPaused(_) => self.moved_to(Paused, None, None),
            Subscriptions::SubscriptionResumed(event) => {
                self.moved_to(Active, None, Some(time(event.period_from)))
            }
            Subscriptions::SubscriptionLapsed(event) => self.moved_to(Lapsed, Some(&event.reason), None),
            Subscriptions::SubscriptionCancelled(event) => {
                self.moved_to(Cancelled, Some(&event.reason), None)
            }
        }
    }

    fn started(self, event: SubscriptionStarted) -> Self {
        let SubscriptionStarted { customer_id, plan, amount, currency, period, .. } = event;
        let (started_at, next_renewal_at) = (time(event.started_at), Some(time(event.period_from)));
        Self { customer_id, plan, amount, currency, period, started_at, next_renewal_at, ..self }
    }

    fn renewed(self, event: &SubscriptionRenewed) -> Self {
        let until = time(event.period_until);
        Self {
            periods_paid: self.periods_paid.wrapping_add(1),
            period_number: Some(event.period_number),
            period_from: Some(time(event.period_from)),
            period_until: Some(until),
            next_renewal_at: Some(until),
            ..self
        }
    }

    fn moved_to(
        self,
        status: SubscriptionStatus,
        reason: Option<&str>,
        next_renewal_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self { status, reason: reason.map(str::to_owned), next_renewal_at, ..self }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use millrace_schemas::payments::Event as Payments;
    use millrace_schemas::subscriptions::{
        SubscriptionCancelled, SubscriptionLapsed, SubscriptionPaused, SubscriptionResumed,
    };

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, fold_view};
    use crate::views::tests::assert_table;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    pub(in crate::views) fn day(day: &str) -> DateTime<Utc> {
        format!("{day}T00:00:00Z").parse().unwrap()
    }

    fn micros(at: &str) -> i64 {
        day(at).timestamp_micros()
    }

    /// VINET subscribes to wine for 7.00 a month from 31 January 2024 on.
    pub(in crate::views) fn started(subscription_id: &str) -> Event {
        let started = SubscriptionStarted {
            subscription_id: text(subscription_id),
            customer_id: text("VINET"),
            plan: text("wine"),
            amount: 700,
            currency: text("EUR"),
            period: text("month"),
            started_at: micros("2024-01-31"),
            period_number: 1,
            period_from: micros("2024-01-31"),
            period_until: micros("2024-02-29"),
        };
        Event::Subscriptions(started.into())
    }

    pub(in crate::views) fn renewed(period_number: i64, from: &str, until: &str) -> Event {
        let renewed = SubscriptionRenewed {
            subscription_id: text("s1"),
            customer_id: text("VINET"),
            plan: text("wine"),
            amount: 700,
            currency: text("EUR"),
            period_number,
            period_from: micros(from),
            period_until: micros(until),
        };
        Event::Subscriptions(renewed.into())
    }

    pub(in crate::views) fn paused() -> Event {
        let (subscription_id, customer_id, plan, currency) =
            (text("s1"), text("VINET"), text("wine"), text("EUR"));
        let paused = SubscriptionPaused { subscription_id, customer_id, plan, amount: 700, currency };
        Event::Subscriptions(paused.into())
    }

    pub(in crate::views) fn resumed(period_number: i64, from: &str, until: &str) -> Event {
        let resumed = SubscriptionResumed {
            subscription_id: text("s1"),
            customer_id: text("VINET"),
            plan: text("wine"),
            amount: 700,
            currency: text("EUR"),
            resumed_at: micros(from),
            period_number,
            period_from: micros(from),
            period_until: micros(until),
        };
        Event::Subscriptions(resumed.into())
    }

    pub(in crate::views) fn lapsed(period_number: i64, from: &str, until: &str) -> Event {
        let lapsed = SubscriptionLapsed {
            subscription_id: text("s1"),
            customer_id: text("VINET"),
            plan: text("wine"),
            amount: 700,
            currency: text("EUR"),
            period_number,
            period_from: micros(from),
            period_until: micros(until),
            reason: text("no funds"),
        };
        Event::Subscriptions(lapsed.into())
    }

    pub(in crate::views) fn cancelled() -> Event {
        let (subscription_id, customer_id, plan, currency) =
            (text("s1"), text("VINET"), text("wine"), text("EUR"));
        let reason = text("enough");
        let cancelled =
            SubscriptionCancelled { subscription_id, customer_id, plan, amount: 700, currency, reason };
        Event::Subscriptions(cancelled.into())
    }

    /// The same payment for a period of a subscription.
    pub(in crate::views) fn of_subscription(subscription_id: &str, mut event: Event) -> Event {
        let subscription_id = Some(text(subscription_id));
        match &mut event {
            Event::Payments(Payments::PaymentRequested(event)) => event.subscription_id = subscription_id,
            Event::Payments(Payments::PaymentCaptured(event)) => event.subscription_id = subscription_id,
            other => panic!("{other:?} is no payment"),
        }
        event
    }

    fn paid() -> Vec<Event> {
        vec![started("s1"), renewed(1, "2024-01-31", "2024-02-29")]
    }

    fn row_after(events: &[Event]) -> SubscriptionRow {
        fold_view::<SubscriptionView>(events).remove("s1").expect("the subscription")
    }

    #[test]
    fn a_started_subscription_is_charged_when_it_begins() {
        let row = row_after(&[started("s1")]);
        assert_eq!(
            (row.status, row.plan.as_str(), row.period.as_str()),
            (SubscriptionStatus::Active, "wine", "month")
        );
        assert_eq!((row.next_renewal_at, row.period_until), (Some(day("2024-01-31")), None));
    }

    #[test]
    fn a_renewed_subscription_shows_how_far_it_is_paid() {
        let row = row_after(&[paid(), vec![renewed(2, "2024-02-29", "2024-03-31")]].concat());
        assert_eq!((row.periods_paid, row.period_number), (2, Some(2)));
        assert_eq!(
            (row.period_from, row.period_until, row.next_renewal_at),
            (Some(day("2024-02-29")), Some(day("2024-03-31")), Some(day("2024-03-31")))
        );
    }

    #[test]
    fn what_stands_still_is_not_renewed_until_it_is_resumed() {
        let stops = [
            (paused(), SubscriptionStatus::Paused, None),
            (lapsed(2, "2024-02-29", "2024-03-31"), SubscriptionStatus::Lapsed, Some("no funds")),
            (cancelled(), SubscriptionStatus::Cancelled, Some("enough")),
        ];
        for (stop, status, reason) in stops {
            let row = row_after(&[paid(), vec![stop]].concat());
            assert_eq!((row.status, row.reason.as_deref(), row.next_renewal_at), (status, reason, None));
            assert_eq!(row.period_until, Some(day("2024-02-29")), "what was paid stays paid");
        }
        let again = [lapsed(2, "2024-02-29", "2024-03-31"), resumed(3, "2024-05-05", "2024-06-05")];
        let row = row_after(&[paid(), again.to_vec()].concat());
        assert_eq!((row.status, row.reason), (SubscriptionStatus::Active, None));
        assert_eq!(row.next_renewal_at, Some(day("2024-05-05")));
    }

    #[test]
    fn subscriptions_do_not_touch_each_other() {
        let rows = assert_same_rows_in_any_order::<SubscriptionView>(&[
            [paid(), vec![paused()]].concat(),
            vec![started("s2")],
        ]);
        let found: Vec<SubscriptionStatus> = rows.values().map(|row| row.status).collect();
        assert_eq!(found, [SubscriptionStatus::Paused, SubscriptionStatus::Active]);
    }

    #[test]
    fn the_table_has_the_rows_fields_and_a_row_comes_back_as_it_was_stored() {
        assert_table::<SubscriptionView>(&SubscriptionRow::default());
        assert_survives_storage(&row_after(&paid()));
    }
}
