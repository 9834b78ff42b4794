//! The report as a document for programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::databases::{Blocked, DeadLetters, Facts, Held, Slot, Unfit};
use super::lag::Kafka;
use super::report::Report;
use super::resets::Wish;
use super::services::{Index, Process, Subjects};
use super::under_way::UnderWay;
use crate::failure::Failure;
use crate::replay::generations::Generation;
use crate::setup::ConnectorState;

/// The state of an instance. A part that could not be asked has the error instead.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct Document<'r> {
    /// The instance.
    pub namespace: &'r str,
    /// Whether all is well.
    pub verdict: Verdict,
    /// Topics, and the lag of groups.
    pub kafka: Part<&'r Kafka>,
    /// The replication slot of the outbox; `null` when there is none.
    pub slot: Part<&'r Option<Slot>>,
    /// The connector of the outbox; `null` when there is none.
    pub connector: Part<&'r Option<ConnectorState>>,
    /// The number of members of groups that are behind, by group.
    pub members: Part<&'r BTreeMap<String, usize>>,
    /// The number of subjects in the schema registry, of all instances that share it.
    pub subjects: Part<usize>,
    /// Record types of the instance's contexts that are not registered.
    pub missing_schemas: Part<&'r [&'static str]>,
    /// The views' indices.
    pub indices: Part<&'r [Index]>,
    /// Open dead letters, by group and code.
    pub dead_letters: Sides<&'r [DeadLetters]>,
    /// Blocked keys, by group and status.
    pub blocked: Sides<&'r [Blocked]>,
    /// Held partitions.
    pub held: Sides<&'r [Held]>,
    /// The generations of views that have more than one.
    pub generations: Part<&'r [Generation]>,
    /// The serving generations into which this build cannot fold.
    pub unfit: Part<&'r [Unfit]>,
    /// Resets by operators, and what follows from them at the next start.
    pub resets: Part<&'r [Wish]>,
    /// `true`, or an error when the write side has lost commits.
    pub sound: Part<bool>,
    /// Sagas, calls and commands in progress.
    pub under_way: Part<&'r [UnderWay]>,
    /// The process that listens at this configuration's address; `null` when there is none.
    pub process: &'r Option<Process>,
}

/// Whether all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verdict {
    /// Whether there is neither a problem nor anything unknown.
    pub ok: bool,
    /// What needs an operator, for people.
    pub problems: Vec<String>,
    /// Why parts are unknown, for people.
    pub unknown: Vec<String>,
}

/// A part of the state.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
#[serde(untagged)]
pub enum Part<T> {
    /// What was found.
    Known(T),
    /// It could not be asked.
    Unknown(Unknown),
}

/// Why a part is unknown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unknown {
    /// For people.
    pub error: String,
}

/// A part of each of the two databases.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Sides<T> {
    /// Of the write side.
    pub write: Part<T>,
    /// Of the read side.
    pub read: Part<T>,
}

impl<T> Part<T> {
    fn of<'r, F>(found: &'r Result<F, Failure>, pick: impl FnOnce(&'r F) -> T) -> Self {
        match found {
            Ok(found) => Self::Known(pick(found)),
            Err(failure) => Self::Unknown(Unknown { error: failure.to_string() }),
        }
    }
}

impl Report {
    /// The report for programs.
    pub fn document(&self) -> Document<'_> {
        Document {
            namespace: &self.namespace,
            verdict: Verdict { ok: self.is_well(), problems: self.problems(), unknown: self.unknown() },
            kafka: Part::of(&self.kafka, |kafka| kafka),
            slot: Part::of(&self.slot, |slot| slot),
            connector: Part::of(&self.connector, |connector| connector),
            members: Part::of(&self.members, |members| members),
            subjects: Part::of(&self.subjects, |subjects| subjects.count),
            missing_schemas: Part::of(&self.subjects, |Subjects { missing, .. }| missing.as_slice()),
            indices: Part::of(&self.indices, Vec::as_slice),
            dead_letters: self.sides(|facts| facts.dead.as_slice()),
            blocked: self.sides(|facts| facts.blocked.as_slice()),
            held: self.sides(|facts| facts.held.as_slice()),
            generations: Part::of(&self.generations, Vec::as_slice),
            unfit: Part::of(&self.unfit, Vec::as_slice),
            resets: Part::of(&self.resets, Vec::as_slice),
            sound: Part::of(&self.sound, |()| true),
            under_way: Part::of(&self.under_way, Vec::as_slice),
            process: &self.process,
        }
    }

    fn sides<'r, T>(&'r self, pick: impl Fn(&'r Facts) -> T) -> Sides<T> {
        Sides { write: Part::of(&self.write, &pick), read: Part::of(&self.read, &pick) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::examples::report_in_part as report;

    #[test]
    fn programs_get_one_document() {
        let json = json!(report().document());
        assert_eq!(json["kafka"]["lags"][0]["records"], 3);
        assert!(json["dead_letters"]["read"]["error"].as_str().unwrap().contains("cannot be reached"));
        assert_eq!(json["dead_letters"]["write"], json!([]));
        assert_eq!((&json["subjects"], &json["verdict"]["ok"]), (&json!(3), &json!(false)));
    }
}
