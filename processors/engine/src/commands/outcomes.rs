//! The outcome of each command, for its producer: a row of the outbox beside the receipt, in its transaction.
//!
//! A decision and a dead letter write their receipts with the number of the command's life, and the outcome has that number: the
//! next one replaces it. What writes no receipt, as a duplicate or a retry, has no outcome.

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_schemas::{AvroRecord as _, CommandOutcome, CommandOutcomeVersion, Kind, encode_record};

use super::arrived::Arrived;
use super::identity::Identity;
use super::ledger::{DEAD, Receipt};
use crate::dead_letters::storable;
use crate::envelope;
use crate::error::{Fault, bounded};
use crate::outbox::{Cause, OutboxRow, STREAM_BYTES_MAX, SchemaIds, payload};
use crate::record::Record;

/// Bytes of the streams in an outcome, at most: further ones are left out, so that a decision does not fail because of it.
const VERSIONS_BYTES_MAX: usize = 500_000;
/// Bytes of a version and of the length of its stream, at most.
const VERSION_BYTES: usize = 12;

/// What the records that follow from a batch of commands need.
pub(super) struct Answers<'a> {
    pub(super) ids: &'a SchemaIds,
    /// Whether outcomes are written.
    pub(super) outcomes: bool,
    pub(super) decided_at: DateTime<Utc>,
}

/// A dead-lettered command.
pub(super) struct Died<'a> {
    pub(super) identity: &'a Identity,
    pub(super) life: i32,
    pub(super) record: &'a Record,
    pub(super) fault: &'a Fault,
}

/// The outcome of a decided command; `versions` are those after its events.
pub(super) fn decided<C: Context>(
    arrived: &Arrived<'_, C>,
    receipt: &Receipt,
    versions: &[(&str, i64)],
    answers: &Answers<'_>,
) -> Result<Option<OutboxRow>, Fault> {
    let conversation = envelope::conversation(arrived.record)?.unwrap_or(&arrived.identity.id);
    if !answers.outcomes {
        return Ok(None);
    }
    let outcome = CommandOutcome {
        stream: receipt.stream.clone(),
        command_type: receipt.record_type.to_owned(),
        status: receipt.status.as_str().to_owned(),
        code: receipt.code.map(str::to_owned),
        message: receipt.message.clone().map(bounded),
        versions: listed(versions),
        ..of(arrived.record, (&receipt.identity, arrived.life), answers)
    };
    row::<C>(&arrived.identity, outcome, (Some(conversation), arrived.traceparent.clone()), answers).map(Some)
}

/// The outcome of a dead-lettered command, which is provisional: it may be redriven, or sent again.
pub(super) fn dead<C: Context>(
    Died { identity, life, record, fault }: &Died<'_>,
    answers: &Answers<'_>,
) -> Result<Option<OutboxRow>, Fault> {
    if !answers.outcomes {
        return Ok(None);
    }
    let header = |name: &str| record.header(name);
    let outcome = CommandOutcome {
        stream: key_of(record, identity),
        command_type: storable(header(envelope::TYPE).unwrap_or_default()),
        status: DEAD.to_owned(),
        code: Some(fault.code.to_owned()),
        message: Some(storable(&fault.message)),
        ..of(record, (identity, *life), answers)
    };
    let traceparent = header(envelope::TRACEPARENT).map(str::to_owned);
    row::<C>(identity, outcome, (header(envelope::CORRELATION_ID), traceparent), answers).map(Some)
}

/// An outcome without what only one kind has.
fn of(
    record: &Record,
    (identity, life): (&Identity, i32),
    Answers { decided_at, .. }: &Answers<'_>,
) -> CommandOutcome {
    CommandOutcome {
        stream: String::new(),
        command_id: identity.id.clone(),
        command_source: identity.source.clone(),
        command_type: String::new(),
        life,
        status: String::new(),
        code: None,
        message: None,
        versions: Vec::new(),
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        decided_at: decided_at.timestamp_micros(),
    }
}

fn listed(versions: &[(&str, i64)]) -> Vec<CommandOutcomeVersion> {
    let mut bytes = 0;
    let fits = |(stream, _): &&(&str, i64)| {
        bytes += stream.len() + VERSION_BYTES;
        bytes <= VERSIONS_BYTES_MAX
    };
    let version = |(stream, version): &(&str, i64)| CommandOutcomeVersion {
        stream: (*stream).to_owned(),
        version: *version,
    };
    versions.iter().take_while(fits).map(version).collect()
}

/// The command's key; its place where its identity is that, or where it has no key that the outbox can hold.
fn key_of(record: &Record, identity: &Identity) -> String {
    let of_place = Identity::of_place(record);
    let key = record.shown_ordering_key().filter(|_| *identity != of_place);
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    let fits = |key: &&str| (1..=STREAM_BYTES_MAX).contains(&key.len()) && !key.contains('\0');
    key.filter(fits).map_or(of_place.id, str::to_owned)
}

fn row<C: Context>(
    identity: &Identity,
    outcome: CommandOutcome,
    (conversation, traceparent): (Option<&str>, Option<String>),
    Answers { ids, decided_at, .. }: &Answers<'_>,
) -> Result<OutboxRow, Fault> {
    let (record_type, correlation_id) = (CommandOutcome::FULL_NAME, conversation.map(str::to_owned));
    let payload = payload(ids, record_type, encode_record(&outcome))?;
    let id = identity.derive(&format!("outcome {}", outcome.life));
    let (kind, context, stream, occurred_at) = (Kind::Outcome, C::NAME, outcome.stream, Some(*decided_at));
    let cause = Cause { id: identity.id.clone(), correlation_id, traceparent, occurred_at }.carried();
    OutboxRow { id, kind, context, stream, record_type, payload, version: None, cause }.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_that_would_be_too_large_names_fewer_streams() {
        let stream = "s".repeat(STREAM_BYTES_MAX);
        let many = vec![(stream.as_str(), i64::MAX); 10_000];
        let bytes: usize = listed(&many).iter().map(|one| one.stream.len() + VERSION_BYTES).sum();
        assert!((VERSIONS_BYTES_MAX - 2 * STREAM_BYTES_MAX..=VERSIONS_BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(listed(&many[..2]).len(), 2);
    }

    #[test]
    fn the_outcome_of_a_command_without_a_key_or_an_identity_has_the_key_of_its_place() {
        let keyed = |key: &[u8]| Record::at("cmd", 1, 7, Some(key.to_vec().into()), None, Vec::new());
        let readable = Identity { source: "shop".to_owned(), id: "1".to_owned() };
        assert_eq!(key_of(&keyed(b"k"), &readable), "k");
        assert_eq!(key_of(&keyed(b"k"), &Identity::of_place(&keyed(b"k"))), "1-7-0");
        assert_eq!(key_of(&keyed(b""), &readable), "1-7-0");
        let like_a_topic = Identity { source: "kafka:my topic".to_owned(), id: "1".to_owned() };
        assert_eq!(key_of(&keyed(b"k"), &like_a_topic), "k");
        assert_eq!(key_of(&Record::at("cmd", 1, 7, None, None, Vec::new()), &readable), "1-7-0");
    }
}
