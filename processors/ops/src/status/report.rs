//! The result of status, and sentences that the verdict and the output share.

use std::collections::BTreeMap;

use super::databases::{Facts, Slot, Unfit};
use super::lag::Kafka;
use super::resets::Wish;
use super::services::{Index, Process, Subjects};
use super::under_way::UnderWay;
use crate::failure::Failure;
use crate::layout::Side;
use crate::replay::generations::Generation;
use crate::setup::ConnectorState;

/// The state of an instance; each part may be an error.
pub struct Report {
    /// The instance.
    pub namespace: String,
    /// The groups of the instance.
    pub groups: Vec<(Side, &'static str)>,
    /// The number of members of groups that are behind.
    pub members: Result<BTreeMap<String, usize>, Failure>,
    /// Topics, and the lag of groups.
    pub kafka: Result<Kafka, Failure>,
    /// The facts of the write side.
    pub write: Result<Facts, Failure>,
    /// The facts of the read side.
    pub read: Result<Facts, Failure>,
    /// The replication slot of the outbox; `None` when there is none.
    pub slot: Result<Option<Slot>, Failure>,
    /// The connector of the outbox; `None` when there is none.
    pub connector: Result<Option<ConnectorState>, Failure>,
    /// The schema registry.
    pub subjects: Result<Subjects, Failure>,
    /// The views' indices.
    pub indices: Result<Vec<Index>, Failure>,
    /// The process that listens at this configuration's address.
    pub process: Option<Process>,
    /// The generations of views that have more than one.
    pub generations: Result<Vec<Generation>, Failure>,
    /// The serving generations into which this build cannot fold.
    pub unfit: Result<Vec<Unfit>, Failure>,
    /// Resets by operators, and what follows from them at the next start.
    pub resets: Result<Vec<Wish>, Failure>,
    /// An error when the write side has lost commits.
    pub sound: Result<(), Failure>,
    /// Sagas, calls and commands in progress.
    pub under_way: Result<Vec<UnderWay>, Failure>,
}

/// The text for a missing slot.
pub fn missing_slot() -> String {
    "there is no replication slot, so the outbox is not carried to Kafka: run `millrace setup`, then `millrace verify`\n"
        .to_owned()
}

/// The text for a slot whose WAL was removed, with what to do.
const LOST_SLOT: &str = ": the outbox is not carried to Kafka; run `millrace setup`, then `millrace verify`";

/// A slot in a line.
pub fn shown_slot(slot: &Slot) -> String {
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

/// The text for a missing connector.
pub fn missing_connector() -> String {
    "there is no connector, so the outbox is not carried to Kafka: run `millrace setup`\n".to_owned()
}

/// The text for a connector that skips rows.
const DROPS_ROWS: &str = ": it skips rows that Kafka refuses (errors.tolerance=all), as during `millrace outbox skip`; if that does not run, \
     run `millrace setup`, then `millrace verify`";

/// A connector in a line.
pub fn shown_connector(state: &ConnectorState) -> String {
    let task = state.task.as_deref().unwrap_or("not there");
    let trace = state.trace.as_ref().map(|trace| format!(": {trace}")).unwrap_or_default();
    let paused = if state.is_paused() { ", until it is resumed" } else { "" };
    let ahead = match state.offsets_ahead {
        0 => String::new(),
        ahead => format!(
            ": Connect's offsets are {} ahead of the server, as after a restore, and nothing is carried until then; run \
             `millrace setup`, then `millrace verify`",
            bytes(ahead)
        ),
    };
    let drops = if state.drops_rows { DROPS_ROWS } else { "" };
    format!("{}{paused}, its task {task}{trace}{ahead}{drops}\n", state.connector)
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn bytes(count: i64) -> String {
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

    #[test]
    fn bytes_are_for_people() {
        assert_eq!(
            [bytes(5), bytes(2048), bytes(3 << 20), bytes(5 << 30)],
            ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
        );
    }
}
