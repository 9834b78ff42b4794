//! Deciding a batch in memory: pure and in order; each command is decided on the states after the commands before it.

use std::collections::{BTreeMap, HashSet};

use millrace_domain::{Context, Emitted, References, Rejection, Streams};
use millrace_schemas::{CommandRejected, Kind, Message as _, encode_record};

use super::arrived::Arrived;
use super::ledger::{Receipt, Status};
use super::outcomes::{self, Answers};
use super::streams::Locks;
use crate::envelope;
use crate::error::Fault;
use crate::outbox::{Cause, OutboxRow, payload};
use crate::outcome::Outcome;
use crate::spans;

/// The results of a batch of commands.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) outbox: Vec<OutboxRow>,
    pub(super) receipts: Vec<Receipt>,
    /// The answers, for spans.
    pub(super) noted: Option<BTreeMap<usize, String>>,
}

/// Decides every command of a batch, in order. After a failed command that may still succeed, later commands of its key wait.
pub(super) fn all<C: Context>(
    commands: &[Arrived<'_, C>],
    locks: &mut Locks<C::State>,
    references: &References,
    answers: &Answers<'_>,
    outcomes: &mut [Outcome],
) -> Decided {
    let (mut decided, mut stuck) = (Decided::default(), HashSet::new());
    for arrived in commands {
        let Some(outcome) = outcomes.get_mut(arrived.place) else { continue };
        let key = arrived.record.ordering_key();
        if stuck.contains(key) {
            *outcome = Outcome::Waits;
            continue;
        }
        match one(arrived, locks, references, answers) {
            Ok(answer) => decided.add(arrived, answer),
            Err(fault) => {
                if !fault.hopeless {
                    stuck.insert(key);
                }
                *outcome = Outcome::Failed(fault);
            }
        }
    }
    decided
}

impl Decided {
    fn add<C: Context>(&mut self, arrived: &Arrived<'_, C>, (receipt, rows): (Receipt, Vec<OutboxRow>)) {
        let trace = arrived.record.header(envelope::TRACEPARENT);
        tracing::debug!(trace, command = receipt.identity.id, status = receipt.status.as_str(), "decided");
        if spans::is_on() {
            let answer = receipt.code.unwrap_or(receipt.status.as_str());
            self.noted.get_or_insert_default().insert(arrived.place, answer.to_owned());
        }
        self.receipts.push(receipt);
        self.outbox.extend(rows);
    }
}

fn one<C: Context>(
    arrived: &Arrived<'_, C>,
    locks: &mut Locks<C::State>,
    references: &References,
    answers: &Answers<'_>,
) -> Result<(Receipt, Vec<OutboxRow>), Fault> {
    check_references::<C>(&arrived.command, references)?;
    let named = C::streams(&arrived.command);
    let outcome =
        on_states::<C, _>(locks, &named, |streams| C::decide(streams, references, &arrived.command));
    match outcome {
        Ok(events) => completed(arrived, locks, &events, answers),
        Err(rejection) => rejected(arrived, &rejection, answers),
    }
}

/// A missing reference is a fault, not a rejection: its record may still arrive on another topic.
fn check_references<C: Context>(command: &C::Command, references: &References) -> Result<(), Fault> {
    match C::references(command).into_iter().find(|reference| !references.contains(reference)) {
        Some(missing) => Err(Fault::new(
            "reference-not-found",
            format!("the command refers to `{}` of {}, which does not exist", missing.id, missing.context),
        )),
        None => Ok(()),
    }
}

/// Calls a decision with the states of the named streams, without copying them.
fn on_states<C: Context, T>(
    locks: &mut Locks<C::State>,
    named: &[String],
    decide: impl FnOnce(&Streams<C::State>) -> T,
) -> T {
    let lent = named.iter().filter_map(|id| Some((id.clone(), locks.get_mut(id)?.state.take()?)));
    let streams: Streams<C::State> = lent.collect();
    let outcome = decide(&streams);
    for (id, state) in streams {
        if let Some(stream) = locks.get_mut(&id) {
            stream.state = Some(state);
        }
    }
    outcome
}

/// Encodes everything first, so that a fault changes no state.
fn completed<C: Context>(
    arrived: &Arrived<'_, C>,
    locks: &mut Locks<C::State>,
    events: &[Emitted<C::Event>],
    answers: &Answers<'_>,
) -> Result<(Receipt, Vec<OutboxRow>), Fault> {
    let mut rows = Vec::with_capacity(events.len() + 1);
    for (ordinal, emitted) in events.iter().enumerate() {
        rows.push(event_row(arrived, ordinal, emitted, answers)?);
    }
    let versions = versions_after::<C>(locks, events)?;
    let receipt = Receipt { versions: as_json(&versions), ..receipt(arrived, Status::Completed) };
    let outcome = outcomes::decided(arrived, &receipt, &versions, answers)?;
    for (Emitted { stream, event }, row) in events.iter().zip(&mut rows) {
        if let Some(locked) = locks.get_mut(stream) {
            locked.state = C::evolve(locked.state.take(), event);
            locked.version += 1;
            locked.changed = true;
            row.version = Some(locked.version);
        }
    }
    rows.extend(outcome);
    Ok((receipt, rows))
}

/// The version of each stream after these events.
fn versions_after<'e, C: Context>(
    locks: &Locks<C::State>,
    events: &'e [Emitted<C::Event>],
) -> Result<Vec<(&'e str, i64)>, Fault> {
    let mut versions = BTreeMap::new();
    for Emitted { stream, .. } in events {
        let Some(locked) = locks.get(stream) else {
            let message = format!("an event for `{stream}` was not announced");
            return Err(Fault::new("stream-not-named", message));
        };
        *versions.entry(stream.as_str()).or_insert(locked.version) += 1;
    }
    Ok(versions.into_iter().collect())
}

