//! A chunk of a campaign's audience: up to a thousand messages, with their outcomes.

use millrace_schemas::campaigns::{
    AudienceChunkResolved, AudienceChunkResolvedRecipient, DeliveriesChanged, DeliveriesQueued,
    DeliveriesQueuedRecipient,
};
use serde::{Deserialize, Serialize};

use super::Template;

/// Attempts at a message, at most.
pub const ATTEMPTS_MAX: i32 = 3;

/// Customers of a campaign's audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The campaign of the chunk.
    pub campaign_id: String,
    /// The content; none before the campaign is launched.
    pub template: Option<Template>,
    /// A message to each.
    pub jobs: Vec<Job>,
}

/// A message to a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The customer.
    pub customer_id: String,
    /// Their name.
    pub name: String,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// The address.
    pub address: String,
    /// The number of the last attempt, from 1.
    pub attempt: i32,
    /// Its status.
    pub status: JobStatus,
}

/// The status of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It is to be sent.
    Queued,
    /// The vendor has accepted it.
    Sent,
    /// It has arrived.
    Delivered,
    /// It cannot be sent.
    Failed,
    /// It could not be sent with the last attempt.
    Dead,
}

impl JobStatus {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Queued, Self::Sent, Self::Delivered, Self::Failed, Self::Dead]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

impl Chunk {
    pub(super) fn resolved(event: &AudienceChunkResolved) -> Self {
        let jobs = event.recipients.iter().cloned().map(Job::new).collect();
        Self { campaign_id: event.campaign_id.clone(), template: None, jobs }
    }

    pub(super) fn queued(self, event: &DeliveriesQueued) -> Self {
        let DeliveriesQueued { channel, subject, message, .. } = event.clone();
        Self { template: Some(Template { channel, subject, message }), ..self }
    }

    pub(super) fn changed(mut self, event: &DeliveriesChanged) -> Self {
        for change in &event.changes {
            let job = place(change.number).and_then(|place| self.jobs.get_mut(place));
            if let (Some(job), Some(status)) = (job, JobStatus::named(&change.to)) {
                (job.attempt, job.status) = (change.attempt, status);
            }
        }
        self
    }
}

impl Job {
    pub(super) fn new(recipient: AudienceChunkResolvedRecipient) -> Self {
        let AudienceChunkResolvedRecipient { customer_id, name, contact_name, address } = recipient;
        Self { customer_id, name, contact_name, address, attempt: 1, status: JobStatus::Queued }
    }

    pub(super) fn queued(&self, number: i32) -> DeliveriesQueuedRecipient {
        let Self { customer_id, name, contact_name, address, .. } = self.clone();
        DeliveriesQueuedRecipient { number, customer_id, name, contact_name, address }
    }
}

/// The stream of a campaign's chunk.
pub fn chunk_id(campaign_id: &str, number: i32) -> String {
    format!("{campaign_id}/{number}")
}

/// The id of a message for the vendor: its chunk and its number there.
pub fn job_id(chunk_id: &str, number: i32) -> String {
    format!("{chunk_id}/{number}")
}

/// The place of a job's number, which counts from 1.
pub(super) fn place(number: i32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}
