//! What `millrace status` found, as text and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::databases::{Facts, Slot, Unfit};
use super::lag::{Kafka, Lag};
use super::resets::Wish;
use super::services::{Index, Process, Subjects};
use super::under_way::{self, UnderWay};
use crate::failure::Failure;
use crate::layout::Side;
use crate::moment;
use crate::output::{self, Table};
use crate::replay::generations::{Generation, State};
use crate::setup::ConnectorState;

/// Everything; each part may have failed.
pub(super) struct Report {
    pub(super) namespace: String,
    /// The groups that there should be.
    pub(super) groups: Vec<(Side, &'static str)>,
    /// How many members the groups have that are behind.
    pub(super) members: Result<BTreeMap<String, usize>, Failure>,
    pub(super) kafka: Result<Kafka, Failure>,
    pub(super) write: Result<Facts, Failure>,
    pub(super) read: Result<Facts, Failure>,
    pub(super) slot: Result<Option<Slot>, Failure>,
    pub(super) connector: Result<Option<ConnectorState>, Failure>,
    pub(super) subjects: Result<Subjects, Failure>,
    pub(super) indices: Result<Vec<Index>, Failure>,
    pub(super) process: Option<Process>,
    pub(super) generations: Result<Vec<Generation>, Failure>,
    pub(super) unfit: Result<Vec<Unfit>, Failure>,
    /// What operators have asked for, and what follows from it at the next start.
    pub(super) resets: Result<Vec<Wish>, Failure>,
    /// Whether the write side has all that it ever committed.
    pub(super) sound: Result<(), Failure>,
    pub(super) under_way: Result<Vec<UnderWay>, Failure>,
}

impl Report {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        let sides = || [("write", &self.write), ("read", &self.read)].into_iter();
        let of_sides = |pick: &dyn Fn(&Facts) -> Value| -> Value {
            sides()
                .map(|(name, facts)| (name.to_owned(), part(facts.as_ref().map(pick))))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "namespace": self.namespace,
            "verdict": {"ok": self.is_well(), "problems": self.problems(), "unknown": self.unknown()},
            "kafka": part(self.kafka.as_ref()),
            "slot": part(self.slot.as_ref()),
            "connector": part(self.connector.as_ref()),
            "members": part(self.members.as_ref()),
            "subjects": part(self.subjects.as_ref().map(|subjects| subjects.count)),
            "missing_schemas": part(self.subjects.as_ref().map(|subjects| &subjects.missing)),
            "indices": part(self.indices.as_ref()),
            "dead_letters": of_sides(&|facts| json!(facts.dead)),
            "blocked": of_sides(&|facts| json!(facts.blocked)),
            "generations": part(self.generations.as_ref()),
            "unfit": part(self.unfit.as_ref()),
            "resets": part(self.resets.as_ref()),
            "sound": part(self.sound.as_ref()),
            "under_way": part(self.under_way.as_ref()),
            "process": self.process,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        if let Err(Failure::Refused(what)) = &self.sound {
            text.push_str(&format!("THE WRITE SIDE IS NOT SOUND\n{what}\n\n"));
        }
        section(&mut text, "topics", &self.kafka, topics);
        section(&mut text, "groups", &self.kafka, |kafka| groups(&kafka.lags) + &self.unknown_groups());
        if self.resets.as_ref().is_ok_and(|resets| !resets.is_empty()) {
            section(&mut text, "resets", &self.resets, |resets| shown_resets(resets));
        }
        section(&mut text, "under way", &self.under_way, |under_way| under_way::shown(under_way));
        section(&mut text, "outbox to Kafka", &self.slot, |slot| {
            slot.as_ref().map_or_else(missing_slot, shown_slot)
        });
        section(&mut text, "connector", &self.connector, |connector| {
            connector.as_ref().map_or_else(missing_connector, shown_connector)
        });
        section(&mut text, "schema registry", &self.subjects, |subjects| {
            format!("answers: {} subjects{}\n", subjects.count, missing_schemas(&subjects.missing))
        });
        section(&mut text, "indices", &self.indices, |indices| shown_indices(indices));
        if self.generations.as_ref().is_ok_and(Vec::is_empty) {
            // One of each view.
        } else {
            section(&mut text, "generations", &self.generations, |generations| {
                shown_generations(generations)
            });
        }
        if self.unfit.as_ref().is_ok_and(|unfit| !unfit.is_empty()) {
            section(&mut text, "of another shape", &self.unfit, |unfit| shown_unfit(unfit));
        }
        text.push_str(&format!("DEAD LETTERS AND BLOCKED KEYS\n{}\n", self.troubles()));
        text.push_str(&format!("PROCESS\n{}", self.process.as_ref().map_or_else(no_process, shown_process)));
        text
    }

