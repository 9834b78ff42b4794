//! Decisions from the launch to the queued messages: the audience is found in chunks, and with the last chunk the whole campaign
//! is queued at once, or not at all.

use std::collections::HashSet;

use millrace_schemas::campaigns::{
    AddAudienceChunk, AddAudienceChunkRecipient, AudienceChunkResolved, AudienceChunkResolvedRecipient,
    AudienceRequested, CampaignFailed, CampaignLaunched, DeliveriesQueued, Event, FailCampaign,
    LaunchCampaign,
};

use super::{Campaign, Decision, Job, Status, Stream, check_id, chunk_id, refusals};
use crate::rules::{self, Checked, Text};
use crate::{Emitted, Rejection, Streams, emit};

/// Customers in a chunk, at most, so that the event stays below Kafka's limit.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Text of the customers in a chunk, for the same reason.
pub const CHUNK_BYTES_MAX: usize = 500_000;
/// Chunks of a campaign: queueing them is one decision, which holds all of them in memory.
pub const CHUNKS_MAX: i32 = 200;

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 500);

/// The campaign and the new chunk; with the last chunk all of them.
pub(super) fn streams(command: &AddAudienceChunk) -> Vec<String> {
    let number = command.number.min(CHUNKS_MAX);
    let first = if command.last { 1 } else { number };
    let chunks: Vec<String> = (first..=number).map(|number| chunk_id(&command.campaign_id, number)).collect();
    rules::streams(chunks.iter().chain([&command.campaign_id]).map(String::as_str))
}

/// How many of these recipients, from the first, fit into a chunk.
pub fn fitting(recipients: &[AddAudienceChunkRecipient]) -> usize {
    let mut bytes = 0_usize;
    let fits = |recipient: &&AddAudienceChunkRecipient| {
        bytes = bytes.saturating_add(size(recipient));
        bytes <= CHUNK_BYTES_MAX
    };
    recipients.iter().take(RECIPIENTS_MAX).take_while(fits).count()
}

fn size(recipient: &AddAudienceChunkRecipient) -> usize {
    let AddAudienceChunkRecipient { customer_id, name, contact_name, address } = recipient;
    let contact_name = contact_name.as_deref().unwrap_or_default();
    [customer_id, name, contact_name, address].iter().fold(0, |sum, text| text.len().saturating_add(sum))
}

/// Asks for the first chunk of the audience.
pub(super) fn launch(known: Option<&Stream>, command: &LaunchCampaign) -> Decision {
    let LaunchCampaign { campaign_id, as_of } = command.clone();
    let campaign = campaign(known, &campaign_id)?;
    rules::time("as_of", as_of)?;
    match campaign.status {
        Status::Draft => Ok(vec![request(campaign, &campaign_id, (as_of, 1), "")]),
        status => Err(status.refusal(&campaign_id)),
    }
}

fn request(
    campaign: &Campaign,
    campaign_id: &str,
    (as_of, number): (i64, i32),
    after: &str,
) -> Emitted<Event> {
    let (channel, rules) = (campaign.template.channel.clone(), campaign.rules.clone());
    let (campaign_id, after) = (campaign_id.to_owned(), after.to_owned());
    emit(AudienceRequested { campaign_id, channel, rules, as_of, number, after })
}

/// Takes the next chunk, and asks for the one behind it or queues everything.
pub(super) fn add(streams: &Streams<Stream>, command: &AddAudienceChunk) -> Decision {
    let AddAudienceChunk { campaign_id, number, recipients, last } = command;
    let campaign = campaign(streams.get(campaign_id), campaign_id)?;
    let as_of = awaited(campaign, command)?;
    check(command)?;
    let resolved: Vec<_> = recipients.iter().cloned().map(resolved).collect();
    let follows = match recipients.last() {
        _ if *last => queue(streams, campaign, command, &resolved),
        Some(after) if *number < CHUNKS_MAX => {
            let next = (as_of, number.saturating_add(1));
            vec![request(campaign, campaign_id, next, &after.customer_id)]
        }
        _ => vec![too_large(campaign_id)],
    };
    let chunk = (!resolved.is_empty()).then(|| {
        let (chunk_id, campaign_id) = (chunk_id(campaign_id, *number), campaign_id.clone());
        emit(AudienceChunkResolved { chunk_id, campaign_id, number: *number, recipients: resolved })
    });
    Ok(chunk.into_iter().chain(follows).collect())
}

/// The audience cannot be found.
pub(super) fn fail(known: Option<&Stream>, command: &FailCampaign) -> Decision {
    let FailCampaign { campaign_id, reason } = command.clone();
    let campaign = campaign(known, &campaign_id)?;
    REASON.check(&reason)?;
    match campaign.status {
        Status::Resolving { .. } => Ok(vec![emit(CampaignFailed { campaign_id, reason })]),
        status => Err(status.refusal(&campaign_id)),
    }
}