/// Versions by their streams; `None` when there are none.
fn as_json(versions: &[(&str, i64)]) -> Option<String> {
    let by_stream = |(stream, version): &(&str, i64)| ((*stream).to_owned(), (*version).into());
    let versions: serde_json::Map<String, serde_json::Value> = versions.iter().map(by_stream).collect();
    (!versions.is_empty()).then(|| serde_json::Value::Object(versions).to_string())
}

fn rejected<C: Context>(
    arrived: &Arrived<'_, C>,
    rejection: &Rejection,
    answers: &Answers<'_>,
) -> Result<(Receipt, Vec<OutboxRow>), Fault> {
    let answer = CommandRejected {
        stream: arrived.command.key().to_owned(),
        command_id: arrived.identity.id.clone(),
        command_source: arrived.identity.source.clone(),
        command_type: arrived.command.full_name().to_owned(),
        code: rejection.code.to_owned(),
        message: rejection.message.clone(),
    };
    let full_name = <CommandRejected as millrace_schemas::AvroRecord>::FULL_NAME;
    let payload = payload(answers.ids, full_name, encode_record(&answer))?;
    let row = row(arrived, "rejection", Kind::Rejection, answer.stream, (full_name, payload))?;
    let (code, message) = (Some(rejection.code), Some(rejection.message.clone()));
    let receipt = Receipt { code, message, ..receipt(arrived, Status::Rejected) };
    let outcome = outcomes::decided(arrived, &receipt, &[], answers)?;
    Ok((receipt, std::iter::once(row).chain(outcome).collect()))
}

fn event_row<C: Context>(
    arrived: &Arrived<'_, C>,
    ordinal: usize,
    emitted: &Emitted<C::Event>,
    answers: &Answers<'_>,
) -> Result<OutboxRow, Fault> {
    let full_name = emitted.event.full_name();
    let payload = payload(answers.ids, full_name, emitted.event.encode())?;
    let (name, stream) = (ordinal.to_string(), emitted.stream.clone());
    row(arrived, &name, Kind::Event, stream, (full_name, payload))
}

