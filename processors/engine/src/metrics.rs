//! What Prometheus reads. Names follow its conventions: base units, `_total` for counters.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Instant;

use millrace_store::Group;
use prometheus::core::{Collector as _, MetricVec, MetricVecBuilder};
use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};

/// The group's name in Kafka for its serving generation, and the number of the generation. A swap changes neither, so that an
/// alert on a group still matches after a rebuild.
const GROUP: &[&str] = &["group", "generation"];

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident: $kind:ty = $register:ident($text:literal, $help:literal $(, $more:expr)*)) => {
        $(#[$doc])*
        #[allow(clippy::expect_used, reason = "names are literals; a test registers all of them")]
        pub static $name: LazyLock<$kind> =
            LazyLock::new(|| $register!($text, $help $(, $more)*).expect("the metric registers"));
    };
}

metric!(
    /// Records whose effect is committed, duplicates included.
    ///
    /// High: Nothing: it is throughput. If it is 0 while `millrace_lag_records` is not, the group makes no progress:
    /// `millrace status`.
    RECORDS: IntCounterVec = register_int_counter_vec("millrace_records_applied_total", "Records applied", GROUP)
);
metric!(
    /// Records that had been applied before and were skipped.
    ///
    /// High: It rises for a while after a crash or a reset of a group. If it rises all the time, a producer sends
    /// everything twice.
    DUPLICATES: IntCounterVec =
        register_int_counter_vec("millrace_duplicates_total", "Records that had been applied before", GROUP)
);
metric!(
    /// Records that were read again after a reset and skipped: they were answered so long ago that retention has removed
    /// their ledger rows.
    ///
    /// High: An operator has reset the group to before retention's mark; nothing is decided twice.
    ANSWERED: IntCounterVec = register_int_counter_vec(
        "millrace_answered_long_ago_total",
        "Records passed over because they were answered long ago",
        GROUP
    )
);
metric!(
    /// Decided commands, by outcome: completed, rejected, dead.
    ///
    /// High: `rejected`: `millrace commands --status rejected` says why. `dead`: as `millrace_open_dead_letters`.
    DECISIONS: IntCounterVec =
        register_int_counter_vec("millrace_decisions_total", "Decided commands", &["context", "status"])
);
metric!(
    /// Commands whose Kafka key is not the field that their schema names as the key, or is missing.
    ///
    /// High: Nothing fails, but Kafka chose the partition by that key: commands of one key may lie in several partitions, where
    /// nothing keeps their order. Correct the producer (docs/producing.md).
    FOREIGN_KEYS: IntCounterVec = register_int_counter_vec(
        "millrace_foreign_keys_total", "Commands with another Kafka key than their schema's", &["context"]
    )
);
metric!(
    /// Seconds from the production of a command to its decision, retries included, by type and outcome: completed, rejected.
    ///
    /// High: Check `millrace_lag_seconds` of the group of commands, then `millrace_batch_seconds`. Wrong clocks of producers
    /// also show here.
    COMMAND_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_command_seconds", "Duration from produced to decided", &["type", "outcome"],
        vec![0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0]
    )
);
metric!(
    /// The part of `millrace_command_seconds` before the batch of the decision: in Kafka, or waiting for a retry.
    ///
    /// High: As high as `millrace_command_seconds`: processes are missing or slow, see `millrace_lag_seconds`. Much lower: the
    /// transactions are slow, see `millrace_batch_seconds`.
    COMMAND_WAIT_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_command_wait_seconds", "Duration from produced to the beginning of the batch", &["type", "outcome"],
        vec![0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0]
    )
);
metric!(
    /// Steps of sagas, by the standing after the step.
    ///
    /// High: Nothing: it is throughput.
    SAGA_STEPS: IntCounterVec =
        register_int_counter_vec("millrace_saga_steps_total", "Steps of sagas", &["saga", "standing"])
);
metric!(
    /// Timers of sagas that were due, by outcome: fired, put-off, failed.
    ///
    /// High: `failed`: `millrace saga list --stuck` says why. `put-off`: Debezium has not carried the commands of the
    /// instance yet.
    SAGA_TIMERS: IntCounterVec =
        register_int_counter_vec("millrace_saga_timers_total", "Timers of sagas that were due", &["saga", "outcome"])
);
metric!(
    /// Calls to external systems (`call`) and queries for their outcome (`ask`), by outcome: answered, refused, unavailable,
    /// unknown. And webhooks (`webhook`): taken, known, contradicts, unknown-call, other.
    ///
    /// High: `unavailable` and `unknown`: the external system fails; its log and the log of this process say why.
    /// `contradicts`: compare its ledger with ours.
    EFFECT_CALLS: IntCounterVec = register_int_counter_vec(
        "millrace_effect_calls_total", "Calls to external systems, and webhooks", &["effect", "kind", "outcome"]
    )
);
metric!(
    /// Seconds until an external system answered.
    ///
    /// High: The external system is slow. `effects.calls_max` bounds how many calls wait for it.
    EFFECT_CALL_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_effect_call_seconds", "Duration of a call to an external system", &["effect"],
        vec![0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
    )
);
metric!(
    /// 1 while a provider is not called because many different calls have failed.
    ///
    /// High: The external system fails for many calls and is called rarely until a call succeeds.
    EFFECT_BREAKER: IntGaugeVec =
        register_int_gauge_vec("millrace_effect_breaker_open", "Providers whose circuit breaker is open", &["effect"])
);
metric!(
    /// Records that ended as dead letters.
    ///
    /// High: `millrace dlq list`; the runbook has a section for each code.
    DEAD_LETTERS: IntCounterVec =
        register_int_counter_vec("millrace_dead_letters_total", "Dead letters", &["group", "code"])
);
metric!(
    /// Blocking records with a wake-up copy on a retry topic.
    ///
    /// High: `millrace retries list` shows which records are retried, and why.
    RETRIES: IntCounterVec =
        register_int_counter_vec("millrace_retries_total", "Wake-up copies written to retry topics", GROUP)
);
metric!(
    /// Records that were parked behind another record of their key, which is being retried, a dead letter or missing.
    ///
    /// High: As `millrace_blocked_keys`.
    PARKED: IntCounterVec = register_int_counter_vec("millrace_parked_total", "Records parked", GROUP)
);
metric!(
    /// Blocking records whose wake-up copy did not arrive and was written again.
    ///
    /// High: Should be 0. Wake-up copies are lost: check that the retention of the retry topics is longer than their delays.
    SWEPT: IntCounterVec =
        register_int_counter_vec("millrace_retries_swept_total", "Overdue blocking records copied again", GROUP)
);
metric!(
    /// Batches that were aborted, by reason: contended, overran, outdated, fenced, refused, outage, build-too-old,
    /// republish.
    ///
    /// High: `contended`: hot keys or a long transaction. `overran`: `postgres.transaction_timeout` is too short for
    /// a batch. `outage`: `millrace_outage`. `build-too-old`: finish the upgrade. `fenced`: partitions are reassigned.
    BATCHES_ABORTED: IntCounterVec =
        register_int_counter_vec("millrace_batches_aborted_total", "Batches aborted", &["group", "generation", "why"])
);
metric!(
    /// Seconds from the first statement of a batch to its commit.
    ///
    /// High: Postgres is slow: check wait events (`pg_stat_activity`), I/O, checkpoints and bloat.
    BATCH_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_batch_seconds", "Duration of a batch's transaction", GROUP,
        vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    )
);
metric!(
    /// Seconds of the statements that batches make of any records, with the round trip, by name: table and purpose, `begin` (which
    /// may wait for a connection) and `commit`. Those for records that are retried, and of calls, are not among them.
    ///
    /// High: The statement that grew is the one to look at: `pg_stat_activity` shows what it waits for. `commit`: the disk of the
    /// WAL, or a synchronous replica. `begin`: connections are missing. `offsets advance`, `stream lock`, `view lock`: also
    /// `millrace_lock_waits`.
    STATEMENT_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_statement_seconds", "Duration of a statement of a batch", &["statement"],
        vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0]
    )
);
metric!(
    /// Records in a batch.
    ///
    /// High: Nothing: full batches are the fastest. If batches are full and the lag grows, add processes.
    BATCH_RECORDS: HistogramVec = register_histogram_vec(
        "millrace_batch_records", "Records in a batch", GROUP,
        vec![1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0]
    )
);
metric!(
    /// Documents that Elasticsearch has acknowledged.
    ///
    /// High: Nothing: it is throughput.
    DOCUMENTS: IntCounterVec =
        register_int_counter_vec("millrace_documents_published_total", "Documents acknowledged", &["index"])
);
metric!(
    /// Seconds until Elasticsearch has answered a `_bulk` request.
    ///
    /// High: Elasticsearch is slow: check its thread pool `write`, merges and disk.
    BULK_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_bulk_seconds", "Duration of a _bulk request", &["index"],
        vec![0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
    )
);
metric!(
    /// Records of a partition that the topic's retention deleted before the group had read them. The partition makes no
    /// progress until its offset is reset.
    ///
    /// High: Should be 0. Reset the group as `millrace status` says, then run `millrace verify`.
    RECORDS_LOST: IntGaugeVec = register_int_gauge_vec(
        "millrace_records_lost", "Records deleted before they were read", &["group", "generation", "topic", "partition"]
    )
);
metric!(
    /// 1 while a partition waits for a process of a later release.
    ///
    /// High: Finish the upgrade: start a process of the later release.
    BUILD_TOO_OLD: IntGaugeVec = register_int_gauge_vec(
        "millrace_build_too_old", "Partitions that wait for a later build", &["group", "generation", "topic", "partition"]
    )
);
metric!(
    /// Panics, by task: fold, member, worker, publisher, timer, call, …
    ///
    /// High: Should be 0. A panic is a bug: the log has its place in the code. `/readyz` shows which task does not work.
    PANICS: IntCounterVec = register_int_counter_vec("millrace_panics_total", "Panics that were caught", &["task"])
);
metric!(
    /// Partitions that this process works on.
    ///
    /// High: Nothing. The sum over all processes should be the number of partitions of the group.
    PARTITIONS: IntGaugeVec =
        register_int_gauge_vec("millrace_partitions_assigned", "Partitions claimed by this process", GROUP)
);
metric!(
    /// The number of workers that wait for a dependency which is not available.
    ///
    /// High: The dependency fails; the log has its error. Work resumes when it is available again.
    OUTAGE: IntGaugeVec = register_int_gauge_vec("millrace_outage", "Workers waiting for a dependency", &["dependency"])
);
metric!(
    /// The cache of stream states: hits, misses, evictions.
    ///
    /// High: If misses and evictions are many compared with hits, enlarge `processing.state_cache`.
    STATE_CACHE: IntCounterVec = register_int_counter_vec(
        "millrace_state_cache_events_total", "Look-ups and evictions of the stream state cache", &["event"]
    )
);
metric!(
    /// Bytes of memory that the cached stream states take.
    ///
    /// High: Nothing: `processing.state_cache` bounds it.
    STATE_CACHE_BYTES: IntGauge = register_int_gauge("millrace_state_cache_bytes", "Bytes in the stream state cache")
);
metric!(
    /// The number of stream states in the cache.
    ///
    /// High: Nothing: `processing.state_cache` bounds it.
    STATE_CACHE_ENTRIES: IntGauge =
        register_int_gauge("millrace_state_cache_entries", "Entries of the stream state cache")
);

