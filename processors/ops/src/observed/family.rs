//! The figures of a namespace: what each is called, what it means, and what to do when it is high.

use chrono::{DateTime, Utc};

/// A gauge that one process of a namespace exports. All have the label `namespace`.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// Labels beside `namespace`.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub meaning: &'static str,
    /// What to do when it is high.
    pub high: &'static str,
}

/// One value of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Of which.
    pub family: &'static Family,
    /// The values of its labels, in their order.
    pub labels: Vec<String>,
    /// The value.
    pub value: f64,
}

impl Family {
    /// A value of this family.
    pub(super) fn is<const N: usize>(&'static self, labels: [&str; N], value: f64) -> Figure {
        Figure { family: self, labels: labels.map(str::to_owned).into(), value }
    }
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
pub(super) fn number(count: i64) -> f64 {
    count as f64
}

/// How long ago something was, in seconds; never below 0.
pub(super) fn seconds_since(time: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - time).as_seconds_f64().max(0.0)
}

macro_rules! families {
    ($($name:ident = $text:literal $labels:tt $meaning:literal, $high:literal;)+) => {
        $(pub(super) static $name: Family = Family { name: $text, labels: &$labels, meaning: $meaning, high: $high };)+

        /// Every family.
        pub static ALL: &[&Family] = &[$(&$name),+];
    };
}

