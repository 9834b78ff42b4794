//! When a customer was first and last known to do something, in whichever context.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::accounts::Event as Accounts;
use millrace_schemas::carts::Event as Carts;
use millrace_schemas::customers::Event as Customers;
use millrace_schemas::notifications::Event as Notifications;
use millrace_schemas::orders::Event as Orders;
use millrace_schemas::reviews::Event as Reviews;
use millrace_schemas::subscriptions::Event as Subscriptions;

use super::CustomerRow;
use crate::Recorded;
use crate::views::{account_entries, time};

impl CustomerRow {
    pub(super) fn seen(self, recorded: &Recorded) -> Self {
        let Some(at) = seen_at(recorded) else { return self };
        let (first_seen_at, last_seen_at) =
            (earliest(self.first_seen_at, at), self.last_seen_at.max(Some(at)));
        Self { first_seen_at, last_seen_at, ..self }
    }
}

pub(super) fn earliest(known: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    Some(known.map_or(at, |known| known.min(at)))
}

/// When the customer did it, as the business says; else when it was decided. None when it was done to them or for them:
/// a tag, a risk, a confirmation, a message, money that they receive, a subscription that lapses.
fn seen_at(recorded: &Recorded) -> Option<DateTime<Utc>> {
    let decided = Some(recorded.occurred_at);
    match &recorded.event {
        Event::Accounts(event) => by_account(event),
        Event::Carts(event) => by_cart(event, decided),
        Event::Customers(event) => by_details(event, decided),
        Event::Notifications(event) => by_preference(event, decided),
        Event::Orders(Orders::OrderPlaced(event)) => Some(time(event.placed_at)),
        Event::Reviews(event) => by_review(event),
        Event::Subscriptions(event) => by_subscription(event, decided),
        _ => None,
    }
}

fn by_account(event: &Accounts) -> Option<DateTime<Utc>> {
    match event {
        Accounts::AccountOpened(event) => Some(time(event.opened_at)),
        Accounts::TransferReceived(_) => None,
        event => account_entries::of_account(event).map(|entry| time(entry.booked_at)),
    }
}

fn by_cart(event: &Carts, decided: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match event {
        Carts::CartCreated(_) => decided,
        Carts::CartCheckedOut(event) => Some(time(event.checked_out_at)),
        Carts::CartAbandoned(_)
        | Carts::CartItemAdded(_)
        | Carts::CartItemRemoved(_)
        | Carts::CartQuantityChanged(_)
        | Carts::CartReopened(_) => None,
    }
}

fn by_details(event: &Customers, decided: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match event {
        Customers::CustomerRegistered(_)
        | Customers::CustomerAddressRemoved(_)
        | Customers::CustomerAddressSet(_)
        | Customers::CustomerBirthDateSet(_)
        | Customers::CustomerDetailsChanged(_)
        | Customers::CustomerPreferenceSet(_) => decided,
        Customers::CustomerRiskAssessed(_)
        | Customers::CustomerTagged(_)
        | Customers::CustomerUntagged(_) => None,
    }
}

fn by_preference(event: &Notifications, decided: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match event {
        Notifications::NotificationsAllowed(_) | Notifications::NotificationsStopped(_) => decided,
        Notifications::NotificationFailed(_)
        | Notifications::NotificationQueued(_)
        | Notifications::NotificationSent(_)
        | Notifications::NotificationSuppressed(_) => None,
    }
}

fn by_review(event: &Reviews) -> Option<DateTime<Utc>> {
    match event {
        Reviews::ReviewWritten(event) => Some(time(event.written_at)),
        Reviews::ReviewEdited(event) => Some(time(event.edited_at)),
        Reviews::ReviewWithdrawn(_) => None,
    }
}

fn by_subscription(event: &Subscriptions, decided: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match event {
        Subscriptions::SubscriptionStarted(event) => Some(time(event.started_at)),
        Subscriptions::SubscriptionResumed(event) => Some(time(event.resumed_at)),
        Subscriptions::SubscriptionPaused(_) => decided,
        Subscriptions::SubscriptionCancelled(_)
        | Subscriptions::SubscriptionLapsed(_)
        | Subscriptions::SubscriptionRenewed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use millrace_schemas::Event;

    use crate::contexts::customers::examples::registered;
    use crate::testing::{assert_same_rows_in_any_order, happened};
    use crate::views::customers::{CustomerRow, CustomerView};
    use crate::views::tests::{
        DAY, captured, confirmed, notification_sent, notifications_stopped, order_placed,
    };
    use crate::views::{subscriptions, time};

    const JULY_4_1996: i64 = 836_438_400_000_000;

    fn seen(streams: &[Vec<Event>]) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let rows = assert_same_rows_in_any_order::<CustomerView>(streams);
        let CustomerRow { first_seen_at, last_seen_at, .. } = rows.into_values().next().expect("one row");
        (first_seen_at, last_seen_at)
    }

    #[test]
    fn a_customer_is_seen_when_they_do_something_in_any_context() {
        let placed = vec![order_placed("1", DAY)];
        let registered = vec![Event::Customers(registered("VINET", "Vins et alcools").into())];
        let subscribed = vec![subscriptions::tests::started("s1")];
        let ordered = Some(time(JULY_4_1996 + DAY));
        assert_eq!(seen(std::slice::from_ref(&placed)), (ordered, ordered));
        let (first, last) = seen(&[placed.clone(), registered.clone(), subscribed]);
        assert_eq!(first, Some(happened(1)), "it was decided a second after 1970");
        assert_eq!(last.map(|at| at.to_rfc3339()).as_deref(), Some("2024-01-31T00:00:00+00:00"));
        assert_eq!(
            seen(&[registered, vec![notifications_stopped()]]),
            (Some(happened(1)), Some(happened(1)))
        );
    }

    #[test]
    fn what_is_done_for_a_customer_does_not_show_them() {
        let streams = [vec![confirmed("1", 0)], vec![captured("1")], vec![notification_sent("n1")]];
        assert_eq!(seen(&streams), (None, None));
    }
}
