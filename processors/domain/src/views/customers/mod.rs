//! Customer 360: details, addresses, tags, preferences and risk of a customer; their orders, payments and products; the balances of their
//! accounts; what they do; and whether they want notifications.

mod accounts;
mod addresses;
mod behaviour;
mod campaigns;
mod ordering;
mod products_held;
mod profile;
mod seen;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use millrace_schemas::Event;
use millrace_schemas::notifications::Event as Notifications;
use millrace_schemas::payments::Event as Payments;
use serde::{Deserialize, Serialize};

use crate::{Recorded, View};

pub use addresses::CustomerAddress;
pub use ordering::OrderMean;
pub use products_held::ProductHeld;
pub use subscriptions::{Stopped, StoppedSubscription};

/// The view of customers.
#[derive(Debug)]
pub struct CustomerView;

/// One customer. What only the customers' context says is missing until it has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// The customer.
    pub customer_id: String,
    /// Company or person.
    pub name: Option<String>,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Country, as the upstream system spells it.
    pub country: Option<String>,
    /// Their postal addresses: at most 20, by id.
    pub addresses: Vec<CustomerAddress>,
    /// Their date of birth.
    pub birth_date: Option<NaiveDate>,
    /// Why it is asked for, or was removed.
    pub birth_date_reason: Option<String>,
    /// Orders that were placed and not cancelled.
    pub order_count: i64,
    /// The total of those orders, by currency.
    pub order_value: Vec<Money>,
    /// The newest order ever placed, cancelled or not.
    pub last_order_id: Option<String>,
    /// When it was placed.
    pub last_order_at: Option<DateTime<Utc>>,
    /// Orders that were confirmed and not cancelled.
    pub orders_confirmed: i64,
    /// Orders that were cancelled, confirmed before or not.
    pub orders_cancelled: i64,
    /// What was captured of the customer's payments, by currency, refunded later or not.
    pub paid: Vec<Money>,
    /// Refunded money, by currency.
    pub refunded: Vec<Money>,
    /// Whether the customer wants notifications.
    pub notifications_wanted: Wanted,
    /// Notifications that were sent.
    pub notifications_sent: i64,
    /// Their tags: at most 50, in alphabetical order.
    pub tags: BTreeSet<String>,
    /// Their preferences by name: at most 50.
    pub preferences: BTreeMap<String, String>,
    /// Their risk, 0 to 100, by the newest assessment.
    pub risk_score: Option<i32>,
    /// When that was assessed.
    pub risk_assessed_at: Option<DateTime<Utc>>,
    /// The products of orders that were confirmed and not cancelled, by id. As many as the customer ever ordered: about
    /// 50 bytes each, so 10,000 products make a row of half a megabyte. Plain objects in Elasticsearch: it takes no more
    /// than 10,000 nested ones.
    pub products_held: Vec<ProductHeld>,
    /// Accounts that were opened and not closed.
    pub accounts: i64,
    /// The balances of all their accounts, by currency.
    pub balance: Vec<Money>,
    /// When money last moved on one of their accounts.
    pub last_transaction_at: Option<DateTime<Utc>>,
    /// The earliest time at which the customer is known to have done something.
    pub first_seen_at: Option<DateTime<Utc>>,
    /// The latest such time.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When the oldest order was placed, cancelled or not.
    pub first_order_at: Option<DateTime<Utc>>,
    /// The mean time between two orders, cancelled or not, in whole seconds; none with fewer than two.
    pub order_interval: Option<i64>,
    /// The number and the mean value of orders that were placed and not cancelled, by currency.
    pub order_means: Vec<OrderMean>,
    /// What was captured less what was refunded, by currency.
    pub lifetime_value: Vec<Money>,
    /// Refunds that were completed.
    pub refunds: i64,
    /// Carts that were given up.
    pub carts_abandoned: i64,
    /// Reviews that were written and not withdrawn.
    pub reviews: i64,
    /// The sum of their ratings.
    pub rating_sum: i64,
    /// Their average in hundredths, rounded half up; none without reviews.
    pub rating_hundredths: Option<i64>,
    /// Messages of campaigns that were queued for them.
    pub campaign_messages: i64,
    /// Those that arrived, by the vendor's receipts.
    pub campaign_messages_delivered: i64,
    /// Those that cannot be sent.
    pub campaign_messages_failed: i64,
    /// Subscriptions that are charged.
    pub subscriptions_active: i64,
    /// Subscriptions that are paused.
    pub subscriptions_paused: i64,
    /// Subscriptions that have lapsed.
    pub subscriptions_lapsed: i64,
    /// Subscriptions that were cancelled.
    pub subscriptions_cancelled: i64,
    /// Those that are paused or have lapsed, by id: what resumes or is cancelled was counted among them. Only as many as
    /// stand still at one time.
    pub subscriptions_stopped: Vec<StoppedSubscription>,
}

