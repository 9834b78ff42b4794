//! What `millrace status` found, as text and as JSON.

use serde::Serialize;
use serde_json::{Value, json};

use super::databases::{Facts, Slot};
use super::lag::{Kafka, Lag};
use super::services::{Index, Process};
use super::under_way::{self, UnderWay};
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Table};
use crate::replay::generations::{Generation, State};
use crate::setup::ConnectorState;

/// Everything; each part may have failed.
pub(super) struct Report {
    pub(super) namespace: String,
    pub(super) kafka: Result<Kafka, Failure>,
    pub(super) write: Result<Facts, Failure>,
    pub(super) read: Result<Facts, Failure>,
    pub(super) slot: Result<Option<Slot>, Failure>,
    pub(super) connector: Result<Option<ConnectorState>, Failure>,
    pub(super) subjects: Result<usize, Failure>,
    pub(super) indices: Result<Vec<Index>, Failure>,
    pub(super) process: Option<Process>,
    pub(super) generations: Result<Vec<Generation>, Failure>,
    /// Whether the write side has all that it ever committed.
    pub(super) sound: Result<(), Failure>,
    pub(super) under_way: Result<Vec<UnderWay>, Failure>,
}

impl Report {
    /// The first part that could not be asked, the worst kind first; else what keeps the outbox from Kafka.
    pub(super) fn verdict(self) -> Result<(), Failure> {
        let alarm = self.alarm().map(Failure::refused);
        let failures = [
            self.kafka.err(),
            self.write.err(),
            self.read.err(),
            self.slot.err(),
            self.connector.err(),
            self.subjects.err(),
            self.indices.err(),
            self.generations.err(),
            self.sound.err(),
            self.under_way.err(),
        ];
        let mut failures: Vec<Failure> = failures.into_iter().flatten().collect();
        failures.sort_by_key(|failure| !matches!(failure, Failure::Unreachable { .. }));
        failures.into_iter().next().or(alarm).map_or(Ok(()), Err)
    }

    /// What waiting does not mend.
    fn alarm(&self) -> Option<String> {
        let slot = match &self.slot {
            Ok(None) => Some(missing_slot()),
            Ok(Some(slot)) if slot.is_lost() => Some(shown_slot(slot)),
            _ => None,
        };
        let connector = match &self.connector {
            Ok(None) => Some(missing_connector()),
            Ok(Some(state)) if state.trace.is_some() || state.held() || state.offsets_ahead > 0 => {
                Some(format!("connector: {}", shown_connector(state)))
            }
            _ => None,
        };
        slot.or(connector).map(|alarm| alarm.trim_end().to_owned())
    }

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
            "kafka": part(self.kafka.as_ref()),
            "slot": part(self.slot.as_ref()),
            "connector": part(self.connector.as_ref()),
            "subjects": part(self.subjects.as_ref()),
            "indices": part(self.indices.as_ref()),
            "dead_letters": of_sides(&|facts| json!(facts.dead)),
            "blocked": of_sides(&|facts| json!(facts.blocked)),
            "generations": part(self.generations.as_ref()),
            "sound": part(self.sound.as_ref()),
            "under_way": part(self.under_way.as_ref()),
            "process": self.process,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Err(Failure::Refused(what)) = &self.sound {
            text.push_str(&format!("THE WRITE SIDE IS NOT SOUND\n{what}\n\n"));
        }
        section(&mut text, "topics", &self.kafka, topics);
        section(&mut text, "groups", &self.kafka, |kafka| groups(&kafka.lags));
        for (side, facts) in [("write side", &self.write), ("read side", &self.read)] {
            if let Err(failure) = facts {
                text.push_str(&format!("  {side}: {failure}\n\n"));
            }
        }
        section(&mut text, "under way", &self.under_way, |under_way| under_way::shown(under_way));
        section(&mut text, "outbox to Kafka", &self.slot, |slot| {
            slot.as_ref().map_or_else(missing_slot, shown_slot)
        });
        section(&mut text, "connector", &self.connector, |connector| {
            connector.as_ref().map_or_else(missing_connector, shown_connector)
        });
        section(&mut text, "schema registry", &self.subjects, |subjects| {
            format!("answers: {subjects} subjects\n")
        });
        section(&mut text, "indices", &self.indices, |indices| shown_indices(indices));
        if self.generations.as_ref().is_ok_and(|generations| !generations.is_empty()) {
            section(&mut text, "generations", &self.generations, |generations| {
                shown_generations(generations)
            });
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
        if table.is_empty() { "none\n".to_owned() } else { table.render() }
    }
}

fn part<T: Serialize>(part: Result<T, &Failure>) -> Value {
    match part {
        Ok(found) => json!(found),
        Err(failure) => json!({"error": failure.to_string()}),
    }
}

