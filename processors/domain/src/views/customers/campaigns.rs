//! Messages of campaigns to a customer, as far as the vendor's receipts tell: it reports no opening.

use std::collections::BTreeSet;

use millrace_schemas::campaigns::{DeliveriesChangedChange, Event as Campaigns};

use super::CustomerRow;
use crate::contexts::campaigns::JobStatus;

/// The customers whose messages are queued or have changed. Changes of the first version do not say whose they are.
pub(super) fn customers(event: &Campaigns) -> Vec<String> {
    let customers: BTreeSet<&str> = match event {
        Campaigns::DeliveriesQueued(event) => {
            event.recipients.iter().map(|recipient| recipient.customer_id.as_str()).collect()
        }
        Campaigns::DeliveriesChanged(event) => {
            let changes = event.changes.iter().map(|change| change.customer_id.as_str());
            changes.filter(|customer_id| !customer_id.is_empty()).collect()
        }
        Campaigns::AudienceChunkResolved(_)
        | Campaigns::AudienceRequested(_)
        | Campaigns::CampaignCreated(_)
        | Campaigns::CampaignFailed(_)
        | Campaigns::CampaignLaunched(_)
        | Campaigns::DeliveriesRetried(_)
        | Campaigns::ReceiptsUnmatched(_)
        | Campaigns::SegmentDefined(_) => BTreeSet::new(),
    };
    customers.into_iter().map(str::to_owned).collect()
}

impl CustomerRow {
    pub(super) fn messaged(self, event: &Campaigns) -> Self {
        match event {
            Campaigns::DeliveriesQueued(event) => {
                let own = event.recipients.iter().filter(|one| one.customer_id == self.customer_id).count();
                let own = i64::try_from(own).unwrap_or_default();
                Self { campaign_messages: self.campaign_messages.wrapping_add(own), ..self }
            }
            Campaigns::DeliveriesChanged(event) => event.changes.iter().fold(self, Self::delivered),
            _ => self,
        }
    }

    fn delivered(self, change: &DeliveriesChangedChange) -> Self {
        if change.customer_id != self.customer_id {
            return self;
        }
        // Never less: an earlier change may be of the first version, which says nothing of whose it is.
        let now = |is: fn(&str) -> bool| i64::from(is(&change.to) && !is(&change.from));
        let campaign_messages_delivered = self.campaign_messages_delivered.wrapping_add(now(has_arrived));
        let campaign_messages_failed = self.campaign_messages_failed.wrapping_add(now(has_failed));
        Self { campaign_messages_delivered, campaign_messages_failed, ..self }
    }
}

fn has_arrived(status: &str) -> bool {
    JobStatus::named(status) == Some(JobStatus::Delivered)
}

fn has_failed(status: &str) -> bool {
    matches!(JobStatus::named(status), Some(JobStatus::Failed | JobStatus::Dead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, fold_view};
    use crate::views::customers::CustomerView;
    use crate::views::deliveries::tests::{change, changed, queued};

    fn figures(row: &CustomerRow) -> [i64; 3] {
        [row.campaign_messages, row.campaign_messages_delivered, row.campaign_messages_failed]
    }

    #[test]
    fn messages_are_counted_by_what_the_receipts_tell() {
        let rows = assert_same_rows_in_any_order::<CustomerView>(&[
            vec![
                queued("spring/1", 2),
                changed("spring/1", vec![change(1, "queued", "sent"), change(2, "queued", "failed")]),
                changed("spring/1", vec![change(1, "sent", "delivered"), change(2, "failed", "delivered")]),
            ],
            vec![queued("summer/1", 3), changed("summer/1", vec![change(2, "queued", "dead")])],
        ]);
        let found: Vec<_> = rows.values().map(figures).collect();
        assert_eq!(found, [[2, 1, 0], [2, 1, 2], [1, 0, 0]]);
    }

    #[test]
    fn a_change_that_does_not_say_whose_message_it_was_is_not_counted() {
        let unnamed =
            DeliveriesChangedChange { customer_id: String::new(), ..change(1, "queued", "delivered") };
        let rows = fold_view::<CustomerView>(&[queued("spring/1", 1), changed("spring/1", vec![unnamed])]);
        assert_eq!(rows.values().map(figures).collect::<Vec<_>>(), [[1, 0, 0]]);
    }
}
