//! The audience of a campaign, queried on the read side in chunks.

use chrono::{DateTime, Utc};
use millrace_schemas::campaigns::{
    AddAudienceChunk, AddAudienceChunkRecipient, AudienceRequested, Event, FailCampaign,
};
use millrace_schemas::{Command, Event as AnyEvent};
use serde::{Deserialize, Serialize};

use super::words;
use crate::contexts::campaigns::{Campaigns, RECIPIENTS_MAX, fitting};
use crate::segments::{self, Channel, Query, RuleError, Sql};
use crate::{Context, Effect, GaveUp, Recorded};

const REASON_MAX: usize = 500;

/// The effect that finds audiences. The query changes nothing, so it can be repeated.
#[derive(Debug)]
pub struct Audience;

/// A request for customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The campaign.
    pub campaign_id: String,
    /// The channel.
    pub channel: String,
    /// The rule tree as JSON text.
    pub rules: String,
    /// The time from which days are counted back, in microseconds since 1970.
    pub as_of: i64,
    /// The number of the chunk.
    pub number: i32,
    /// The last known customer; empty before the first.
    pub after: String,
}

/// The next customers, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// At most a chunk of them.
    pub customers: Vec<Customer>,
    /// Whether there are no more.
    pub last: bool,
}

/// A customer with an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// The customer.
    pub customer_id: String,
    /// Company or person.
    pub name: String,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// The address for messages.
    pub address: String,
}

impl Wanted {
    /// The query of one customer more than a chunk has: that one shows whether there are others.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub fn sql(&self) -> Result<Sql, RuleError> {
        let rule = segments::parse(&self.rules)?;
        let channel = Channel::named(&self.channel).unwrap_or(Channel::Email);
        let as_of: DateTime<Utc> = DateTime::from_timestamp_micros(self.as_of).unwrap_or_default();
        let most = i64::try_from(RECIPIENTS_MAX).unwrap_or(i64::MAX).saturating_add(1);
        Ok(segments::audience(&rule, channel, as_of, Query::Next { after: &self.after, most }))
    }
}

impl Found {
    /// The customers of one chunk; the others are in the next.
    pub fn of(customers: Vec<Customer>) -> Self {
        let recipients: Vec<_> = customers.iter().cloned().map(recipient).collect();
        let fitting = fitting(&recipients);
        let last = fitting == customers.len();
        Self { customers: customers.into_iter().take(fitting).collect(), last }
    }
}

impl Effect for Audience {
    const NAME: &'static str = "audience";
    const CONTEXTS: &'static [&'static str] = &[Campaigns::NAME];
    type Request = Wanted;
    type Answer = Found;

    fn request(event: &Recorded) -> Option<Wanted> {
        let AnyEvent::Campaigns(Event::AudienceRequested(event)) = &event.event else { return None };
        let AudienceRequested { campaign_id, channel, rules, as_of, number, after } = event.clone();
        Some(Wanted { campaign_id, channel, rules, as_of, number, after })
    }

    fn answered(request: &Wanted, answer: &Found) -> Option<Command> {
        let (campaign_id, number) = (request.campaign_id.clone(), request.number);
        let recipients = answer.customers.iter().cloned().map(recipient).collect();
        let chunk = AddAudienceChunk { campaign_id, number, recipients, last: answer.last };
        Some(Command::Campaigns(chunk.into()))
    }

    /// Nothing was sent, whatever the outcome of the query.
    fn gave_up(request: &Wanted, why: &GaveUp) -> Option<Command> {
        let (campaign_id, reason) = (request.campaign_id.clone(), words(&why.reason, REASON_MAX));
        Some(Command::Campaigns(FailCampaign { campaign_id, reason }.into()))
    }
}

fn recipient(customer: Customer) -> AddAudienceChunkRecipient {
    let Customer { customer_id, name, contact_name, address } = customer;
    AddAudienceChunkRecipient { customer_id, name, contact_name, address }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::campaigns::CampaignLaunched;

    use super::*;
    use crate::testing::{assert_survives_storage, recorded};

    fn wanted() -> Wanted {
        let rules = r#"{"fact": "orders", "is": ">=", "value": 1}"#;
        let [campaign_id, channel, rules, after] = ["spring", "email", rules, "c9"].map(str::to_owned);
        let requested = AudienceRequested { campaign_id, channel, rules, as_of: 7, number: 2, after };
        Audience::request(&recorded(&AnyEvent::Campaigns(requested.into()), 1)).expect("a request")
    }

    fn customer(customer_id: &str, name: &str) -> Customer {
        let [customer_id, name] = [customer_id, name].map(str::to_owned);
        Customer { customer_id, name, contact_name: None, address: "a@b.c".to_owned() }
    }

    #[test]
    fn a_requested_chunk_is_looked_for_behind_the_last_customer_and_nothing_else_is() {
        let sql = wanted().sql().expect("SQL");
        let after = segments::Parameter::Text("c9".to_owned());
        assert!(sql.parameters.contains(&after) && sql.text.contains("order_count >= $1::bigint"));
        let launched = CampaignLaunched { campaign_id: "spring".to_owned(), audience: 1, chunks: 1 };
        assert_eq!(Audience::request(&recorded(&AnyEvent::Campaigns(launched.into()), 1)), None);
    }

    #[test]
    fn what_does_not_fit_a_chunk_is_left_for_the_next() {
        let customers = |count: usize| vec![customer("c", "Ana"); count];
        let full = Found::of(customers(RECIPIENTS_MAX));
        assert_eq!((full.customers.len(), full.last), (RECIPIENTS_MAX, true));
        let more = Found::of(customers(RECIPIENTS_MAX + 1));
        assert_eq!((more.customers.len(), more.last), (RECIPIENTS_MAX, false));
        let long = Found::of(vec![customer("c", &"x".repeat(300_000)); 2]);
        assert_eq!((long.customers.len(), long.last), (1, false));
        assert_eq!(Found::of(Vec::new()), Found { customers: Vec::new(), last: true });
    }

    #[test]
    fn found_customers_are_the_campaigns_next_chunk() {
        let found = Found { customers: vec![customer("c1", "Ana")], last: true };
        let [customer_id, name, address] = ["c1", "Ana", "a@b.c"].map(str::to_owned);
        let recipients = vec![AddAudienceChunkRecipient { customer_id, name, contact_name: None, address }];
        let chunk = AddAudienceChunk { campaign_id: "spring".to_owned(), number: 2, recipients, last: true };
        assert_eq!(Audience::answered(&wanted(), &found), Some(Command::Campaigns(chunk.into())));
        assert_survives_storage(&wanted());
        assert_survives_storage(&found);
    }

    #[test]
    fn a_campaign_whose_audience_cannot_be_found_has_failed() {
        for unknown in [true, false] {
            let why = GaveUp { reason: "no\nway".to_owned(), unknown };
            let (campaign_id, reason) = ("spring".to_owned(), "no way".to_owned());
            let failed = Command::Campaigns(FailCampaign { campaign_id, reason }.into());
            assert_eq!(Audience::gave_up(&wanted(), &why), Some(failed));
        }
    }
}
