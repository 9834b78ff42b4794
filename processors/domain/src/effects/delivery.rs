//! A campaign's messages, sent to the vendor in chunks.

use std::collections::HashMap;

use millrace_schemas::campaigns::{
    DeliveriesQueued, DeliveriesQueuedRecipient, DeliveriesRetried, DeliveriesRetriedRecipient, Event,
    RecordReceipts, RecordReceiptsReceipt,
};
use millrace_schemas::{Command, Event as AnyEvent};
use serde::{Deserialize, Serialize};

use super::words;
use crate::contexts::campaigns::{Campaigns, Recipient, job_id, personal};
use crate::{Context, Effect, GaveUp, Recorded};

const REASON_MAX: usize = 100;

/// The effect that sends a campaign's messages.
#[derive(Debug)]
pub struct Delivery;

/// Messages for one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Their chunk.
    pub chunk_id: String,
    /// How they are sent.
    pub channel: String,
    /// The template of the subject.
    pub subject: String,
    /// The template of the text.
    pub message: String,
    /// The messages, one for each customer.
    pub messages: Vec<Message>,
}

/// A message to one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its position in the chunk.
    pub number: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// The customer.
    pub customer_id: String,
    /// The customer's name.
    pub name: String,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// The address.
    pub address: String,
}

/// The vendor's result for each message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts(pub Vec<Receipt>);

/// The vendor's result for a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message.
    pub number: i32,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The vendor has accepted it.
    Sent,
    /// It was not sent.
    Failed {
        /// Whether another attempt may succeed.
        retryable: bool,
        /// For people.
        reason: String,
    },
}

impl Batch {
    /// The message for the vendor: id, address, subject and text.
    pub fn written<'b>(&self, message: &'b Message) -> Written<'b> {
        let Message { number, attempt, customer_id, name, contact_name, address } = message;
        let recipient = Recipient { customer_id, name, contact_name: contact_name.as_deref() };
        Written {
            id: job_id(&self.chunk_id, *number),
            attempt: *attempt,
            to: address,
            subject: personal(&self.subject, &recipient),
            text: personal(&self.message, &recipient),
        }
    }

    fn receipts(&self, outcome: impl Fn(&Message) -> Option<Outcome>) -> Command {
        let receipts = self.messages.iter().filter_map(|message| Some(receipt(message, outcome(message)?)));
        let (chunk_id, receipts) = (self.chunk_id.clone(), receipts.collect());
        Command::Campaigns(RecordReceipts { chunk_id, receipts }.into())
    }
}

/// A personal message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written<'b> {
    /// The id of the message, the same at every attempt.
    pub id: String,
    /// The number of the attempt.
    pub attempt: i32,
    /// The address.
    pub to: &'b str,
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
}

impl Effect for Delivery {
    const NAME: &'static str = "delivery";
    const CONTEXTS: &'static [&'static str] = &[Campaigns::NAME];
    type Request = Batch;
    type Answer = Receipts;

    fn request(event: &Recorded) -> Option<Batch> {
        let AnyEvent::Campaigns(event) = &event.event else { return None };
        match event {
            Event::DeliveriesQueued(event) => Some(queued(event.clone())),
            Event::DeliveriesRetried(event) => Some(retried(event.clone())),
            Event::AudienceChunkResolved(_)
            | Event::AudienceRequested(_)
            | Event::CampaignCreated(_)
            | Event::CampaignFailed(_)
            | Event::CampaignLaunched(_)
            | Event::DeliveriesChanged(_)
            | Event::ReceiptsUnmatched(_)
            | Event::SegmentDefined(_) => None,
        }
    }

    fn answered(request: &Batch, answer: &Receipts) -> Option<Command> {
        let outcomes: HashMap<i32, &Outcome> =
            answer.0.iter().map(|receipt| (receipt.number, &receipt.outcome)).collect();
        Some(request.receipts(|message| outcomes.get(&message.number).copied().cloned()))
    }

    /// No receipts when messages may have been sent: reporting a failure could be wrong.
    fn gave_up(request: &Batch, why: &GaveUp) -> Option<Command> {
        let failed = |_: &Message| Some(Outcome::Failed { retryable: false, reason: why.reason.clone() });
        (!why.unknown).then(|| request.receipts(failed))
    }
}

fn queued(event: DeliveriesQueued) -> Batch {
    let DeliveriesQueued { chunk_id, campaign_id: _, channel, subject, message, recipients } = event;
    let first = |recipient| {
        let DeliveriesQueuedRecipient { number, customer_id, name, contact_name, address } = recipient;
        Message { number, attempt: 1, customer_id, name, contact_name, address }
    };
    Batch { chunk_id, channel, subject, message, messages: recipients.into_iter().map(first).collect() }
}

fn retried(event: DeliveriesRetried) -> Batch {
    let DeliveriesRetried { chunk_id, campaign_id: _, channel, subject, message, recipients } = event;
    let again = |recipient| {
        let DeliveriesRetriedRecipient { number, attempt, customer_id, name, contact_name, address } =
            recipient;
        Message { number, attempt, customer_id, name, contact_name, address }
    };
    Batch { chunk_id, channel, subject, message, messages: recipients.into_iter().map(again).collect() }
}