fn row<C: Context>(
    arrived: &Arrived<'_, C>,
    name: &str,
    kind: Kind,
    stream: String,
    (record_type, payload): (&'static str, Vec<u8>),
) -> Result<OutboxRow, Fault> {
    let conversation = envelope::conversation(arrived.record)?.unwrap_or(&arrived.identity.id);
    let cause = Cause {
        id: arrived.identity.id.clone(),
        correlation_id: Some(conversation.to_owned()),
        traceparent: arrived.traceparent.clone(),
        occurred_at: Some(arrived.occurred_at),
    };
    let id = arrived.identity.derive(name);
    OutboxRow { id, kind, context: C::NAME, stream, record_type, payload, version: None, cause }.checked()
}

fn receipt<C: Context>(arrived: &Arrived<'_, C>, status: Status) -> Receipt {
    Receipt {
        identity: arrived.identity.clone(),
        fingerprint: arrived.fingerprint.clone(),
        record_type: arrived.command.full_name(),
        stream: arrived.command.key().to_owned(),
        topic: arrived.record.topic.to_string(),
        partition: arrived.record.partition,
        offset: arrived.record.offset,
        produced_at: arrived.record.stamped_at(),
        status,
        code: None,
        message: None,
        versions: None,
        life: arrived.life,
    }
}

#[cfg(test)]
mod tests {
    use millrace_domain::contexts::catalog::Catalog;
    use millrace_schemas::catalog::{AddProduct, Command, DiscontinueProduct};

    use super::super::identity::{FIRST_LIFE, Fingerprint, Identity};
    use super::super::streams::Locked;
    use super::*;
    use crate::record::Record;

    fn record() -> Record {
        Record {
            topic: "cmd".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Default::default(),
            unread: None,
            ordering_key: Default::default(),
            room: None,
        }
    }

    fn arrived<'r>(record: &'r Record, id: &str, command: Command) -> Arrived<'r, Catalog> {
        Arrived {
            place: 0,
            record,
            identity: Identity { source: "test".to_owned(), id: id.to_owned() },
            fingerprint: Fingerprint::stored(Vec::new()),
            command,
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            traceparent: None,
            life: FIRST_LIFE,
        }
    }

    fn add(name: &str) -> Command {
        let (product_id, name, category) = ("p".to_owned(), name.to_owned(), "tea".to_owned());
        AddProduct { product_id, name, category, price: 1, currency: "EUR".to_owned() }.into()
    }

    fn discontinue() -> Command {
        DiscontinueProduct { product_id: "p".to_owned() }.into()
    }

    fn decide(commands: &[Arrived<'_, Catalog>]) -> Decided {
        decide_with(commands, false)
    }

    fn decide_with(commands: &[Arrived<'_, Catalog>], outcomes: bool) -> Decided {
        let mut locks = Locks::from([(
            "p".to_owned(),
            Locked { ctid: String::new(), version: 0, state: None, changed: false },
        )]);
        let ids = millrace_schemas::DEFINITIONS.iter().map(|definition| (definition.full_name, 1)).collect();
        all::<Catalog>(
            commands,
            &mut locks,
            &References::default(),
            &Answers { ids: &ids, outcomes, decided_at: chrono::DateTime::UNIX_EPOCH },
            &mut vec![Outcome::Applied; commands.len()],
        )
    }

    #[test]
    fn each_command_is_decided_on_what_the_ones_before_it_left() {
        let record = record();
        let commands = [arrived(&record, "1", add("Chai")), arrived(&record, "2", discontinue())];
        let decided = decide(&commands);
        assert_eq!(decided.outbox.iter().map(|row| row.version).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!(decided.receipts.last().and_then(|r| r.versions.as_deref()), Some(r#"{"p":2}"#));
    }

    #[test]
    fn a_rejection_has_a_record_without_version_and_leaves_the_stream_as_it_was() {
        let record = record();
        let commands = [arrived(&record, "1", add("")), arrived(&record, "2", add("Chai"))];
        let decided = decide(&commands);
        assert_eq!(decided.outbox.iter().map(|row| row.version).collect::<Vec<_>>(), [None, Some(1)]);
        assert_eq!(
            decided.receipts.iter().map(|r| r.status).collect::<Vec<_>>(),
            [Status::Rejected, Status::Completed]
        );
    }

    #[test]
    fn each_command_has_one_outcome_behind_its_events_and_another_one_in_its_next_life() {
        let record = record();
        let mut commands = [arrived(&record, "1", add("")), arrived(&record, "2", add("Chai"))];
        let kinds = |decided: &Decided| decided.outbox.iter().map(|row| row.kind).collect::<Vec<_>>();
        let first = decide_with(&commands, true);
        let expected = [Kind::Rejection, Kind::Outcome, Kind::Event, Kind::Outcome];
        assert_eq!(kinds(&first), expected);
        commands.iter_mut().for_each(|command| command.life += 1);
        let next = decide_with(&commands, true);
        let same = first.outbox.iter().zip(&next.outbox).map(|(first, next)| first.id == next.id);
        assert_eq!(same.collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[test]
    fn a_second_try_gives_the_same_ids_and_another_command_gives_others() {
        let record = record();
        let ids = |id: &str| {
            decide(&[arrived(&record, id, add("Chai"))]).outbox.iter().map(|r| r.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("1"), ids("1"));
        assert_ne!(ids("1"), ids("2"));
    }
}
