//! Decisions to define a segment and to create a campaign.

use millrace_schemas::campaigns::{CampaignCreated, CreateCampaign, DefineSegment, SegmentDefined};

use super::{Decision, Segment, Stream, check_id, message, refusals, taken};
use crate::rules::{self, Checked, Text};
use crate::segments::{self, Channel};
use crate::{Rejection, Streams, emit};

const NAME: Text = Text::new("name", rules::refusals::NAME_INVALID, 1, 200);

/// Defines a segment, or defines it anew.
pub(super) fn define(known: Option<&Stream>, command: &DefineSegment) -> Decision {
    let DefineSegment { segment_id, name, rules } = command.clone();
    check_id("segment_id", &segment_id)?;
    NAME.check(&name)?;
    segments::parse(&rules).map_err(|error| refusals::RULES_INVALID.because(error.to_string()))?;
    match known {
        None | Some(Stream::Segment(_)) => Ok(vec![emit(SegmentDefined { segment_id, name, rules })]),
        Some(Stream::Campaign(_) | Stream::Chunk(_)) => Err(taken("segment_id", &segment_id)),
    }
}

/// Creates a campaign with the rules that its segment has now.
pub(super) fn create(streams: &Streams<Stream>, command: &CreateCampaign) -> Decision {
    check(command)?;
    let CreateCampaign { campaign_id, segment_id, name, channel, subject, message } = command.clone();
    match streams.get(&campaign_id) {
        None => (),
        Some(Stream::Campaign(_)) => return Err(exists(&campaign_id)),
        Some(Stream::Segment(_) | Stream::Chunk(_)) => return Err(taken("campaign_id", &campaign_id)),
    }
    let rules = segment(streams, &segment_id)?.rules.clone();
    Ok(vec![emit(CampaignCreated { campaign_id, segment_id, name, channel, subject, message, rules })])
}

fn check(command: &CreateCampaign) -> Checked {
    check_id("campaign_id", &command.campaign_id)?;
    check_id("segment_id", &command.segment_id)?;
    if command.campaign_id == command.segment_id {
        return Err(taken("campaign_id", &command.campaign_id));
    }
    NAME.check(&command.name)?;
    if Channel::named(&command.channel).is_none() {
        let channel = rules::quoted(&command.channel);
        return Err(refusals::CHANNEL_UNKNOWN.because(format!("channel is {channel}: send email or sms")));
    }
    message::SUBJECT.check(&command.subject)?;
    message::MESSAGE.check(&command.message)?;
    message::check("subject", &command.subject)?;
    message::check("message", &command.message)
}

fn segment<'s>(streams: &'s Streams<Stream>, segment_id: &str) -> Result<&'s Segment, Rejection> {
    let id = rules::quoted(segment_id);
    match streams.get(segment_id) {
        Some(Stream::Segment(segment)) => Ok(segment),
        None | Some(Stream::Campaign(_) | Stream::Chunk(_)) => Err(refusals::SEGMENT_UNKNOWN
            .because(format!("segment_id {id} is no segment: send DefineSegment first, or correct the id"))),
    }
}

fn exists(campaign_id: &str) -> Rejection {
    let id = rules::quoted(campaign_id);
    let way_out = "take another id for another campaign";
    refusals::CAMPAIGN_EXISTS.because(format!("campaign_id {id} exists already: {way_out}"))
}