fn receipt(message: &Message, outcome: Outcome) -> RecordReceiptsReceipt {
    let (number, attempt) = (message.number, message.attempt);
    let (status, retryable, reason) = match outcome {
        Outcome::Sent => ("sent", false, None),
        Outcome::Failed { retryable, reason } => ("failed", retryable, Some(words(&reason, REASON_MAX))),
    };
    RecordReceiptsReceipt { number, attempt, status: status.to_owned(), retryable, reason }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::campaigns::CampaignLaunched;

    use super::*;
    use crate::testing::{assert_survives_storage, recorded};

    fn batch() -> Batch {
        let [chunk_id, campaign_id, channel, subject, message] =
            ["spring/2", "spring", "email", "Hello", "Dear {name}"].map(str::to_owned);
        let recipient = |number: i32| DeliveriesRetriedRecipient {
            number,
            attempt: 2,
            customer_id: format!("c{number}"),
            name: format!("Ana {number}"),
            contact_name: None,
            address: "a@b.c".to_owned(),
        };
        let recipients = vec![recipient(4), recipient(7)];
        let retried = DeliveriesRetried { chunk_id, campaign_id, channel, subject, message, recipients };
        Delivery::request(&recorded(&AnyEvent::Campaigns(retried.into()), 1)).expect("a request")
    }

    fn failed(retryable: bool, reason: &str) -> Outcome {
        Outcome::Failed { retryable, reason: reason.to_owned() }
    }

    /// Number, attempt, status, whether it may be retried, and why, of each receipt.
    fn fields(command: Command) -> Vec<(i32, i32, String, bool, Option<String>)> {
        let Command::Campaigns(millrace_schemas::campaigns::Command::RecordReceipts(command)) = command
        else {
            panic!("{command:?}")
        };
        assert_eq!(command.chunk_id, "spring/2");
        let receipts = command.receipts.into_iter();
        receipts.map(|one| (one.number, one.attempt, one.status, one.retryable, one.reason)).collect()
    }

    #[test]
    fn messages_are_personal_and_are_called_the_same_at_every_attempt() {
        let batch = batch();
        let written: Vec<Written<'_>> = batch.messages.iter().map(|message| batch.written(message)).collect();
        let [first, second] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!((first.id.as_str(), first.attempt, first.to), ("spring/2/4", 2, "a@b.c"));
        assert_eq!((first.text.as_str(), second.text.as_str()), ("Dear Ana 4", "Dear Ana 7"));
    }

    #[test]
    fn only_what_is_queued_or_retried_is_sent() {
        let launched = CampaignLaunched { campaign_id: "spring".to_owned(), audience: 1, chunks: 1 };
        assert_eq!(Delivery::request(&recorded(&AnyEvent::Campaigns(launched.into()), 1)), None);
        let [chunk_id, campaign_id, channel, subject, message] =
            ["spring/1", "spring", "email", "Hello", "Dear {name}"].map(str::to_owned);
        let [customer_id, name, address] = ["c1", "Ana", "a@b.c"].map(str::to_owned);
        let recipient =
            DeliveriesQueuedRecipient { number: 1, customer_id, name, contact_name: None, address };
        let recipients = vec![recipient];
        let queued = DeliveriesQueued { chunk_id, campaign_id, channel, subject, message, recipients };
        let first = Delivery::request(&recorded(&AnyEvent::Campaigns(queued.into()), 1)).expect("a request");
        assert_eq!(first.messages.iter().map(|one| (one.number, one.attempt)).collect::<Vec<_>>(), [(1, 1)]);
    }

    #[test]
    fn what_the_vendor_says_becomes_receipts_of_the_attempt() {
        let receipt = |number, outcome| Receipt { number, outcome };
        let answer = Receipts(vec![receipt(7, failed(true, "mailbox\nfull")), receipt(4, Outcome::Sent)]);
        let expected = [
            (4, 2, "sent".to_owned(), false, None),
            (7, 2, "failed".to_owned(), true, Some("mailbox full".to_owned())),
        ];
        assert_eq!(fields(Delivery::answered(&batch(), &answer).expect("receipts")), expected);
        assert_survives_storage(&batch());
        assert_survives_storage(&answer);
    }

    #[test]
    fn messages_that_were_given_up_have_failed_unless_they_may_have_been_sent() {
        let why = |unknown| GaveUp { reason: "x".repeat(1_000), unknown };
        let failed = fields(Delivery::gave_up(&batch(), &why(false)).expect("receipts"));
        assert!(failed.iter().all(|(_, _, status, retryable, _)| status == "failed" && !retryable));
        assert_eq!(
            failed.iter().filter_map(|one| one.4.as_deref()).map(str::len).collect::<Vec<_>>(),
            [100, 100]
        );
        assert_eq!(Delivery::gave_up(&batch(), &why(true)), None);
    }
}