    fn troubles(&self) -> String {
        let facts = || [&self.write, &self.read].into_iter().filter_map(|facts| facts.as_ref().ok());
        let mut table = Table::new(&["group", "what", "count", "last or since"]);
        for dead in facts().flat_map(|facts| &facts.dead) {
            table.row([
                dead.group.clone(),
                dead.code.clone(),
                dead.count.to_string(),
                output::time(dead.last),
            ]);
        }
        for blocked in facts().flat_map(|facts| &facts.blocked) {
            let why = match blocked.status.as_str() {
                "retrying" => "keys whose record is tried again",
                "dead" => "keys behind a dead letter",
                _ => "keys with a missing version",
            };
            let count = format!("{} ({} records)", blocked.keys, blocked.records);
            table.row([blocked.group.clone(), why.to_owned(), count, output::time(blocked.since)]);
        }
        let unknown =
            self.unknown_sides().map(|(_, name, failure)| format!("{name}: {}\n", unknown(failure)));
        let told = table.render() + &unknown.collect::<String>();
        if table.is_empty() && self.unknown_sides().next().is_none() { "none\n".to_owned() } else { told }
    }

    /// The sides that could not be asked.
    fn unknown_sides(&self) -> impl Iterator<Item = (Side, &'static str, &Failure)> {
        let sides = [(Side::Write, "write side", &self.write), (Side::Read, "read side", &self.read)];
        sides.into_iter().filter_map(|(side, name, facts)| Some((side, name, facts.as_ref().err()?)))
    }

