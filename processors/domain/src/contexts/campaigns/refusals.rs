//! Refusals of campaigns.

use crate::refusal::refusals;
use crate::rules::refusals as shared;

refusals! {
    shared: [
        shared::ID_INVALID,
        shared::NAME_INVALID,
        shared::REASON_INVALID,
        shared::SUBJECT_INVALID,
        shared::TIME_INVALID,
    ];
    CAMPAIGN_EXISTS = "campaign-exists" when "there is a campaign with this id";
    CAMPAIGN_FAILED = "campaign-failed" when "the campaign has failed";
    CAMPAIGN_LAUNCHED = "campaign-launched" when "the campaign was already launched";
    CAMPAIGN_NOT_LAUNCHED = "campaign-not-launched" when "the campaign was not launched yet";
    CAMPAIGN_UNKNOWN = "campaign-unknown" when "there is no campaign with this id";
    CHANNEL_UNKNOWN = "channel-unknown" when "the channel is neither email nor sms";
    CHUNK_UNEXPECTED = "chunk-unexpected" when "another chunk of the audience is awaited";
    ID_TAKEN = "id-taken" when "the id is that of something else: a segment, a campaign or a chunk";
    MESSAGE_INVALID = "message-invalid" when "the message is empty or too long, or has control characters";
    PLACEHOLDER_INVALID = "placeholder-invalid" when "a placeholder is not known or not ended, or there are too many";
    RECEIPT_STATUS_UNKNOWN = "receipt-status-unknown" when "the status of a receipt is not known";
    RECEIPTS_COUNT_INVALID = "receipts-count-invalid" when "there are no receipts, or too many";
    RECIPIENT_REPEATED = "recipient-repeated" when "a chunk names the same customer twice";
    RECIPIENTS_EMPTY = "recipients-empty" when "a chunk names no customer and is not the last one";
    RECIPIENTS_TOO_MANY = "recipients-too-many" when "the recipients do not fit a chunk";
    RULES_INVALID = "rules-invalid" when "the rules are no tree of rules that are known";
    SEGMENT_UNKNOWN = "segment-unknown" when "there is no segment with this id";
}