metric!(
    /// Bytes that this process buffers: records that wait for their batch or are in it, copies and documents that are not
    /// acknowledged.
    ///
    /// High: Nothing: at `processing.buffer` fetching pauses.
    BUFFERED: IntGaugeVec = register_int_gauge_vec("millrace_buffer_bytes", "Bytes buffered in memory", &["what"])
);

metric!(
    /// The memory limit of the process's control group, in bytes. Absent without a limit.
    ///
    /// High: Nothing. `process_resident_memory_bytes` must stay below it.
    MEMORY_LIMIT: IntGaugeVec =
        register_int_gauge_vec("millrace_memory_limit_bytes", "The limit of the control group", &["source"])
);
metric!(
    /// Always 1; the labels are the version and the release of the build.
    ///
    /// High: Nothing. Different releases at the same time mean that an upgrade is under way.
    BUILD: IntGaugeVec = register_int_gauge_vec("millrace_build_info", "The build", &["version", "release"])
);

metric!(
    /// Findings of the last run of the auditor.
    ///
    /// High: `millrace verify` shows what differs. The auditor repairs a difference that it finds in two runs.
    AUDIT_FINDINGS: IntGaugeVec =
        register_int_gauge_vec("millrace_audit_findings", "Findings of the last run of the auditor", &["what"])
);
metric!(
    /// Repairs by the auditor of this process.
    ///
    /// High: Another program or a person changes rows, documents or topics: `millrace audit list` shows what was repaired.
    AUDIT_REPAIRS: IntCounterVec =
        register_int_counter_vec("millrace_audit_repairs_total", "Repairs by the auditor", &["namespace"])
);
metric!(
    /// Runs of the auditor that failed.
    ///
    /// High: The log says why the auditor could not compare.
    AUDIT_FAILURES: IntCounterVec =
        register_int_counter_vec("millrace_audit_failures_total", "Runs of the auditor that failed", &["namespace"])
);
metric!(
    /// When the auditor last finished a run, in seconds since 1970.
    ///
    /// High: Should be recent. If not, the auditor does not finish; the log says why.
    AUDIT_ENDED: IntGaugeVec =
        register_int_gauge_vec("millrace_audit_ended_seconds", "When the auditor last finished", &["namespace"])
);