    /// A line for the groups of each side that could not be asked.
    fn unknown_groups(&self) -> String {
        let line = |(side, name, failure): (Side, &str, &Failure)| {
            let of_side = self.groups.iter().filter(|(of, _)| *of == side).map(|(_, role)| *role);
            format!("{name} ({}): {}\n", of_side.collect::<Vec<_>>().join(", "), unknown(failure))
        };
        self.unknown_sides().map(line).collect()
    }
}

/// What stands where something could not be asked.
fn unknown(failure: &Failure) -> String {
    format!("unknown ({failure})")
}

fn missing_schemas(missing: &[&str]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!("; missing: {}: run `millrace setup`", missing.join(", "))
}

fn part<T: Serialize>(part: Result<T, &Failure>) -> Value {
    match part {
        Ok(found) => json!(found),
        Err(failure) => json!({"error": failure.to_string()}),
    }
}

fn section<T>(text: &mut String, name: &str, part: &Result<T, Failure>, shown: impl Fn(&T) -> String) {
    let body = part.as_ref().map_or_else(|failure| unknown(failure) + "\n", shown);
    text.push_str(&format!("{}\n{body}\n", name.to_uppercase()));
}

/// Topics of retries and dead letters only when they hold something.
fn topics(kafka: &Kafka) -> String {
    let mut table = Table::new(&["topic", "partitions", "records"]);
    for topic in kafka.topics.iter().filter(|topic| !is_side_topic(&topic.name) || topic.records > 0) {
        let partitions = match topic.partitions {
            0 => "missing: run `millrace setup`".to_owned(),
            number => number.to_string(),
        };
        table.row([topic.name.clone(), partitions, topic.records.to_string()]);
    }
    table.render()
}

fn is_side_topic(name: &str) -> bool {
    name.ends_with(".dlq") || name.contains(".retry.")
}

fn groups(lags: &[Lag]) -> String {
    let mut table = Table::new(&["group", "topic", "lag", "behind", "unpublished", ""]);
    for lag in lags.iter().filter(|lag| !is_side_topic(&lag.topic) || lag.records > 0) {
        let behind = lag.seconds.map_or_else(
            || "unknown".to_owned(),
            |seconds| match lag.records {
                0 => "-".to_owned(),
                _ => moment::shown(std::time::Duration::from_secs_f64(seconds)),
            },
        );
        let notes = [
            (lag.unclaimed > 0).then(|| format!("{} partitions never claimed", lag.unclaimed)),
            (lag.withheld > 0).then(|| format!("{} behind an open transaction", lag.withheld)),
            lag.expiring(),
            lag.gone(),
            lag.stuck(),
        ];
        let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let unpublished = lag.unpublished.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([
            lag.group.clone(),
            lag.topic.clone(),
            lag.records.to_string(),
            behind,
            unpublished,
            notes,
        ]);
    }
    table.render()
}

fn shown_resets(resets: &[Wish]) -> String {
    resets.iter().map(|Wish { group, what, .. }| format!("{group}: {what}\n")).collect()
}

pub(super) fn missing_slot() -> String {
    "there is no replication slot, so nothing gets from the outbox to Kafka: run `millrace setup`, then `millrace verify`\n"
        .to_owned()
}

/// What follows from a slot whose WAL is gone, and the way on.
const LOST_SLOT: &str =
    ": nothing gets from the outbox to Kafka; run `millrace setup`, then `millrace verify`";

pub(super) fn shown_slot(slot: &Slot) -> String {
    let active = if slot.active { "active" } else { "INACTIVE: Postgres keeps WAL until its connector runs" };
    let lost = if slot.is_lost() { LOST_SLOT } else { "" };
    format!(
        "slot {} is {active}, {} behind, {} of WAL kept ({}){lost}\n",
        slot.name,
        bytes(slot.lag_bytes),
        bytes(slot.kept_bytes),
        slot.wal_status
    )
}

pub(super) fn missing_connector() -> String {
    "there is no connector, so nothing gets from the outbox to Kafka: run `millrace setup`\n".to_owned()
}

pub(super) fn shown_connector(state: &ConnectorState) -> String {
    let task = state.task.as_deref().unwrap_or("not there");
    let trace = state.trace.as_ref().map(|trace| format!(": {trace}")).unwrap_or_default();
    let held = if state.held() { ", until it is resumed" } else { "" };
    let ahead = match state.offsets_ahead {
        0 => String::new(),
        ahead => format!(
            ": Connect's offsets are {} ahead of the server, as after a restore, and nothing is carried until then; run \
             `millrace setup`, then `millrace verify`",
            bytes(ahead)
        ),
    };
    format!("{}{held}, its task {task}{trace}{ahead}\n", state.connector)
}

fn shown_indices(indices: &[Index]) -> String {
    let mut table = Table::new(&["alias", "index", "health", "documents"]);
    for index in indices {
        let missing = || "missing: run `millrace setup`".to_owned();
        let documents = index.documents.map(|count| count.to_string()).unwrap_or_default();
        let name = index.index.clone().unwrap_or_else(missing);
        table.row([index.alias.clone(), name, index.health.clone().unwrap_or_default(), documents]);
    }
    table.render()
}

fn shown_generations(generations: &[Generation]) -> String {
    let mut table = Table::new(&["view", "generation", "state", "since", ""]);
    for one in generations {
        let refused = one.state == State::Building && one.comparison.is_some();
        let look = format!("differs: millrace replay {} --status", one.view);
        table.row([
            one.view.clone(),
            one.generation.to_string(),
            one.state.as_str().to_owned(),
            output::time(one.swapped_at.unwrap_or(one.started_at)),
            if refused { look } else { String::new() },
        ]);
    }
    table.render()
}

fn shown_unfit(unfit: &[Unfit]) -> String {
    let shown = |one: &Unfit| match one.other {
        Some(other) => format!("{}: {}; this build works on generation {other}\n", one.view, one.why),
        None => format!("{}: {}\n", one.view, one.why),
    };
    unfit.iter().map(shown).collect()
}

fn no_process() -> String {
    "none of this namespace answers where this configuration listens\n".to_owned()
}

#[allow(clippy::cast_possible_truncation, reason = "bytes for people")]
fn shown_process(process: &Process) -> String {
    let memory = process
        .resident_bytes
        .map(|memory| format!(", {} resident", bytes(memory as i64)))
        .unwrap_or_default();
    let figures: Vec<String> =
        process.state_cache.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let cache =
        if figures.is_empty() { String::new() } else { format!("state cache: {}\n", figures.join(", ")) };
    let waits = process.outages.join(", ");
    let outages = if waits.is_empty() { waits } else { format!("WAITING FOR {waits}\n") };
    format!("{} answers{memory}\n{cache}{outages}", process.address)
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn bytes(count: i64) -> String {
    match count {
        ..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::report;
    use super::*;

    #[test]
    fn what_cannot_be_reached_says_so_and_the_rest_is_shown() {
        let text = report().text();
        for line in [
            "m.commands  m.cmd.orders.v1  3    1.2 s   -",
            "read side (orders): unknown (the read database at postgres://db cannot be reached: refused)",
            "read side: unknown (the read database",
            "RUNNING, its task not there",
            "there is no replication slot",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.starts_with("m: NOT WELL: there is no replication slot"), "{text}");
        assert!(!text.contains("none\n"), "unknown is never none: {text}");
    }

    #[test]
    fn what_could_not_be_asked_is_unknown_in_its_place() {
        let away = || Failure::refused("away");
        let report = Report {
            kafka: Err(away()),
            write: Err(away()),
            slot: Err(away()),
            connector: Err(away()),
            subjects: Err(away()),
            indices: Err(away()),
            generations: Err(away()),
            unfit: Err(away()),
            under_way: Err(away()),
            ..report()
        };
        for section in report.text().split("\n\n").filter(|section| section.contains('\n')) {
            assert!(section.contains("unknown (") || section.starts_with("PROCESS"), "{section}");
        }
    }

    #[test]
    fn programs_get_one_document() {
        let json = report().json();
        assert_eq!(json["kafka"]["lags"][0]["records"], 3);
        assert!(json["dead_letters"]["read"]["error"].as_str().unwrap().contains("cannot be reached"));
        assert_eq!(json["dead_letters"]["write"], json!([]));
        assert_eq!((&json["subjects"], &json["verdict"]["ok"]), (&json!(3), &json!(false)));
    }

    #[test]
    fn bytes_are_for_people() {
        assert_eq!(
            [bytes(5), bytes(2048), bytes(3 << 20), bytes(5 << 30)],
            ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
        );
    }
}