fn section<T>(text: &mut String, name: &str, part: &Result<T, Failure>, shown: impl Fn(&T) -> String) {
    let body = part.as_ref().map_or_else(|failure| format!("{failure}\n"), shown);
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
            || "?".to_owned(),
            |seconds| match lag.records {
                0 => "-".to_owned(),
                _ => moment::shown(std::time::Duration::from_secs_f64(seconds)),
            },
        );
        let unclaimed = if lag.unclaimed > 0 {
            format!("{} partitions never claimed", lag.unclaimed)
        } else {
            String::new()
        };
        let unpublished = lag.unpublished.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([
            lag.group.clone(),
            lag.topic.clone(),
            lag.records.to_string(),
            behind,
            unpublished,
            unclaimed,
        ]);
    }
    table.render()
}

fn missing_slot() -> String {
    "there is no replication slot, so nothing gets from the outbox to Kafka: run `millrace setup`, then `millrace verify`\n"
        .to_owned()
}

/// What follows from a slot whose WAL is gone, and the way on.
const LOST_SLOT: &str =
    ": nothing gets from the outbox to Kafka; run `millrace setup`, then `millrace verify`";

fn shown_slot(slot: &Slot) -> String {
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

fn missing_connector() -> String {
    "there is no connector, so nothing gets from the outbox to Kafka: run `millrace setup`\n".to_owned()
}

fn shown_connector(state: &ConnectorState) -> String {
    let task = state.task.as_deref().unwrap_or("not there");
    let trace = state.trace.as_ref().map(|trace| format!(": {trace}")).unwrap_or_default();
    let held = if state.held() { ", until somebody resumes it" } else { "" };
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

fn no_process() -> String {
    "none answers where this configuration listens\n".to_owned()
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
    use super::*;
    use crate::failure::Service;

    fn running() -> ConnectorState {
        ConnectorState { connector: "RUNNING".to_owned(), task: None, trace: None, offsets_ahead: 0 }
    }

    fn report() -> Report {
        let unreachable = Failure::Unreachable {
            service: Service::ReadDatabase,
            address: "postgres://db".to_owned(),
            reason: "refused".to_owned(),
        };
        let lag = Lag {
            group: "m.commands".to_owned(),
            topic: "m.cmd.orders.v1".to_owned(),
            records: 3,
            seconds: Some(1.25),
            unpublished: None,
            unclaimed: 0,
        };
        Report {
            namespace: "m".to_owned(),
            kafka: Ok(Kafka { topics: Vec::new(), lags: vec![lag] }),
            write: Ok(Facts::default()),
            read: Err(unreachable),
            slot: Ok(None),
            connector: Ok(Some(running())),
            subjects: Ok(3),
            indices: Ok(Vec::new()),
            process: None,
            generations: Ok(Vec::new()),
            sound: Ok(()),
            under_way: Ok(Vec::new()),
        }
    }

    #[test]
    fn what_cannot_be_reached_says_so_and_the_rest_is_shown() {
        let text = report().text();
        for line in [
            "m.commands  m.cmd.orders.v1  3    1.2 s   -",
            "read side: the read database at postgres://db cannot be reached: refused",
            "RUNNING, its task not there",
            "there is no replication slot",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(matches!(report().verdict(), Err(Failure::Unreachable { .. })));
    }

    #[test]
    fn whatever_keeps_the_outbox_from_kafka_is_an_alarm() {
        let slot = |wal_status: &str| Slot {
            name: "m_outbox".to_owned(),
            active: false,
            lag_bytes: 0,
            kept_bytes: 0,
            wal_status: wal_status.to_owned(),
        };
        let alarm = |slot, connector| Report { slot: Ok(slot), connector: Ok(connector), ..report() }.alarm();
        assert_eq!(alarm(Some(slot("reserved")), Some(running())), None);
        assert!(alarm(None, Some(running())).unwrap().contains("no replication slot"));
        assert!(alarm(Some(slot("lost")), Some(running())).unwrap().contains("(lost): nothing gets from"));
        assert!(alarm(Some(slot("reserved")), None).unwrap().contains("no connector"));
        let failed = ConnectorState { trace: Some("no such slot".to_owned()), ..running() };
        assert!(alarm(Some(slot("reserved")), Some(failed)).unwrap().contains("no such slot"));
        let ahead = ConnectorState { offsets_ahead: 2_048, ..running() };
        assert!(alarm(Some(slot("reserved")), Some(ahead)).unwrap().contains("offsets are 2.0 KiB ahead"));
        let state = |name: &str| Some(ConnectorState { connector: name.to_owned(), ..running() });
        for held in ["PAUSED", "STOPPED"] {
            assert!(
                alarm(Some(slot("reserved")), state(held)).unwrap().contains("until somebody resumes it")
            );
        }
        assert_eq!(alarm(Some(slot("reserved")), state("UNASSIGNED")), None, "soon a worker takes it");
    }

    #[test]
    fn programs_get_one_document() {
        let json = report().json();
        assert_eq!(json["kafka"]["lags"][0]["records"], 3);
        assert!(json["dead_letters"]["read"]["error"].as_str().unwrap().contains("cannot be reached"));
        assert_eq!(json["dead_letters"]["write"], json!([]));
    }

    #[test]
    fn bytes_are_for_people() {
        assert_eq!(
            [bytes(5), bytes(2048), bytes(3 << 20), bytes(5 << 30)],
            ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
        );
    }
}