metric!(
    /// Rows that retention has removed or emptied, by their kind.
    ///
    /// High: Nothing: it is throughput.
    PRUNED: IntCounterVec =
        register_int_counter_vec("millrace_pruned_rows_total", "Rows removed by retention", &["namespace", "kind"])
);
metric!(
    /// Runs of retention that failed.
    ///
    /// High: The log says why; tables grow until a run succeeds.
    PRUNE_FAILURES: IntCounterVec = register_int_counter_vec(
        "millrace_prune_failures_total",
        "Runs of retention that did not remove everything",
        &["namespace"]
    )
);

metric!(
    /// Seconds of a query of readers: once a round, the process that exports the metrics of the namespace tries one SQL view or
    /// index after the other, with a page of 100 rows or documents.
    ///
    /// High: Of one query: its view has grown, or its tables are bloated; `EXPLAIN` the query of its page in docs/contexts/. Of all:
    /// Postgres or Elasticsearch is overloaded.
    QUERY_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_query_seconds", "Duration of a query of readers", &["query"],
        vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    )
);

metric!(
    /// Notifications of errors (`notify.url`), by outcome: taken, failed.
    ///
    /// High: `failed`: the receiver does not take them; the log says why. Each is sent again until it is taken.
    NOTIFICATIONS: IntCounterVec =
        register_int_counter_vec("millrace_notifications_total", "Notifications of errors", &["outcome"])
);

