//! What was found, as entries in the order of time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_schemas::{AvroRecord as _, CommandOutcome};
use millrace_store::effect::{self, Made};
use millrace_store::outbox::Head;
use millrace_store::saga_step::Taken;

use super::start::is_command;
use super::walk::Walked;
use super::{Entry, Kind};
use crate::config::Config;
use crate::receipts::{self, Receipt};

/// All entries; of the same time, causes first.
pub(super) fn of(config: &Config, walked: Walked) -> Vec<Entry> {
    let own = config.namespace.source();
    let Walked { heads, steps, receipts, waiting, calls, .. } = walked;
    let (mut sent, received): (Vec<Receipt>, Vec<Receipt>) =
        receipts.into_iter().partition(|one| one.source == own && heads.contains_key(&one.id));
    let waits: BTreeMap<String, String> =
        waiting.into_iter().map(|one| (one.id, receipts::waits_for(&one.waits_for))).collect();
    let mut sent: BTreeMap<String, Receipt> = sent.drain(..).map(|one| (one.id.clone(), one)).collect();
    let mut entries: Vec<Entry> = received.into_iter().map(command).collect();
    for head in heads.into_values() {
        let id = head.id.to_string();
        entries.push(match is_command(config, &head) {
            true => sent_command(head, sent.remove(&id), waits.get(&id)),
            false => record(head),
        });
    }
    entries.extend(steps.into_iter().map(step));
    entries.extend(calls.into_iter().map(call));
    not_before_causes(&mut entries);
    entries.sort_by_key(|entry| (entry.at, entry.kind, entry.number));
    entries
}

/// A transaction begins before the command that it decides is stamped: what was written in it would stand before its cause.
/// Times only grow, up to the latest, so this ends whatever refers to what.
fn not_before_causes(entries: &mut [Entry]) {
    let mut times: BTreeMap<String, DateTime<Utc>> =
        entries.iter().map(|entry| (entry.id.clone(), entry.at)).collect();
    let mut moved = true;
    while moved {
        moved = false;
        for entry in entries.iter_mut() {
            let cause = entry.cause.as_ref().and_then(|cause| times.get(cause)).copied();
            if let Some(cause) = cause.filter(|cause| *cause > entry.at) {
                entry.at = cause;
                times.insert(entry.id.clone(), cause);
                moved = true;
            }
        }
    }
}

fn stream(context: &str, id: &str) -> String {
    format!("{context}/{id}")
}

/// A command of a producer.
fn command(receipt: Receipt) -> Entry {
    let at =
        receipt.received_at.or(receipt.produced_at).or(receipt.decided_at).unwrap_or(DateTime::UNIX_EPOCH);
    Entry {
        at,
        kind: Kind::Command,
        stream: stream(&receipt.context, &receipt.stream),
        number: None,
        cause: None,
        became: became(&receipt),
        ended: is_decided(&receipt),
        id: receipt.id,
        what: receipt.type_,
    }
}

/// A command of a saga or of an effect.
fn sent_command(head: Head, receipt: Option<Receipt>, waits_for: Option<&String>) -> Entry {
    let undecided = || waits_for.cloned().unwrap_or_else(|| "not decided yet".to_owned());
    let decided = receipt.as_ref().filter(|receipt| waits_for.is_none() || is_decided(receipt));
    Entry {
        kind: Kind::Command,
        became: decided.map_or_else(undecided, became),
        ended: decided.is_some_and(is_decided),
        ..record(head)
    }
}

/// A dead letter is an end, until an operator redrives it.
fn is_decided(receipt: &Receipt) -> bool {
    ["completed", "rejected", "dead"].contains(&receipt.status.as_str())
}

fn became(receipt: &Receipt) -> String {
    let code = receipt.code.as_ref().map(|code| format!(": {code}")).unwrap_or_default();
    let behind = receipt.behind.as_ref().map(|id| format!(" behind {id}")).unwrap_or_default();
    let took = receipt.decided_at.zip(receipt.received_at).map(|(end, begin)| milliseconds(begin, end));
    let took = took.map(|took| format!(" in {took} ms")).unwrap_or_default();
    format!("{}{code}{behind}{took}", receipt.status)
}

fn milliseconds(begin: DateTime<Utc>, end: DateTime<Utc>) -> i64 {
    (end - begin).num_milliseconds().max(0)
}

fn record(head: Head) -> Entry {
    Entry {
        at: head.written_at,
        kind: match head.version {
            Some(_) => Kind::Event,
            None if head.record_type == CommandOutcome::FULL_NAME => Kind::Outcome,
            None => Kind::Rejection,
        },
        id: head.id.to_string(),
        what: head.record_type,
        stream: stream(&head.context, &head.stream),
        number: head.version,
        cause: head.causation_id,
        became: String::new(),
        ended: true,
    }
}

fn step(step: Taken) -> Entry {
    let Taken { saga, instance, input_id, number, at, input, standing, .. } = step;
    Entry {
        at,
        kind: Kind::Step,
        id: format!("{saga}/{instance}"),
        what: input,
        stream: String::new(),
        number: Some(number),
        cause: Some(input_id),
        became: standing,
        ended: true,
    }
}

fn call(made: Made) -> Entry {
    let Made { call: effect::Open { effect, key, status, attempts, unknown, last_error, .. }, .. } = &made;
    let ended = !["waiting", "calling"].contains(&status.as_str());
    let took =
        made.ended_at.map(|end| format!(" in {} ms", milliseconds(made.created_at, end))).unwrap_or_default();
    let unknown = if *unknown { ", outcome unknown" } else { "" };
    let why =
        last_error.as_ref().filter(|_| status != "done").map(|why| format!(": {why}")).unwrap_or_default();
    let answer = made.answer.as_ref().map(|answer| format!(" {answer}")).unwrap_or_default();
    Entry {
        at: made.created_at,
        kind: Kind::Call,
        id: key.to_string(),
        what: effect.clone(),
        stream: String::new(),
        number: Some(i64::from(*attempts)),
        cause: Some(made.event_id.clone()),
        became: format!("{status}{unknown}{took}{why}{answer}"),
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, second: i64, cause: Option<&str>) -> Entry {
        Entry {
            at: DateTime::from_timestamp(second, 0).unwrap(),
            kind: Kind::Event,
            id: id.to_owned(),
            what: String::new(),
            stream: String::new(),
            number: None,
            cause: cause.map(str::to_owned),
            became: String::new(),
            ended: true,
        }
    }

    #[test]
    fn nothing_stands_before_its_cause_whatever_refers_to_what() {
        let mut entries = [
            entry("c", 1, Some("b")),
            entry("b", 2, Some("a")),
            entry("a", 3, None),
            entry("x", 1, Some("y")),
        ];
        not_before_causes(&mut entries);
        assert_eq!(entries.map(|entry| entry.at.timestamp()), [3, 3, 3, 1]);
        let mut circle = [entry("a", 1, Some("b")), entry("b", 2, Some("a"))];
        not_before_causes(&mut circle);
        assert_eq!(circle.map(|entry| entry.at.timestamp()), [2, 2]);
    }
}
