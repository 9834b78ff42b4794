//! What Prometheus reads. Names follow its conventions: base units, `_total` for counters.

use std::sync::LazyLock;

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident: $kind:ty = $register:ident($text:literal, $help:literal, $labels:expr $(, $more:expr)?)) => {
        $(#[$doc])*
        #[allow(clippy::expect_used, reason = "names are literals; a test registers all of them")]
        pub static $name: LazyLock<$kind> =
            LazyLock::new(|| $register!($text, $help, $labels $(, $more)?).expect("the metric registers"));
    };
}

metric!(
    /// Records whose effect is committed, duplicates included.
    RECORDS: IntCounterVec = register_int_counter_vec("millrace_records_applied_total", "Records applied", &["group"])
);
metric!(
    /// Records that had been applied before.
    DUPLICATES: IntCounterVec =
        register_int_counter_vec("millrace_duplicates_total", "Records that had been applied before", &["group"])
);
metric!(
    /// Commands by how they were decided.
    DECISIONS: IntCounterVec =
        register_int_counter_vec("millrace_decisions_total", "Decided commands", &["context", "status"])
);
metric!(
    /// Steps of sagas, by where they led.
    SAGA_STEPS: IntCounterVec =
        register_int_counter_vec("millrace_saga_steps_total", "Steps of sagas", &["saga", "standing"])
);
metric!(
    /// Timers that were due, by what became of them: fired, put-off, failed.
    SAGA_TIMERS: IntCounterVec =
        register_int_counter_vec("millrace_saga_timers_total", "Timers of sagas that were due", &["saga", "outcome"])
);
metric!(
    /// Calls to the outside and questions after them, by outcome: answered, refused, unavailable, unknown. And what was
    /// told by itself: taken, known, unheard.
    EFFECT_CALLS: IntCounterVec = register_int_counter_vec(
        "millrace_effect_calls_total", "Calls to the outside", &["effect", "kind", "outcome"]
    )
);
metric!(
    /// Seconds until the outside answered.
    EFFECT_CALL_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_effect_call_seconds", "Duration of a call to the outside", &["effect"],
        vec![0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
    )
);
metric!(
    /// Calls that have not come to their end.
    EFFECT_WAITING: IntGaugeVec =
        register_int_gauge_vec("millrace_effect_waiting", "Calls that have not come to their end", &["effect"])
);
metric!(
    /// 1 while a provider is left alone because it fails for everybody.
    EFFECT_BREAKER: IntGaugeVec =
        register_int_gauge_vec("millrace_effect_breaker_open", "Providers that are left alone", &["effect"])
);
metric!(
    /// Records that ended as dead letters.
    DEAD_LETTERS: IntCounterVec =
        register_int_counter_vec("millrace_dead_letters_total", "Dead letters", &["group", "code"])
);
metric!(
    /// Heads that were put on a retry topic.
    RETRIES: IntCounterVec =
        register_int_counter_vec("millrace_retries_total", "Records put on a retry topic", &["group"])
);
metric!(
    /// Records that wait behind another of their key: one that is retried, dead or missing.
    PARKED: IntCounterVec = register_int_counter_vec("millrace_parked_total", "Records parked", &["group"])
);
metric!(
    /// Heads whose copy never came, copied again. More than none wants an explanation.
    SWEPT: IntCounterVec =
        register_int_counter_vec("millrace_retries_swept_total", "Overdue heads copied again", &["group"])
);
metric!(
    /// Batches that were not committed, by why.
    SETBACKS: IntCounterVec =
        register_int_counter_vec("millrace_setbacks_total", "Batches not committed", &["group", "why"])
);
metric!(
    /// Seconds from the first statement of a batch to its commit.
    BATCH_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_batch_seconds", "Duration of a batch's transaction", &["group"],
        vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    )
);
metric!(
    /// Records in a batch.
    BATCH_RECORDS: HistogramVec = register_histogram_vec(
        "millrace_batch_records", "Records in a batch", &["group"],
        vec![1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0]
    )
);
metric!(
    /// Documents that Elasticsearch has acknowledged.
    DOCUMENTS: IntCounterVec =
        register_int_counter_vec("millrace_documents_published_total", "Documents acknowledged", &["index"])
);
metric!(
    /// Partitions that this process works on.
    PARTITIONS: IntGaugeVec =
        register_int_gauge_vec("millrace_partitions_assigned", "Partitions held by this process", &["group"])
);
metric!(
    /// 1 while a dependency does not answer one of the workers.
    OUTAGE: IntGaugeVec = register_int_gauge_vec("millrace_outage", "Workers waiting for a dependency", &["dependency"])
);
metric!(
    /// The state cache: hits, misses, evictions, bytes, entries.
    STATE_CACHE: IntGaugeVec = register_int_gauge_vec("millrace_state_cache", "The stream state cache", &["figure"])
);

metric!(
    /// What the last look of the auditor found to be wrong.
    AUDIT_FINDINGS: IntGaugeVec =
        register_int_gauge_vec("millrace_audit_findings", "Things that are not as the outbox has them", &["what"])
);
metric!(
    /// What the auditor of this process has put right.
    AUDIT_REPAIRS: IntCounterVec =
        register_int_counter_vec("millrace_audit_repairs_total", "Things that the auditor put right", &["namespace"])
);
metric!(
    /// When the auditor last came to an end, seconds since 1970.
    AUDIT_ENDED: IntGaugeVec =
        register_int_gauge_vec("millrace_audit_ended_seconds", "When the auditor last came to an end", &["namespace"])
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers() {
        for counter in [&RECORDS, &DUPLICATES, &PARKED, &RETRIES, &SWEPT, &AUDIT_REPAIRS] {
            counter.with_label_values(&["g"]).inc();
        }
        for counter in [&DECISIONS, &DEAD_LETTERS, &SETBACKS, &SAGA_STEPS, &SAGA_TIMERS] {
            counter.with_label_values(&["g", "x"]).inc();
        }
        for histogram in [&BATCH_SECONDS, &BATCH_RECORDS, &EFFECT_CALL_SECONDS] {
            histogram.with_label_values(&["g"]).observe(1.0);
        }
        for gauge in [
            &PARTITIONS,
            &OUTAGE,
            &STATE_CACHE,
            &AUDIT_FINDINGS,
            &AUDIT_ENDED,
            &EFFECT_WAITING,
            &EFFECT_BREAKER,
        ] {
            gauge.with_label_values(&["g"]).set(1);
        }
        DOCUMENTS.with_label_values(&["i"]).inc();
        EFFECT_CALLS.with_label_values(&["e", "call", "answered"]).inc();
        assert_eq!(
            prometheus::gather().iter().filter(|family| family.name().starts_with("millrace_")).count(),
            23
        );
    }
}
