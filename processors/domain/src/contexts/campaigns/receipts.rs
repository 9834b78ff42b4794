//! Receipts of the vendor, which may come twice, late and in any order: the status of a message only advances.
//!
//! In one attempt queued comes before sent and sent before failed; after a failure that may be overcome the next attempt
//! is queued, and of an older attempt only the arrival counts. What has arrived stays so.

use millrace_schemas::campaigns::{
    DeliveriesChanged, DeliveriesChangedChange, DeliveriesRetried, DeliveriesRetriedRecipient, Event,
    ReceiptsUnmatched, ReceiptsUnmatchedReceipt, RecordReceipts, RecordReceiptsReceipt,
};

use super::chunk::place;
use super::{ATTEMPTS_MAX, Chunk, Decision, Job, JobStatus, RECIPIENTS_MAX, Stream, Template, refusals};
use crate::rules::{self, Checked, Text};
use crate::{Emitted, emit};

const REASON: Text = Text::new("reason", rules::refusals::REASON_INVALID, 1, 100);

/// The content of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reported {
    Sent,
    Delivered,
    Failed { retryable: bool },
}

impl Reported {
    fn of(receipt: &RecordReceiptsReceipt) -> Option<Self> {
        match receipt.status.as_str() {
            "sent" => Some(Self::Sent),
            "delivered" => Some(Self::Delivered),
            "failed" => Some(Self::Failed { retryable: receipt.retryable }),
            _ => None,
        }
    }
}

/// Applies new receipts, retries failed messages that may be retried, and records unknown ones.
pub(super) fn record(stream: Option<&Stream>, command: &RecordReceipts) -> Decision {
    check(command)?;
    let RecordReceipts { chunk_id, receipts } = command;
    let launched = match stream {
        Some(Stream::Chunk(chunk)) => chunk.template.as_ref().map(|template| (chunk, template)),
        None | Some(Stream::Segment(_) | Stream::Campaign(_)) => None,
    };
    let Some((chunk, template)) = launched else {
        return Ok(unmatched(chunk_id, receipts.clone()).into_iter().collect());
    };
    let Taken { jobs, changes, unknown } = take(chunk, receipts);
    let retried = retried(chunk_id, chunk, template, &jobs);
    let campaign_id = chunk.campaign_id.clone();
    let changed = (!changes.is_empty())
        .then(|| emit(DeliveriesChanged { chunk_id: chunk_id.clone(), campaign_id, changes }));
    Ok(changed.into_iter().chain(retried).chain(unmatched(chunk_id, unknown)).collect())
}

/// The results of receipts.
struct Taken {
    jobs: Vec<Job>,
    changes: Vec<DeliveriesChangedChange>,
    unknown: Vec<RecordReceiptsReceipt>,
}

fn take(chunk: &Chunk, receipts: &[RecordReceiptsReceipt]) -> Taken {
    let mut taken = Taken { jobs: chunk.jobs.clone(), changes: Vec::new(), unknown: Vec::new() };
    for receipt in receipts {
        let job = place(receipt.number).and_then(|place| taken.jobs.get_mut(place));
        match (job.filter(|job| (1..=job.attempt).contains(&receipt.attempt)), Reported::of(receipt)) {
            (Some(job), Some(reported)) => taken.changes.extend(change(job, reported, receipt)),
            _ => taken.unknown.push(receipt.clone()),
        }
    }
    taken
}

/// Changes a job when the receipt says something new.
fn change(
    job: &mut Job,
    reported: Reported,
    receipt: &RecordReceiptsReceipt,
) -> Option<DeliveriesChangedChange> {
    let (attempt, status) = job.after(reported, receipt.attempt)?;
    let (from, to) = (job.status.name().to_owned(), status.name().to_owned());
    (job.attempt, job.status) = (attempt, status);
    let reason = receipt.reason.clone().filter(|_| matches!(reported, Reported::Failed { .. }));
    let (number, customer_id) = (receipt.number, job.customer_id.clone());
    Some(DeliveriesChangedChange { number, attempt, from, to, reason, customer_id })
}

impl Job {
    /// The status after a receipt of an attempt; `None` when it does not change.
    fn after(&self, reported: Reported, attempt: i32) -> Option<(i32, JobStatus)> {
        use JobStatus::{Dead, Delivered, Failed, Queued, Sent};
        match (self.status, reported) {
            (Delivered, _) => None,
            (_, Reported::Delivered) => Some((self.attempt, Delivered)),
            _ if attempt < self.attempt => None,
            (Queued, Reported::Sent) => Some((attempt, Sent)),
            (Queued | Sent, Reported::Failed { retryable: true }) if attempt < ATTEMPTS_MAX => {
                Some((attempt.saturating_add(1), Queued))
            }
            (Queued | Sent, Reported::Failed { retryable: true }) => Some((attempt, Dead)),
            (Queued | Sent, Reported::Failed { retryable: false }) => Some((attempt, Failed)),
            (Sent | Failed | Dead, _) => None,
        }
    }
}

/// The messages that have a new attempt before them.
fn retried(chunk_id: &str, chunk: &Chunk, template: &Template, jobs: &[Job]) -> Option<Emitted<Event>> {
    let again = (1..).zip(chunk.jobs.iter().zip(jobs)).filter_map(|(number, (before, job))| {
        let again = job.status == JobStatus::Queued && job.attempt > before.attempt;
        again.then(|| recipient(number, job))
    });
    let recipients: Vec<_> = again.collect();
    let Template { channel, subject, message } = template.clone();
    let (chunk_id, campaign_id) = (chunk_id.to_owned(), chunk.campaign_id.clone());
    (!recipients.is_empty())
        .then(|| emit(DeliveriesRetried { chunk_id, campaign_id, channel, subject, message, recipients }))
}

fn recipient(number: i32, job: &Job) -> DeliveriesRetriedRecipient {
    let Job { customer_id, name, contact_name, address, attempt, .. } = job.clone();
    DeliveriesRetriedRecipient { number, attempt, customer_id, name, contact_name, address }
}

/// Keeps receipts that fit no message.
fn unmatched(chunk_id: &str, receipts: Vec<RecordReceiptsReceipt>) -> Option<Emitted<Event>> {
    let kept = |receipt: RecordReceiptsReceipt| {
        let RecordReceiptsReceipt { number, attempt, status, retryable, reason } = receipt;
        ReceiptsUnmatchedReceipt { number, attempt, status, retryable, reason }
    };
    let receipts: Vec<_> = receipts.into_iter().map(kept).collect();
    (!receipts.is_empty()).then(|| emit(ReceiptsUnmatched { chunk_id: chunk_id.to_owned(), receipts }))
}

fn check(command: &RecordReceipts) -> Checked {
    rules::id("chunk_id", &command.chunk_id)?;
    let count = command.receipts.len();
    if !(1..=RECIPIENTS_MAX).contains(&count) {
        let message = format!("receipts has {count} entries: send 1 to {RECIPIENTS_MAX}");
        return Err(refusals::RECEIPTS_COUNT_INVALID.because(message));
    }
    command.receipts.iter().enumerate().try_for_each(|(index, receipt)| check_receipt(index, receipt))
}

fn check_receipt(index: usize, receipt: &RecordReceiptsReceipt) -> Checked {
    if Reported::of(receipt).is_none() {
        let status = rules::quoted(&receipt.status);
        let message = format!("receipts[{index}].status is {status}: send sent, delivered or failed");
        return Err(refusals::RECEIPT_STATUS_UNKNOWN.because(message));
    }
    REASON.check_given(receipt.reason.as_deref())
}
