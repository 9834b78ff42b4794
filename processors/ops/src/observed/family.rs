//! The figures of a namespace: what each is called, what it means, and what to do when it is high.

use chrono::{DateTime, Utc};

/// A gauge that one process of a namespace exports. All have the label `namespace`.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name in Prometheus.
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
    /// The family of the value.
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
        "Records of a topic that a consumer can read and the group has not applied. For a view, the group is its serving generation.",
        "`millrace status` says whether a process works in the group and what it waits for. If all processes work, start more, up to the number of partitions.";
    LAG_SECONDS = "millrace_lag_seconds" ["group", "topic"]
        "Age of the oldest record of a topic that the group has not applied. It counts rows that are still in the outbox, so that it grows while Debezium is stopped. Absent while Kafka or the outbox does not answer, or when the oldest record was not found in time.",
        "If `millrace_outbox_waiting_seconds` is as high, Debezium is behind. Otherwise as `millrace_lag_records`.";
    UNPUBLISHED = "millrace_unpublished_records" ["group", "topic"]
        "Records that a view has applied and whose documents Elasticsearch has not acknowledged.",
        "Check Elasticsearch: `millrace_outage`, its thread pool `write`, its disk watermarks.";
    RETENTION = "millrace_topic_retention_seconds" ["topic"]
        "Retention time of a topic; absent for a topic that keeps its records for ever.",
        "Nothing. `millrace_lag_seconds` must stay well below it, or records are deleted before they are read.";
    OUTBOX_ROWS = "millrace_outbox_waiting_rows" []
        "Rows of the outbox that Debezium has not carried to Kafka, counted up to 10,000.",
        "`millrace status` shows the connector and the slot; restart what failed. The WAL grows until the connector runs.";
    OUTBOX_SECONDS = "millrace_outbox_waiting_seconds" []
        "Age of the oldest of those rows; 0 when there is none.",
        "As `millrace_outbox_waiting_rows`.";
    SLOT_ACTIVE = "millrace_slot_active" []
        "1 while a connector reads from the replication slot. Absent when there is no slot.",
        "Should be 1. At 0 Postgres keeps WAL until the connector runs.";
    SLOT_LAG = "millrace_slot_lag_bytes" []
        "Bytes of WAL that Debezium has not confirmed.",
        "As `millrace_outbox_waiting_rows`. It includes the WAL of all other databases and schemas of the server.";
    SLOT_RETAINED = "millrace_slot_retained_bytes" []
        "Bytes of WAL that Postgres keeps for the slot.",
        "Start the connector before the disk is full or `max_slot_wal_keep_size` is reached; then the slot is lost.";
    SLOT_STATUS = "millrace_slot_wal_status" ["status"]
        "1 for the current state of the slot's WAL, 0 for the others: reserved, extended, unreserved or lost (`wal_status` of Postgres), and missing when there is no slot.",
        "unreserved: start the connector now. lost or missing: `millrace setup`, then `millrace verify`.";
    CONNECTOR = "millrace_connector_state" ["state"]
        "1 for the current state of the outbox's connector, 0 for the others: running, paused, failed, unassigned, missing.",
        "paused: resume it. failed: `millrace status` says why; remove the cause and restart it. missing: `millrace setup`.";
    BLOCKED_KEYS = "millrace_blocked_keys" ["group", "status"]
        "Ordering keys whose records wait, by reason: retrying (a retry), dead (a dead letter), gap (a missing event).",
        "dead: settle the dead letter (`millrace dlq list`). retrying: it succeeds when its cause is gone. gap: an event is missing; `millrace verify`.";
    PARKED_RECORDS = "millrace_parked_records" ["group", "status"]
        "Parked records of blocked keys, the blocking records included.",
        "As `millrace_blocked_keys`.";
    BLOCKED_SECONDS = "millrace_blocked_seconds" ["group", "status"]
        "How long the key that has been blocked longest has been blocked.",
        "As `millrace_blocked_keys`.";
    OPEN_DEAD_LETTERS = "millrace_open_dead_letters" ["group", "code"]
        "Dead letters that are neither redriven nor discarded.",
        "`millrace dlq list --code CODE`; the runbook has a section for each code.";
    SAGAS = "millrace_sagas" ["saga", "standing"]
        "Instances that have not ended, by standing.",
        "If `millrace_saga_age_seconds` is high too: `millrace saga list --stuck`.";
    SAGA_AGE = "millrace_saga_age_seconds" ["saga", "standing"]
        "Age of the oldest instance that has not ended.",
        "`millrace saga list`, the oldest first.";
    SAGAS_STUCK = "millrace_sagas_stuck" ["saga"]
        "Instances that need an operator, counted up to 1,000: their next record is a dead letter or is being retried, their timer fails, or they have taken no step for 15 minutes.",
        "`millrace saga list --stuck` names the reason of each.";
    TIMERS_OVERDUE = "millrace_saga_timers_overdue" ["saga"]
        "Timers that are due and have not fired.",
        "Check that a process runs the saga. The timers of an instance wait until Debezium has carried its commands; a failing timer is in `millrace saga list --stuck`.";
    TIMERS_OVERDUE_SECONDS = "millrace_saga_timers_overdue_seconds" ["saga"]
        "How long the timer that is overdue longest has been due.",
        "As `millrace_saga_timers_overdue`.";
    CALLS_WAITING = "millrace_effect_calls_waiting" ["effect", "status"]
        "Calls to external systems that have no outcome: waiting or calling.",
        "If `millrace_effect_breaker_open` is 1, the external system fails. Otherwise check that a process runs the effect.";
    CALLS_AGE = "millrace_effect_calls_waiting_seconds" ["effect", "status"]
        "Age of the oldest call that has no outcome.",
        "As `millrace_effect_calls_waiting`.";
    COMMANDS_UNDECIDED = "millrace_sent_commands_undecided" []
        "Commands that sagas and effects have sent within the last day and that are not decided.",
        "Check `millrace_outbox_waiting_seconds`, then `millrace_lag_seconds` of the group of commands.";
    COMMANDS_UNDECIDED_SECONDS = "millrace_sent_commands_undecided_seconds" []
        "Age of the oldest of these commands.",
        "As `millrace_sent_commands_undecided`.";
    LOCK_WAITS = "millrace_lock_waits" ["side"]
        "Sessions of the instance that wait for a lock in the write or the read database at the moment of the query.",
        "Some under load is normal: batches of one key take turns. If it stays, `pg_blocking_pids` names the session that holds the lock.";
    LOCK_WAIT_SECONDS = "millrace_lock_wait_seconds" ["side"]
        "How long the session that waits longest has waited; 0 when none does.",
        "More than a second: a session of another program, or an operator's, holds a lock. `SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'`; end the blocking one.";
    REBUILD_RECORDS = "millrace_rebuild_records" ["view", "generation"]
        "Records that a building generation has to apply in total until it has caught up with the serving one.",
        "Nothing: it is the size of the rebuild.";
    REBUILD_LEFT = "millrace_rebuild_records_left" ["view", "generation"]
        "Records that a building generation has still to apply.",
        "It must fall. If it does not, check that `millrace run` runs. At 0 the generations are compared: `millrace replay VIEW --status` shows the result.";
    REBUILD_SECONDS = "millrace_rebuild_seconds" ["view", "generation"]
        "How long the rebuild has been running.",
        "As `millrace_rebuild_records_left`.";
    VERIFIED = "millrace_audit_verified_timestamp_seconds" ["what"]
        "When the auditor last found no difference in a view, in `topics` or in `commands`, in seconds since 1970. Absent when `audit.interval` is `never`.",
        "Should be recent. If not, `millrace verify` shows what differs; `millrace_audit_failures_total` and the log show why the auditor cannot compare.";
    CERTIFICATE = "millrace_certificate_end_timestamp_seconds" ["setting"]
        "When a certificate ends, in seconds since 1970: those in files, and those that servers show. Absent without TLS.",
        "Should be weeks away. Replace the certificate of the setting; `millrace doctor --all` lists all of them.";
    SUCCESS = "millrace_observed_success" ["part"]
        "1 when the last query for a part of these metrics succeeded. At 0 the metrics of that part are absent: unknown, not zero. `elasticsearch` and `registry` have no other metrics: 0 says that they do not answer.",
        "Should be 1. The log of the process that exports it names the component that does not answer.";
    TIMESTAMP = "millrace_observed_timestamp_seconds" ["part"]
        "When the last query for a part of these metrics succeeded, in seconds since 1970.",
        "Should be recent. If not, as `millrace_observed_success`.";
    ROUND_SECONDS = "millrace_observed_round_seconds" []
        "Duration of the last round of queries for all metrics of this table. Exactly one process of a namespace exports them.",
        "A component answers slowly: see `millrace_observed_success`. A higher `metrics.interval` reduces the load on Postgres.";
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
