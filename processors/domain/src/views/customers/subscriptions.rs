//! A customer's subscriptions by where they stand.
//!
//! An event of the end or the resumption of a subscription does not say where it stood, so the row keeps those that stand still.

use millrace_schemas::subscriptions::Event as Subscriptions;
use serde::{Deserialize, Serialize};

use super::CustomerRow;

/// Why a subscription is not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// The customer has paused it.
    Paused,
    /// A period was not paid.
    Lapsed,
}

/// A subscription that is not charged, and not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedSubscription {
    /// The subscription.
    pub subscription_id: String,
    /// Why.
    pub status: Stopped,
}

impl CustomerRow {
    pub(super) fn subscribed(mut self, event: &Subscriptions) -> Self {
        match event {
            Subscriptions::SubscriptionStarted(_) => add(&mut self.subscriptions_active, 1),
            Subscriptions::SubscriptionPaused(event) => self.stop(&event.subscription_id, Stopped::Paused),
            Subscriptions::SubscriptionLapsed(event) => self.stop(&event.subscription_id, Stopped::Lapsed),
            Subscriptions::SubscriptionResumed(event) => {
                self.leave(&event.subscription_id);
                add(&mut self.subscriptions_active, 1);
            }
            Subscriptions::SubscriptionCancelled(event) => {
                self.leave(&event.subscription_id);
                add(&mut self.subscriptions_cancelled, 1);
            }
            Subscriptions::SubscriptionRenewed(_) => (),
        }
        self
    }

    fn stop(&mut self, subscription_id: &str, status: Stopped) {
        self.leave(subscription_id);
        add(self.stopped(status), 1);
        let stopped = StoppedSubscription { subscription_id: subscription_id.to_owned(), status };
        let place = self.place(subscription_id).unwrap_or_else(|place| place);
        self.subscriptions_stopped.insert(place, stopped);
    }

    /// Takes a subscription out of where it was counted.
    fn leave(&mut self, subscription_id: &str) {
        let stopped = self.place(subscription_id).ok().map(|place| self.subscriptions_stopped.remove(place));
        let counted = match stopped {
            Some(stopped) => self.stopped(stopped.status),
            None => &mut self.subscriptions_active,
        };
        add(counted, -1);
    }

    fn stopped(&mut self, status: Stopped) -> &mut i64 {
        match status {
            Stopped::Paused => &mut self.subscriptions_paused,
            Stopped::Lapsed => &mut self.subscriptions_lapsed,
        }
    }

    fn place(&self, subscription_id: &str) -> Result<usize, usize> {
        self.subscriptions_stopped.binary_search_by(|one| one.subscription_id.as_str().cmp(subscription_id))
    }
}

fn add(count: &mut i64, number: i64) {
    *count = count.wrapping_add(number);
}

/// A renewal changes nothing here.
pub(super) fn of_subscription(event: &Subscriptions) -> Option<&str> {
    match event {
        Subscriptions::SubscriptionStarted(event) => Some(&event.customer_id),
        Subscriptions::SubscriptionPaused(event) => Some(&event.customer_id),
        Subscriptions::SubscriptionLapsed(event) => Some(&event.customer_id),
        Subscriptions::SubscriptionResumed(event) => Some(&event.customer_id),
        Subscriptions::SubscriptionCancelled(event) => Some(&event.customer_id),
        Subscriptions::SubscriptionRenewed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::Event;

    use super::*;
    use crate::View as _;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage};
    use crate::views::customers::CustomerView;
    use crate::views::subscriptions::tests::{cancelled, lapsed, paused, renewed, resumed, started};
    use crate::views::tests::{assert_maps, fields, properties};

    fn row_after(own: Vec<Event>) -> CustomerRow {
        let first = started("s1");
        let streams = [[vec![first], own].concat(), vec![started("s2")]];
        let rows = assert_same_rows_in_any_order::<CustomerView>(&streams);
        rows.into_values().next().expect("one row")
    }

    fn figures(row: &CustomerRow) -> [i64; 4] {
        [
            row.subscriptions_active,
            row.subscriptions_paused,
            row.subscriptions_lapsed,
            row.subscriptions_cancelled,
        ]
    }

    #[test]
    fn subscriptions_are_counted_by_where_they_stand() {
        let unpaid = || lapsed(2, "2024-02-29", "2024-03-31");
        let again = || resumed(3, "2024-05-05", "2024-06-05");
        let cases: [(Vec<Event>, [i64; 4]); 8] = [
            (vec![], [2, 0, 0, 0]),
            (vec![renewed(1, "2024-01-31", "2024-02-29")], [2, 0, 0, 0]),
            (vec![paused()], [1, 1, 0, 0]),
            (vec![unpaid()], [1, 0, 1, 0]),
            (vec![paused(), again()], [2, 0, 0, 0]),
            (vec![unpaid(), again(), paused()], [1, 1, 0, 0]),
            (vec![cancelled()], [1, 0, 0, 1]),
            (vec![unpaid(), cancelled()], [1, 0, 0, 1]),
        ];
        for (events, expected) in cases {
            assert_eq!(figures(&row_after(events.clone())), expected, "{events:?}");
        }
    }

    #[test]
    fn a_stopped_subscription_is_mapped_and_comes_back_as_it_was_stored() {
        let row = row_after(vec![paused()]);
        assert_survives_storage(&row);
        let mapping = properties(CustomerView::MAPPING.expect("a mapping"));
        assert_maps(&mapping["subscriptions_stopped"]["properties"], fields(&row.subscriptions_stopped[0]));
    }
}