/// The default: the customer wants notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wanted(pub bool);

impl Default for Wanted {
    fn default() -> Self {
        Self(true)
    }
}

/// An amount of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// ISO 4217 code.
    pub currency: String,
    /// Minor units.
    pub amount: i64,
}

impl View for CustomerView {
    const NAME: &'static str = "customers";
    const CONTEXTS: &'static [&'static str] = &[
        "accounts",
        "campaigns",
        "carts",
        "customers",
        "notifications",
        "orders",
        "payments",
        "reviews",
        "subscriptions",
    ];
    const KEY: &'static str = "customer_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    const SEARCH: &'static [&'static str] = &["name", "contact_name", "email", "city", "country", "tags"];
    const FOLD: u32 = 4;
    type Row = CustomerRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        let customer = match &recorded.event {
            Event::Campaigns(event) => return campaigns::customers(event),
            Event::Accounts(event) => accounts::of_account(event),
            Event::Carts(event) => behaviour::of_cart(event),
            Event::Customers(_) => Some(recorded.stream.as_str()),
            Event::Notifications(event) => of_notification(event),
            Event::Orders(event) => ordering::of_order(event),
            Event::Payments(event) => of_payment(event),
            Event::Reviews(event) => Some(behaviour::of_review(event)),
            Event::Subscriptions(event) => subscriptions::of_subscription(event),
            _ => None,
        };
        customer.map(str::to_owned).into_iter().collect()
    }

    fn evolve(row: CustomerRow, key: &str, recorded: &Recorded) -> CustomerRow {
        let row = CustomerRow { customer_id: key.to_owned(), ..row }.seen(recorded);
        match &recorded.event {
            Event::Accounts(event) => row.banked(event),
            Event::Campaigns(event) => row.messaged(event),
            Event::Carts(event) => row.shopped(event),
            Event::Customers(event) => row.described(event),
            Event::Notifications(event) => row.notified(event),
            Event::Orders(event) => row.ordered(event),
            Event::Payments(event) => row.paid(event),
            Event::Reviews(event) => row.reviewed(event),
            Event::Subscriptions(event) => row.subscribed(event),
            _ => row,
        }
    }
}

impl CustomerRow {
    fn notified(self, event: &Notifications) -> Self {
        match event {
            Notifications::NotificationSent(_) => {
                Self { notifications_sent: self.notifications_sent.wrapping_add(1), ..self }
            }
            Notifications::NotificationsStopped(_) => Self { notifications_wanted: Wanted(false), ..self },
            Notifications::NotificationsAllowed(_) => Self { notifications_wanted: Wanted(true), ..self },
            Notifications::NotificationFailed(_)
            | Notifications::NotificationQueued(_)
            | Notifications::NotificationSuppressed(_) => self,
        }
    }

    fn paid(mut self, event: &Payments) -> Self {
        match event {
            Payments::PaymentCaptured(event) => {
                add(&mut self.paid, &event.currency, event.amount);
                add(&mut self.lifetime_value, &event.currency, event.amount);
            }
            Payments::PaymentRefunded(event) => {
                self.refunds = self.refunds.wrapping_add(1);
                add(&mut self.refunded, &event.currency, event.amount);
                add(&mut self.lifetime_value, &event.currency, event.amount.wrapping_neg());
            }
            Payments::CaptureRequested(_)
            | Payments::PaymentAuthorised(_)
            | Payments::PaymentDeclined(_)
            | Payments::PaymentRequested(_)
            | Payments::PaymentVoided(_)
            | Payments::RefundFailed(_)
            | Payments::RefundRequested(_) => (),
        }
        self
    }
}