/// Every chunk's messages, and the launch that they belong to.
fn queue(
    streams: &Streams<Stream>,
    campaign: &Campaign,
    command: &AddAudienceChunk,
    last: &[AudienceChunkResolvedRecipient],
) -> Vec<Emitted<Event>> {
    let AddAudienceChunk { campaign_id, number, .. } = command;
    let earlier = (1..*number).filter_map(|number| match streams.get(&chunk_id(campaign_id, number)) {
        Some(Stream::Chunk(chunk)) => Some((number, chunk.jobs.clone())),
        _ => None,
    });
    let last: Vec<Job> = last.iter().cloned().map(Job::new).collect();
    let chunks = earlier.chain([(*number, last)]).filter(|(_, jobs)| !jobs.is_empty());
    let (mut events, mut audience, mut count) = (Vec::new(), 0_i64, 0_i32);
    for (number, jobs) in chunks {
        audience = audience.saturating_add(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        count = count.saturating_add(1);
        events.push(queued(campaign, campaign_id, number, &jobs));
    }
    let launched = CampaignLaunched { campaign_id: campaign_id.clone(), audience, chunks: count };
    std::iter::once(emit(launched)).chain(events).collect()
}

fn queued(campaign: &Campaign, campaign_id: &str, number: i32, jobs: &[Job]) -> Emitted<Event> {
    let recipients = (1..).zip(jobs).map(|(number, job)| job.queued(number)).collect();
    let super::Template { channel, subject, message } = campaign.template.clone();
    let (chunk_id, campaign_id) = (chunk_id(campaign_id, number), campaign_id.to_owned());
    emit(DeliveriesQueued { chunk_id, campaign_id, channel, subject, message, recipients })
}

fn resolved(recipient: AddAudienceChunkRecipient) -> AudienceChunkResolvedRecipient {
    let AddAudienceChunkRecipient { customer_id, name, contact_name, address } = recipient;
    AudienceChunkResolvedRecipient { customer_id, name, contact_name, address }
}

/// The moment as of which the audience is found, when this is the chunk that is awaited.
fn awaited(campaign: &Campaign, command: &AddAudienceChunk) -> Result<i64, Rejection> {
    let found = command.number;
    match campaign.status {
        Status::Resolving { as_of, number } if number == found => Ok(as_of),
        Status::Resolving { number, .. } => {
            let message = format!("number is {found}, but the chunk {number} is awaited: send that");
            Err(refusals::CHUNK_UNEXPECTED.because(message))
        }
        status => Err(status.refusal(&command.campaign_id)),
    }
}

fn check(command: &AddAudienceChunk) -> Checked {
    let AddAudienceChunk { recipients, last, .. } = command;
    if recipients.is_empty() && !last {
        let message = "recipients is empty, but others are to follow: send 1 to 1000, or last";
        return Err(refusals::RECIPIENTS_EMPTY.because(message));
    }
    if fitting(recipients) < recipients.len() {
        let (found, most) =
            (recipients.len(), format!("{RECIPIENTS_MAX} customers of {CHUNK_BYTES_MAX} bytes"));
        let message =
            format!("recipients has {found} entries, which do not fit a chunk: send at most {most}");
        return Err(refusals::RECIPIENTS_TOO_MANY.because(message));
    }
    let mut seen = HashSet::new();
    for (index, recipient) in recipients.iter().enumerate() {
        rules::id(format_args!("recipients[{index}].customer_id"), &recipient.customer_id)?;
        if !seen.insert(&recipient.customer_id) {
            let id = rules::quoted(&recipient.customer_id);
            let message = format!("recipients names the customer {id} twice: send each customer once");
            return Err(refusals::RECIPIENT_REPEATED.because(message));
        }
    }
    Ok(())
}

fn campaign<'s>(known: Option<&'s Stream>, campaign_id: &str) -> Result<&'s Campaign, Rejection> {
    check_id("campaign_id", campaign_id)?;
    match known {
        Some(Stream::Campaign(campaign)) => Ok(campaign),
        None | Some(Stream::Segment(_) | Stream::Chunk(_)) => {
            let id = rules::quoted(campaign_id);
            let way_out = "send CreateCampaign first, or correct the id";
            Err(refusals::CAMPAIGN_UNKNOWN.because(format!("campaign_id {id} is no campaign: {way_out}")))
        }
    }
}

fn too_large(campaign_id: &str) -> Emitted<Event> {
    let reason = format!("the audience has more than {CHUNKS_MAX} chunks: split the segment");
    emit(CampaignFailed { campaign_id: campaign_id.to_owned(), reason })
}

impl Status {
    /// Why a campaign in this status does not take a command.
    fn refusal(self, campaign_id: &str) -> Rejection {
        let (refusal, message) = match self {
            Self::Draft => (refusals::CAMPAIGN_NOT_LAUNCHED, "was not launched: send LaunchCampaign first"),
            Self::Resolving { .. } | Self::Launched => {
                (refusals::CAMPAIGN_LAUNCHED, "was launched already: create another one to send again")
            }
            Self::Failed => (refusals::CAMPAIGN_FAILED, "has failed: create another one"),
        };
        refusal.because(format!("campaign_id {} {message}", rules::quoted(campaign_id)))
    }
}