metric!(
    /// Spans that the collector of `otlp.endpoint` has taken.
    ///
    /// High: Nothing: it is throughput.
    SPANS_EXPORTED: IntCounterVec =
        register_int_counter_vec("millrace_spans_exported_total", "Spans exported", &[])
);
metric!(
    /// Spans that were dropped: `queue`: there was no room for them, `exporter`: the collector did not take them.
    ///
    /// High: The collector of `otlp.endpoint` is away or slow; the log says which. Traces have gaps; nothing else suffers.
    SPANS_DROPPED: IntCounterVec =
        register_int_counter_vec("millrace_spans_dropped_total", "Spans dropped", &["why"])
);

metric!(
    /// Requests to the gateway, by route, method (GET, POST, other) and status.
    ///
    /// High: `401`, `403`: a client is configured wrongly, or guesses. `409`: as `millrace_decisions_total`. `429`: a client is
    /// faster than `gateway.requests_per_second`. `503`: Kafka, the registry or the role `commands` does not answer, or of a query the
    /// read side or Elasticsearch; or `gateway.requests_max` or `gateway.queries_max` is reached. The log says which.
    GATEWAY_REQUESTS: IntCounterVec = register_int_counter_vec(
        "millrace_gateway_requests_total", "Requests to the gateway", &["route", "method", "status"]
    )
);
metric!(
    /// Seconds until the gateway has answered a request, waits for outcomes included.
    ///
    /// High: Kafka is slow to acknowledge, or callers wait for outcomes: compare with `millrace_command_seconds`.
    GATEWAY_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_gateway_seconds", "Duration of a request to the gateway", &["route", "method"],
        vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0]
    )
);

/// Awaits a statement of a batch and counts its time; names are literals, so that there are few.
pub(crate) async fn timed<T>(statement: &'static str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    STATEMENT_SECONDS.with_label_values(&[statement]).observe(began.elapsed().as_secs_f64());
    done
}

/// The dependencies for which workers of this process wait.
pub fn outages() -> Vec<String> {
    let families = OUTAGE.collect();
    let waited_for = families.iter().flat_map(|family| family.get_metric());
    let waited_for = waited_for.filter(|series| series.get_gauge().get_value() > 0.0);
    waited_for.flat_map(|series| series.get_label()).map(|label| label.value().to_owned()).collect()
}

/// The series of a group.
pub(crate) fn of_group<B: MetricVecBuilder>(metric: &MetricVec<B>, group: &Group) -> B::M {
    metric.with_label_values(&[group.id.as_str(), &group.generation.to_string()])
}

/// Removes the series of a removed generation, and of its index.
pub fn forget(group: &Group, index: Option<&str>) {
    let generation = group.generation.to_string();
    let labels = [("group", group.id.as_str()), ("generation", &generation)];
    for counter in [&RECORDS, &DUPLICATES, &RETRIES, &PARKED, &SWEPT, &BATCHES_ABORTED] {
        drop_series(counter, &labels);
    }
    for histogram in [&BATCH_SECONDS, &BATCH_RECORDS] {
        drop_series(histogram, &labels);
    }
    for gauge in [&PARTITIONS, &RECORDS_LOST, &BUILD_TOO_OLD] {
        drop_series(gauge, &labels);
    }
    if let Some(index) = index {
        drop_series(&DOCUMENTS, &[("index", index)]);
        drop_series(&BULK_SECONDS, &[("index", index)]);
    }
}

