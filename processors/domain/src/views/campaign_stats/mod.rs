//! Campaigns: their status, and the outcomes of their messages so far.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::campaigns::{CampaignCreated, Event as Campaigns};
use serde::{Deserialize, Serialize};

use crate::contexts::campaigns::JobStatus;
use crate::{Recorded, View};

/// The view of campaigns.
#[derive(Debug)]
pub struct CampaignStatsView;

/// Where a campaign stands, as readers see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CampaignStatus {
    /// It is not launched.
    #[default]
    Draft,
    /// Its audience is being found.
    Resolving,
    /// All its messages were queued.
    Launched,
    /// Its audience could not be found.
    Failed,
}

/// One campaign. What only its own stream says is missing until that has said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignStatsRow {
    /// The campaign.
    pub campaign_id: String,
    /// The customer.
    pub segment_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// How it is sent.
    pub channel: Option<String>,
    /// Its status.
    pub status: CampaignStatus,
    /// Why it has failed.
    pub failure: Option<String>,
    /// Customers whom it is sent to.
    pub audience: i64,
    /// Messages that are queued.
    pub pending: i64,
    /// Messages that the vendor has accepted, delivered or not.
    pub sent: i64,
    /// Messages that have arrived.
    pub delivered: i64,
    /// Messages that cannot be sent, at once or after the last attempt.
    pub failed: i64,
    /// When it was created.
    pub created_at: Option<DateTime<Utc>>,
    /// When its messages were queued.
    pub launched_at: Option<DateTime<Utc>>,
}

impl View for CampaignStatsView {
    const NAME: &'static str = "campaign_stats";
    const CONTEXTS: &'static [&'static str] = &["campaigns"];
    const KEY: &'static str = "campaign_id";
    const SHARED: bool = true;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    type Row = CampaignStatsRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        let campaign = match &recorded.event {
            Event::Campaigns(event) => campaign(event),
            _ => None,
        };
        campaign.map(str::to_owned).into_iter().collect()
    }

    fn evolve(row: CampaignStatsRow, key: &str, recorded: &Recorded) -> CampaignStatsRow {
        let row = CampaignStatsRow { campaign_id: key.to_owned(), ..row };
        match &recorded.event {
            Event::Campaigns(event) => row.after(event, recorded.occurred_at),
            _ => row,
        }
    }
}

/// The campaign that an event changes something of.
fn campaign(event: &Campaigns) -> Option<&str> {
    match event {
        Campaigns::AudienceRequested(event) => Some(&event.campaign_id),
        Campaigns::CampaignCreated(event) => Some(&event.campaign_id),
        Campaigns::CampaignFailed(event) => Some(&event.campaign_id),
        Campaigns::CampaignLaunched(event) => Some(&event.campaign_id),
        Campaigns::DeliveriesChanged(event) => Some(&event.campaign_id),
        Campaigns::DeliveriesQueued(event) => Some(&event.campaign_id),
        Campaigns::AudienceChunkResolved(_)
        | Campaigns::DeliveriesRetried(_)
        | Campaigns::ReceiptsUnmatched(_)
        | Campaigns::SegmentDefined(_) => None,
    }
}

impl CampaignStatsRow {
    fn after(self, event: &Campaigns, at: DateTime<Utc>) -> Self {
        match event {
            Campaigns::CampaignCreated(event) => self.created(event.clone(), at),
            Campaigns::AudienceRequested(_) => Self { status: CampaignStatus::Resolving, ..self },
            Campaigns::CampaignLaunched(event) => {
                let (status, audience) = (CampaignStatus::Launched, event.audience);
                Self { status, audience, launched_at: Some(at), ..self }
            }
            Campaigns::CampaignFailed(event) => {
                Self { status: CampaignStatus::Failed, failure: Some(event.reason.clone()), ..self }
            }
            Campaigns::DeliveriesQueued(event) => {
                let queued = event.recipients.iter();
                queued.fold(self, |row, _| row.counted(Some(JobStatus::Queued), 1))
            }
            Campaigns::DeliveriesChanged(event) => event.changes.iter().fold(self, |row, change| {
                row.counted(JobStatus::named(&change.from), -1).counted(JobStatus::named(&change.to), 1)
            }),
            Campaigns::AudienceChunkResolved(_)
            | Campaigns::DeliveriesRetried(_)
            | Campaigns::ReceiptsUnmatched(_)
            | Campaigns::SegmentDefined(_) => self,
        }
    }