/// The contexts keep amounts so small that sums fit. Should one not, wrapping still gives the same figure in every
/// order. A currency once used stays, at 0: dropping it would depend on the order.
fn add(sums: &mut Vec<Money>, currency: &str, amount: i64) {
    let found = sums.binary_search_by(|money| money.currency.as_str().cmp(currency));
    match found.map(|index| sums.get_mut(index)) {
        Ok(money) => money.into_iter().for_each(|m| m.amount = m.amount.wrapping_add(amount)),
        Err(index) => sums.insert(index, Money { currency: currency.to_owned(), amount }),
    }
}

fn of_notification(event: &Notifications) -> Option<&str> {
    match event {
        Notifications::NotificationSent(event) => Some(&event.customer_id),
        Notifications::NotificationsAllowed(event) => Some(&event.customer_id),
        Notifications::NotificationsStopped(event) => Some(&event.customer_id),
        Notifications::NotificationFailed(_)
        | Notifications::NotificationQueued(_)
        | Notifications::NotificationSuppressed(_) => None,
    }
}

fn of_payment(event: &Payments) -> Option<&str> {
    match event {
        Payments::PaymentCaptured(event) => Some(&event.customer_id),
        Payments::PaymentRefunded(event) => Some(&event.customer_id),
        Payments::CaptureRequested(_)
        | Payments::PaymentAuthorised(_)
        | Payments::PaymentDeclined(_)
        | Payments::PaymentRequested(_)
        | Payments::PaymentVoided(_)
        | Payments::RefundFailed(_)
        | Payments::RefundRequested(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::customers::{CustomerDetailsChanged, CustomerRegistered};
    use millrace_schemas::orders::Event as Orders;

    use super::*;
    use crate::contexts::customers::examples::registered;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::subscriptions::tests::of_subscription;
    use crate::views::tests::{
        cancelled, captured, confirmed, in_currency, never_confirmed, notification_sent,
        notifications_allowed, notifications_stopped, order_placed, payment_requested, refund_requested,
        refunded, shipped,
    };
    use crate::views::time;

    fn details() -> CustomerRegistered {
        CustomerRegistered {
            phone: Some("26.47.15.10".into()),
            city: Some("Reims".into()),
            country: Some("France".into()),
            ..registered("VINET", "Vins et alcools")
        }
    }

    fn customer() -> Vec<Event> {
        let CustomerRegistered { customer_id, name, phone, country, .. } = details();
        let (email, city) = (Some("paul@example.fr".into()), Some("Lyon".into()));
        let changed =
            CustomerDetailsChanged { customer_id, name, contact_name: None, email, phone, city, country };
        vec![Event::Customers(details().into()), Event::Customers(changed.into())]
    }

    fn money(currency: &str, amount: i64) -> Money {
        Money { currency: currency.into(), amount }
    }

    fn only_row(streams: &[Vec<Event>]) -> CustomerRow {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        assert_eq!(rows.len(), 1);
        rows.into_values().next().expect("one row")
    }

    #[test]
    fn a_customers_orders_are_counted_whatever_comes_first() {
        let row = only_row(&[
            customer(),
            vec![order_placed("1", 5), confirmed("1", 5), shipped("1", 6)],
            vec![order_placed("2", 4)],
        ]);
        assert_eq!((row.order_count, row.order_value), (2, vec![money("USD", 3_000)]));
        assert_eq!((row.city.as_deref(), row.email.as_deref()), (Some("Lyon"), Some("paul@example.fr")));
        assert_eq!(
            (row.last_order_id.as_deref(), row.last_order_at),
            (Some("1"), Some(time(836_438_400_000_005)))
        );
    }

    #[test]
    fn a_cancelled_order_is_taken_out_of_the_figures_but_may_be_the_last_one() {
        let row = only_row(&[
            customer(),
            vec![order_placed("1", 4)],
            vec![order_placed("2", 5), cancelled("2", 5)],
            vec![order_placed("3", 1)],
        ]);
        assert_eq!((row.order_count, row.order_value), (2, vec![money("USD", 3_000)]));
        assert_eq!(row.last_order_id.as_deref(), Some("2"));
    }

    #[test]
    fn orders_are_counted_by_what_came_of_them() {
        let row = only_row(&[
            vec![order_placed("1", 1)],
            vec![order_placed("2", 2), confirmed("2", 2), shipped("2", 2)],
            vec![order_placed("3", 3), confirmed("3", 3), cancelled("3", 3)],
            vec![order_placed("4", 4), never_confirmed(cancelled("4", 4))],
        ]);
        assert_eq!((row.order_count, row.orders_confirmed, row.orders_cancelled), (2, 1, 2));
    }

    #[test]
    fn a_confirmation_of_the_first_version_which_has_no_lines_is_not_counted() {
        let mut first = confirmed("1", 1);
        if let Event::Orders(Orders::OrderConfirmed(event)) = &mut first {
            event.lines = Vec::new();
        }
        let row = only_row(&[vec![order_placed("1", 1), first, never_confirmed(cancelled("1", 1))]]);
        assert_eq!((row.order_count, row.orders_confirmed, row.orders_cancelled), (0, 0, 1));
    }

    #[test]
    fn what_was_paid_and_what_was_paid_back_are_kept_apart() {
        let row = only_row(&[
            vec![payment_requested("1"), captured("1"), refund_requested("1", "a", 500)],
            vec![captured("2"), refund_requested("2", "a", 300), refunded("2", "a", 300)],
            vec![in_currency("EUR", captured("3"))],
            vec![in_currency("EUR", of_subscription("s1", captured("s1.1")))],
        ]);
        assert_eq!(row.paid, [money("EUR", 3_000), money("USD", 3_000)], "subscriptions are paid for too");
        assert_eq!(row.refunded, [money("USD", 300)]);
    }

    #[test]
    fn a_customer_wants_notifications_until_they_say_no() {
        let preferences = [notifications_stopped(), notifications_allowed(), notifications_stopped()];
        let wanted =
            |count: usize| only_row(&[customer(), preferences[..count].to_vec()]).notifications_wanted;
        assert_eq!([0, 1, 2, 3].map(wanted), [true, false, true, false].map(Wanted));
    }

    #[test]
    fn notifications_that_were_sent_are_counted() {
        let row = only_row(&[customer(), vec![notification_sent("1")], vec![notification_sent("2")]]);
        assert_eq!(row.notifications_sent, 2);
    }

    #[test]
    fn of_two_orders_at_the_same_time_the_greater_id_is_the_last() {
        let row =
            only_row(&[vec![order_placed("7", 5)], vec![order_placed("8", 5)], vec![order_placed("70", 5)]]);
        assert_eq!(row.last_order_id.as_deref(), Some("8"));
    }

    #[test]
    fn values_are_kept_by_currency_in_alphabetical_order() {
        let row = only_row(&[
            vec![order_placed("1", 1)],
            vec![in_currency("EUR", order_placed("2", 2)), in_currency("EUR", cancelled("2", 2))],
            vec![in_currency("CHF", order_placed("3", 3))],
            vec![in_currency("ZAR", order_placed("4", 3))],
        ]);
        let expected = [("CHF", 1_500), ("EUR", 0), ("USD", 1_500), ("ZAR", 1_500)];
        assert_eq!(row.order_value, expected.map(|(currency, amount)| money(currency, amount)));
        assert_eq!(row.order_count, 3);
    }

    #[test]
    fn a_customer_without_orders_has_none() {
        let row = only_row(&[vec![Event::Customers(details().into())]]);
        assert_eq!((row.order_count, row.order_value, row.last_order_at), (0, vec![], None));
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        assert_survives_storage(&only_row(&[customer(), vec![order_placed("1", 5), captured("1")]]));
        assert_survives_storage(&CustomerRow::default());
    }
}