/// Removes every series that has these labels, whatever its others are.
pub(crate) fn drop_series<B: MetricVecBuilder>(metric: &MetricVec<B>, labels: &[(&str, &str)]) {
    for series in metric.collect().iter().flat_map(|family| family.get_metric()) {
        let all: HashMap<&str, &str> =
            series.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
        if labels.iter().all(|(name, value)| all.get(name) == Some(value)) {
            // Removed already when another task has dropped it, too.
            let _ = metric.remove(&all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers() {
        let group = Group { id: "g".to_owned(), generation: 1 };
        for counter in [&RECORDS, &DUPLICATES, &ANSWERED, &PARKED, &RETRIES, &SWEPT] {
            of_group(counter, &group).inc();
        }
        FOREIGN_KEYS.with_label_values(&["c"]).inc();
        for counter in [&DECISIONS, &DEAD_LETTERS, &PRUNED, &SAGA_STEPS, &SAGA_TIMERS] {
            counter.with_label_values(&["g", "x"]).inc();
        }
        BATCHES_ABORTED.with_label_values(&["g", "1", "x"]).inc();
        for histogram in [&BATCH_SECONDS, &BATCH_RECORDS] {
            of_group(histogram, &group).observe(1.0);
        }
        STATE_CACHE.with_label_values(&["hits"]).inc();
        NOTIFICATIONS.with_label_values(&["taken"]).inc();
        SPANS_EXPORTED.with_label_values::<&str>(&[]).inc();
        SPANS_DROPPED.with_label_values(&["queue"]).inc();
        for gauge in [&STATE_CACHE_BYTES, &STATE_CACHE_ENTRIES] {
            gauge.set(1);
        }
        for histogram in [&EFFECT_CALL_SECONDS, &BULK_SECONDS] {
            histogram.with_label_values(&["g"]).observe(1.0);
        }
        for histogram in [&COMMAND_SECONDS, &COMMAND_WAIT_SECONDS] {
            histogram.with_label_values(&["t", "completed"]).observe(1.0);
        }
        for histogram in [&STATEMENT_SECONDS, &QUERY_SECONDS] {
            histogram.with_label_values(&["s"]).observe(1.0);
        }
        GATEWAY_REQUESTS.with_label_values(&["r", "GET", "200"]).inc();
        GATEWAY_SECONDS.with_label_values(&["r", "GET"]).observe(1.0);
        BUILD.with_label_values(&["1", "1"]).set(1);
        AUDIT_REPAIRS.with_label_values(&["g"]).inc();
        AUDIT_FAILURES.with_label_values(&["g"]).inc();
        PRUNE_FAILURES.with_label_values(&["g"]).inc();
        PANICS.with_label_values(&["t"]).inc();
        of_group(&PARTITIONS, &group).set(1);
        for gauge in [&OUTAGE, &MEMORY_LIMIT, &BUFFERED, &AUDIT_FINDINGS, &AUDIT_ENDED, &EFFECT_BREAKER] {
            gauge.with_label_values(&["g"]).set(1);
        }
        DOCUMENTS.with_label_values(&["i"]).inc();
        EFFECT_CALLS.with_label_values(&["e", "call", "answered"]).inc();
        for gauge in [&RECORDS_LOST, &BUILD_TOO_OLD] {
            gauge.with_label_values(&["g", "1", "t", "0"]).set(1);
        }
        assert_eq!(
            prometheus::gather().iter().filter(|family| family.name().starts_with("millrace_")).count(),
            45
        );
    }

    #[test]
    fn a_removed_generation_has_no_series_and_the_others_keep_theirs() {
        let [old, new] = [1, 2].map(|generation| Group { id: "m.removed".to_owned(), generation });
        for group in [&old, &new] {
            of_group(&RECORDS, group).inc();
            BATCHES_ABORTED.with_label_values(&[&group.id, &group.generation.to_string(), "fenced"]).inc();
        }
        for index in ["m-removed-g1", "m-removed-g2"] {
            DOCUMENTS.with_label_values(&[index]).inc();
        }
        forget(&old, Some("m-removed-g1"));
        let text = prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap();
        let left: Vec<&str> =
            text.lines().filter(|line| line.contains("m.removed") || line.contains("m-removed")).collect();
        assert!(
            left.len() == 3 && !left.iter().any(|line| line.contains("\"1\"") || line.contains("g1")),
            "{left:?}"
        );
    }
}