    fn created(self, event: CampaignCreated, at: DateTime<Utc>) -> Self {
        let CampaignCreated { segment_id, name, channel, .. } = event;
        let (segment_id, name, channel) = (Some(segment_id), Some(name), Some(channel));
        Self { segment_id, name, channel, created_at: Some(at), ..self }
    }

    /// The context bounds an audience; wrapping only keeps this total.
    fn counted(mut self, status: Option<JobStatus>, messages: i64) -> Self {
        let add = |sum: &mut i64| *sum = sum.wrapping_add(messages);
        match status {
            Some(JobStatus::Queued) => add(&mut self.pending),
            Some(JobStatus::Sent) => add(&mut self.sent),
            Some(JobStatus::Delivered) => {
                add(&mut self.sent);
                add(&mut self.delivered);
            }
            Some(JobStatus::Failed | JobStatus::Dead) => add(&mut self.failed),
            None => (),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, happened};
    use crate::views::deliveries::tests::{change, changed, queued};
    use crate::views::tests::assert_table;
    use millrace_schemas::campaigns::{AudienceRequested, CampaignFailed, CampaignLaunched};

    fn created() -> Event {
        let [campaign_id, segment_id, name, channel, subject, message, rules] =
            ["spring", "best", "Spring", "email", "Hello", "Dear {name}", "{}"].map(str::to_owned);
        let created = CampaignCreated { campaign_id, segment_id, name, channel, subject, message, rules };
        Event::Campaigns(created.into())
    }

    fn requested() -> Event {
        let [campaign_id, channel, rules, after] = ["spring", "email", "{}", ""].map(str::to_owned);
        Event::Campaigns(AudienceRequested { campaign_id, channel, rules, as_of: 0, number: 1, after }.into())
    }

    fn launched(audience: i64) -> Event {
        let campaign_id = "spring".to_owned();
        Event::Campaigns(CampaignLaunched { campaign_id, audience, chunks: 2 }.into())
    }

    fn only_row(streams: &[Vec<Event>]) -> CampaignStatsRow {
        let rows = assert_same_rows_in_any_order::<CampaignStatsView>(streams);
        assert_eq!(rows.len(), 1);
        rows.into_values().next().expect("one row")
    }

    /// Audience, pending, sent, delivered, failed.
    fn counts(row: &CampaignStatsRow) -> [i64; 5] {
        [row.audience, row.pending, row.sent, row.delivered, row.failed]
    }

    #[test]
    fn messages_are_counted_where_they_stand_whatever_comes_first() {
        let row = only_row(&[
            vec![created(), requested(), launched(5)],
            vec![
                queued("spring/1", 3),
                changed("spring/1", vec![change(1, "queued", "sent"), change(2, "queued", "queued")]),
                changed("spring/1", vec![change(1, "sent", "delivered"), change(2, "queued", "dead")]),
            ],
            vec![queued("spring/2", 2), changed("spring/2", vec![change(2, "queued", "failed")])],
        ]);
        assert_eq!(counts(&row), [5, 2, 1, 1, 2]);
        assert_eq!(row.status, CampaignStatus::Launched);
        assert_eq!((row.created_at, row.launched_at), (Some(happened(1)), Some(happened(3))));
        assert_survives_storage(&row);
    }

    #[test]
    fn a_message_that_bounced_is_pending_again() {
        let bounced = changed("spring/1", vec![change(1, "sent", "queued")]);
        let sent = changed("spring/1", vec![change(1, "queued", "sent")]);
        assert_eq!(counts(&only_row(&[vec![queued("spring/1", 1), sent, bounced]])), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_campaign_is_a_draft_then_resolving_and_a_failed_one_says_why() {
        let status = |events: &[Event]| only_row(&[events.to_vec()]).status;
        assert_eq!(status(&[created()]), CampaignStatus::Draft);
        assert_eq!(status(&[created(), requested()]), CampaignStatus::Resolving);
        let (campaign_id, reason) = ("spring".to_owned(), "too large".to_owned());
        let failed = Event::Campaigns(CampaignFailed { campaign_id, reason }.into());
        let row = only_row(&[vec![created(), requested(), failed]]);
        assert_eq!((row.status, row.failure.as_deref()), (CampaignStatus::Failed, Some("too large")));
    }

    #[test]
    fn the_table_has_the_rows_fields_in_order() {
        assert_table::<CampaignStatsView>(&CampaignStatsRow::default());
    }
}