families! {
    LAG_RECORDS = "millrace_lag_records" ["group", "topic"]
        "Records of a topic that can be read and the group has not applied; of a view its serving generation.",
        "`millrace status` says whether a process works in the group and what it waits for. When all work: more processes, up to the number of partitions.";
    LAG_SECONDS = "millrace_lag_seconds" ["group", "topic"]
        "Age of the oldest record of a topic that the group has not applied. It counts rows that are still in the outbox, so that it grows while Debezium stands. Absent while Kafka or the outbox cannot be asked, or the oldest record was not found in time.",
        "First `millrace_outbox_waiting_seconds`: is it as high, Debezium is behind. Else as `millrace_lag_records`.";
    UNPUBLISHED = "millrace_unpublished_records" ["group", "topic"]
        "Records that a view has applied and whose documents Elasticsearch may not have yet.",
        "Look at Elasticsearch: `millrace_outage`, its thread pool `write`, its disk watermarks.";
    RETENTION = "millrace_topic_retention_seconds" ["topic"]
        "How long a topic keeps its records; absent for one that keeps them for ever.",
        "Nothing. `millrace_lag_seconds` must stay well below it, or records are deleted before they are read.";
    OUTBOX_ROWS = "millrace_outbox_waiting_rows" []
        "Rows of the outbox that Debezium has not brought to Kafka, counted up to 10,000.",
        "`millrace status` shows the connector and the slot; restart what failed. The WAL grows until it runs.";
    OUTBOX_SECONDS = "millrace_outbox_waiting_seconds" []
        "Age of the oldest of those rows; 0 when there is none.",
        "As `millrace_outbox_waiting_rows`.";
    SLOT_ACTIVE = "millrace_slot_active" []
        "1 while a connector reads from the replication slot. Absent when there is no slot.",
        "It is good when it is 1. At 0 Postgres keeps WAL until the connector runs.";
    SLOT_LAG = "millrace_slot_lag_bytes" []
        "Bytes of WAL that Debezium has not confirmed.",
        "As `millrace_outbox_waiting_rows`. It also has what other schemas of the server write.";
    SLOT_RETAINED = "millrace_slot_retained_bytes" []
        "Bytes of WAL that Postgres keeps for the slot.",
        "Let the connector run before the disk is full or `max_slot_wal_keep_size` is reached, at which the slot is lost.";
    SLOT_STATUS = "millrace_slot_wal_status" ["status"]
        "1 for the state of the slot's WAL, 0 for the others: reserved, extended, unreserved, lost as Postgres says, and missing when there is no slot.",
        "unreserved: let the connector run now. lost or missing: `millrace setup`, then `millrace verify`.";
    CONNECTOR = "millrace_connector_state" ["state"]
        "1 for the state of the connector of the outbox, 0 for the others: running, paused, failed, unassigned, missing.",
        "paused: resume it. failed: `millrace status` says why; mend that and restart it. missing: `millrace setup`.";
    BLOCKED_KEYS = "millrace_blocked_keys" ["group", "status"]
        "Keys whose records wait, by what for: retrying, dead, gap.",
        "dead: see its dead letter (`millrace dlq list`). retrying: it goes on by itself when its cause is gone. gap: an event is missing; `millrace verify`.";
    PARKED_RECORDS = "millrace_parked_records" ["group", "status"]
        "Records that wait for those keys, the blocking ones included.",
        "As `millrace_blocked_keys`.";
    BLOCKED_SECONDS = "millrace_blocked_seconds" ["group", "status"]
        "How long the first of those keys has been blocked.",
        "As `millrace_blocked_keys`.";
    OPEN_DEAD_LETTERS = "millrace_open_dead_letters" ["group", "code"]
        "Dead letters that are neither redriven nor discarded.",
        "`millrace dlq list --code CODE`; the runbook has a section for each code.";
    SAGAS = "millrace_sagas" ["saga", "standing"]
        "Instances that are to move on by themselves, by where they stand.",
        "With `millrace_saga_age_seconds`: `millrace saga list --stuck`.";
    SAGA_AGE = "millrace_saga_age_seconds" ["saga", "standing"]
        "Since when the oldest of them runs.",
        "`millrace saga list`, the oldest first.";
    SAGAS_STUCK = "millrace_sagas_stuck" ["saga"]
        "Instances that need an operator, counted up to 1,000: their next record is a dead letter or tried again, their timer fails, or they have taken no step for 15 minutes.",
        "`millrace saga list --stuck` says why of each.";
    TIMERS_OVERDUE = "millrace_saga_timers_overdue" ["saga"]
        "Timers that are due and have not fired.",
        "Does a process run the saga? The timers of an instance wait until Debezium has carried its commands; one that fails is in `millrace saga list --stuck`.";
    TIMERS_OVERDUE_SECONDS = "millrace_saga_timers_overdue_seconds" ["saga"]
        "How long the first of them has been due.",
        "As `millrace_saga_timers_overdue`.";
    CALLS_WAITING = "millrace_effect_calls_waiting" ["effect", "status"]
        "Calls to external systems that are not done: waiting or calling.",
        "Is `millrace_effect_breaker_open` 1, the external system fails. Else does a process run the effect?";
    CALLS_AGE = "millrace_effect_calls_waiting_seconds" ["effect", "status"]
        "Since when the first of them was asked for.",
        "As `millrace_effect_calls_waiting`.";
    COMMANDS_UNDECIDED = "millrace_sent_commands_undecided" []
        "Commands that sagas and effects sent within the last day and that are not decided.",
        "`millrace_outbox_waiting_seconds`, then `millrace_lag_seconds` of the group of the commands.";
    COMMANDS_UNDECIDED_SECONDS = "millrace_sent_commands_undecided_seconds" []
        "Age of the first of them.",
        "As `millrace_sent_commands_undecided`.";
    REBUILD_RECORDS = "millrace_rebuild_records" ["view", "generation"]
        "Records that a generation that is being built has to apply until it is level with the serving one.",
        "Nothing: it is the size of the rebuild.";
    REBUILD_LEFT = "millrace_rebuild_records_left" ["view", "generation"]
        "How many of them are left.",
        "It must fall. When it stands, does `millrace run` run? At 0 the two are compared: `millrace replay` shows what was found.";
    REBUILD_SECONDS = "millrace_rebuild_seconds" ["view", "generation"]
        "How long it has been built.",
        "As `millrace_rebuild_records_left`.";
    VERIFIED = "millrace_audit_verified_timestamp_seconds" ["what"]
        "When the auditor last found a view, `topics` or `commands` right, in seconds since 1970. Absent without an auditor.",
        "It is bad when it is low: `millrace verify` says what differs, `millrace_audit_failures_total` and the log why the auditor cannot compare.";
    SUCCESS = "millrace_observed_success" ["part"]
        "1 when the last look at a part was answered. At 0 the figures of that part are absent: unknown, not zero.",
        "It is good when it is 1. The log of the process that exports it says what does not answer.";
    TIMESTAMP = "millrace_observed_timestamp_seconds" ["part"]
        "When a part was last answered, in seconds since 1970.",
        "It is bad when it is low: as `millrace_observed_success`.";
    ROUND_SECONDS = "millrace_observed_round_seconds" []
        "How long the last look at everything took. Exactly one process of a namespace exports it, and all families of this table.",
        "Something answers slowly: `millrace_observed_success`. Set `metrics.interval` higher when Postgres is to be spared.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for family in ALL {
            let name = family.name.strip_prefix("millrace_").unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!name.ends_with("_total"), "{name} is a gauge");
        }
    }
}
