//! Deliveries: each message of every campaign, with its outcome.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::campaigns::{
    DeliveriesChangedChange, DeliveriesQueued, DeliveriesQueuedRecipient, Event as Campaigns,
};
use serde::{Deserialize, Serialize};

use crate::contexts::campaigns::{JobStatus, job_id};
use crate::{Recorded, View};

/// The view of deliveries.
#[derive(Debug)]
pub struct DeliveryView;

/// One message to one customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// The message: its chunk and its number there.
    pub job_id: String,
    /// The campaign.
    pub campaign_id: String,
    /// The customer.
    pub customer_id: String,
    /// How it is sent.
    pub channel: String,
    /// The address.
    pub address: String,
    /// Its status.
    pub status: String,
    /// The number of the last attempt, from 1.
    pub attempt: i32,
    /// Why it failed last.
    pub reason: Option<String>,
    /// When it was queued first.
    pub queued_at: DateTime<Utc>,
    /// When the vendor last reported to have accepted it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was reported as delivered.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub failed_at: Option<DateTime<Utc>>,
}

impl View for DeliveryView {
    const NAME: &'static str = "deliveries";
    const CONTEXTS: &'static [&'static str] = &["campaigns"];
    const KEY: &'static str = "job_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = Some(include_str!("mapping.json"));
    type Row = DeliveryRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        let numbers: BTreeSet<i32> = match &recorded.event {
            Event::Campaigns(Campaigns::DeliveriesQueued(event)) => {
                event.recipients.iter().map(|recipient| recipient.number).collect()
            }
            Event::Campaigns(Campaigns::DeliveriesChanged(event)) => {
                event.changes.iter().map(|change| change.number).collect()
            }
            _ => BTreeSet::new(),
        };
        numbers.into_iter().map(|number| job_id(&recorded.stream, number)).collect()
    }

    fn evolve(row: DeliveryRow, key: &str, recorded: &Recorded) -> DeliveryRow {
        let number = number(key);
        match &recorded.event {
            Event::Campaigns(Campaigns::DeliveriesQueued(event)) => {
                let recipient = event.recipients.iter().find(|recipient| Some(recipient.number) == number);
                recipient.map_or(row, |found| DeliveryRow::queued(key, event, found, recorded.occurred_at))
            }
            Event::Campaigns(Campaigns::DeliveriesChanged(event)) => {
                let changes = event.changes.iter().filter(|change| Some(change.number) == number);
                changes.fold(row, |row, change| row.changed(change, recorded.occurred_at))
            }
            _ => row,
        }
    }
}

/// The number behind a key's last slash.
fn number(key: &str) -> Option<i32> {
    key.rsplit_once('/')?.1.parse().ok()
}

impl DeliveryRow {
    fn queued(
        key: &str,
        event: &DeliveriesQueued,
        recipient: &DeliveriesQueuedRecipient,
        queued_at: DateTime<Utc>,
    ) -> Self {
        Self {
            job_id: key.to_owned(),
            campaign_id: event.campaign_id.clone(),
            customer_id: recipient.customer_id.clone(),
            channel: event.channel.clone(),
            address: recipient.address.clone(),
            status: JobStatus::Queued.name().to_owned(),
            attempt: 1,
            queued_at,
            ..Self::default()
        }
    }

    fn changed(mut self, change: &DeliveriesChangedChange, at: DateTime<Utc>) -> Self {
        let known = match JobStatus::named(&change.to) {
            Some(JobStatus::Sent) => Some(&mut self.sent_at),
            Some(JobStatus::Delivered) => Some(&mut self.delivered_at),
            Some(JobStatus::Failed | JobStatus::Dead) => Some(&mut self.failed_at),
            Some(JobStatus::Queued) | None => None,
        };
        known.into_iter().for_each(|known| *known = (*known).max(Some(at)));
        let reason = change.reason.clone().or(self.reason);
        Self { status: change.to.clone(), attempt: change.attempt, reason, ..self }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use millrace_schemas::campaigns::DeliveriesChanged;

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, happened};
    use crate::views::tests::assert_table_and_mapping;

    /// Messages to so many customers are queued in a chunk of the campaign `spring`.
    pub(in crate::views) fn queued(chunk_id: &str, messages: i32) -> Event {
        let [chunk_id, campaign_id, channel, subject, message] =
            [chunk_id, "spring", "email", "Hello", "Dear {name}"].map(str::to_owned);
        let recipient = |number: i32| DeliveriesQueuedRecipient {
            number,
            customer_id: format!("c{number}"),
            name: "Ana".to_owned(),
            contact_name: None,
            address: format!("c{number}@example.com"),
        };
        let recipients = (1..=messages).map(recipient).collect();
        let queued = DeliveriesQueued { chunk_id, campaign_id, channel, subject, message, recipients };
        Event::Campaigns(queued.into())
    }

    pub(in crate::views) fn changed(chunk_id: &str, changes: Vec<DeliveriesChangedChange>) -> Event {
        let [chunk_id, campaign_id] = [chunk_id, "spring"].map(str::to_owned);
        Event::Campaigns(DeliveriesChanged { chunk_id, campaign_id, changes }.into())
    }

    pub(in crate::views) fn change(number: i32, from: &str, to: &str) -> DeliveriesChangedChange {
        let (from, to) = (from.to_owned(), to.to_owned());
        let customer_id = format!("c{number}");
        DeliveriesChangedChange { number, attempt: 1, from, to, reason: None, customer_id }
    }

    fn failed(number: i32, attempt: i32, to: &str, reason: &str) -> DeliveriesChangedChange {
        DeliveriesChangedChange { attempt, reason: Some(reason.to_owned()), ..change(number, "queued", to) }
    }

    #[test]
    fn a_message_is_queued_sent_and_delivered() {
        let stream = vec![
            queued("spring/1", 2),
            changed("spring/1", vec![change(1, "queued", "sent"), change(2, "queued", "sent")]),
            changed("spring/1", vec![change(1, "sent", "delivered")]),
        ];
        let rows = assert_same_rows_in_any_order::<DeliveryView>(&[stream, vec![queued("spring/2", 1)]]);
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["spring/1/1", "spring/1/2", "spring/2/1"]);
        let one = &rows["spring/1/1"];
        assert_eq!((one.status.as_str(), one.customer_id.as_str()), ("delivered", "c1"));
        assert_eq!(
            (one.queued_at, one.sent_at, one.delivered_at),
            (happened(1), Some(happened(2)), Some(happened(3)))
        );
        let statuses: Vec<&str> = rows.values().map(|row| row.status.as_str()).collect();
        assert_eq!(statuses, ["delivered", "sent", "queued"]);
        assert_survives_storage(one);
    }

    #[test]
    fn a_message_that_failed_shows_its_attempts_and_why() {
        let changes = vec![failed(1, 2, "queued", "busy"), failed(1, 3, "queued", "away")];
        let stream = vec![
            queued("spring/1", 1),
            changed("spring/1", changes),
            changed("spring/1", vec![failed(1, 3, "dead", "gone")]),
        ];
        let row = assert_same_rows_in_any_order::<DeliveryView>(&[stream]).remove("spring/1/1").expect("it");
        assert_eq!((row.status.as_str(), row.attempt, row.reason.as_deref()), ("dead", 3, Some("gone")));
        assert_eq!((row.sent_at, row.failed_at), (None, Some(happened(3))));
    }

    #[test]
    fn the_table_and_the_mapping_fit_the_row() {
        assert_table_and_mapping::<DeliveryView>(&DeliveryRow::default());
    }
}
