//! Campaigns: messages to segments of customers, from the rules to the outcome of each message.

mod audience;
mod chunk;
mod create;
mod message;
mod receipts;
mod refusals;
#[cfg(test)]
mod tests;

use millrace_schemas::Message;
use millrace_schemas::campaigns::{CampaignCreated, Command, Event};
use serde::{Deserialize, Serialize};

use crate::rules::{self, Checked};
use crate::{Context, Emitted, References, Refusal, Rejection, Streams};

pub use audience::{CHUNK_BYTES_MAX, CHUNKS_MAX, RECIPIENTS_MAX, fitting};
pub use chunk::{ATTEMPTS_MAX, Chunk, Job, JobStatus, chunk_id, job_id};
pub use message::{Recipient, personal};

/// Room for a slash, the chunk's and the job's number behind it, within what an id may be.
const ID_CHARACTERS_MAX: usize = 180;
const ID_BYTES_MAX: usize = 480;

/// The context of campaigns; a stream is a segment, a campaign, or a chunk of a campaign's audience.
#[derive(Debug)]
pub struct Campaigns;

/// The kinds of streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// A segment of customers.
    Segment(Segment),
    /// A campaign.
    Campaign(Campaign),
    /// Up to a thousand customers of a campaign's audience.
    Chunk(Chunk),
}

/// A segment of customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The rule tree as JSON text.
    pub rules: String,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The content and the channel.
    pub template: Template,
    /// The rules that the segment had when the campaign was created.
    pub rules: String,
    /// Its status.
    pub status: Status,
}

/// The templates of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The channel: `email` or `sms`.
    pub channel: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub message: String,
}

/// The status of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is not launched.
    Draft,
    /// Its audience is being found; nothing is sent yet.
    Resolving {
        /// The time from which days are counted back, in microseconds since 1970.
        as_of: i64,
        /// The chunk that is awaited.
        number: i32,
    },
    /// All its messages are queued.
    Launched,
    /// Its audience could not be found.
    Failed,
}

type Decision = Result<Vec<Emitted<Event>>, Rejection>;

impl Context for Campaigns {
    const NAME: &'static str = "campaigns";
    const STATE_VERSION: i32 = 1;
    const REFUSALS: &[Refusal] = refusals::ALL;
    type State = Stream;
    type Command = Command;
    type Event = Event;
    // No other context refers to a campaign.
    type Public = ();

    fn streams(command: &Command) -> Vec<String> {
        match command {
            Command::CreateCampaign(command) => {
                rules::streams([command.campaign_id.as_str(), command.segment_id.as_str()])
            }
            Command::AddAudienceChunk(command) => audience::streams(command),
            Command::DefineSegment(_)
            | Command::FailCampaign(_)
            | Command::LaunchCampaign(_)
            | Command::RecordReceipts(_) => rules::streams([command.key()]),
        }
    }

    fn decide(streams: &Streams<Stream>, _references: &References, command: &Command) -> Decision {
        let stream = streams.get(command.key());
        match command {
            Command::DefineSegment(command) => create::define(stream, command),
            Command::CreateCampaign(command) => create::create(streams, command),
            Command::LaunchCampaign(command) => audience::launch(stream, command),
            Command::AddAudienceChunk(command) => audience::add(streams, command),
            Command::FailCampaign(command) => audience::fail(stream, command),
            Command::RecordReceipts(command) => receipts::record(stream, command),
        }
    }

    fn evolve(state: Option<Stream>, event: &Event) -> Option<Stream> {
        match event {
            Event::SegmentDefined(event) => Stream::defined(state, &event.rules),
            Event::CampaignCreated(event) => state.or_else(|| Some(Stream::created(event))),
            Event::AudienceRequested(event) => {
                let (as_of, number) = (event.as_of, event.number);
                state.map(|stream| stream.standing(Status::Resolving { as_of, number }))
            }
            Event::CampaignLaunched(_) => state.map(|stream| stream.standing(Status::Launched)),
            Event::CampaignFailed(_) => state.map(|stream| stream.standing(Status::Failed)),
            Event::AudienceChunkResolved(event) => {
                state.or_else(|| Some(Stream::Chunk(Chunk::resolved(event))))
            }
            Event::DeliveriesQueued(event) => state.map(|stream| stream.chunk(|chunk| chunk.queued(event))),
            Event::DeliveriesChanged(event) => state.map(|stream| stream.chunk(|chunk| chunk.changed(event))),
            // A retry is part of the change before it; what is unmatched is kept by its event alone.
            Event::DeliveriesRetried(_) | Event::ReceiptsUnmatched(_) => state,
        }
    }

    fn public(_state: &Stream) {}
}

impl Stream {
    fn defined(known: Option<Self>, rules: &str) -> Option<Self> {
        match known {
            None | Some(Self::Segment(_)) => Some(Self::Segment(Segment { rules: rules.to_owned() })),
            other => other,
        }
    }

    fn created(event: &CampaignCreated) -> Self {
        let CampaignCreated { channel, subject, message, rules, .. } = event.clone();
        let template = Template { channel, subject, message };
        Self::Campaign(Campaign { template, rules, status: Status::Draft })
    }

    fn standing(self, status: Status) -> Self {
        match self {
            Self::Campaign(campaign) => Self::Campaign(Campaign { status, ..campaign }),
            other => other,
        }
    }

    fn chunk(self, change: impl FnOnce(Chunk) -> Chunk) -> Self {
        match self {
            Self::Chunk(chunk) => Self::Chunk(change(chunk)),
            other => other,
        }
    }
}

/// The id of a segment or a campaign. Only ids of chunks have a slash, so neither has the id of a chunk.
fn check_id(field: &str, value: &str) -> Checked {
    rules::id(field, value)?;
    let fits = value.chars().count() <= ID_CHARACTERS_MAX && value.len() <= ID_BYTES_MAX;
    if fits && !value.contains('/') {
        return Ok(());
    }
    let value = rules::quoted(value);
    let way_out =
        format!("send at most {ID_CHARACTERS_MAX} characters ({ID_BYTES_MAX} bytes) without a slash");
    Err(rules::refusals::ID_INVALID.because(format!("{field} is {value}: {way_out}")))
}

/// Segments, campaigns and chunks share the ids of this context's streams.
fn taken(field: &str, id: &str) -> Rejection {
    let id = rules::quoted(id);
    let message = format!("{field} {id} is the id of something else already: take another one");
    refusals::ID_TAKEN.because(message)
}
