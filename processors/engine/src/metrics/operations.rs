//! What a process does beside moving records: auditing, retention, telling.

use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, register_gauge_vec, register_histogram_vec,
    register_int_counter_vec, register_int_gauge_vec,
};

metric!(
    /// Findings of the last run of the auditor.
    ///
    /// High: `millrace verify` shows what differs. The auditor repairs a difference that it finds in two runs.
    AUDIT_FINDINGS: IntGaugeVec =
        register_int_gauge_vec("millrace_audit_findings", "Findings of the last run of the auditor", &["what"])
);
metric!(
    /// Rows and documents that the last run of the auditor found wrong, in percent of those that it compared: what is new, and a
    /// part of the rest in turn.
    ///
    /// High: As `millrace_audit_findings`.
    AUDIT_WRONG: GaugeVec = register_gauge_vec(
        "millrace_audit_wrong_percent",
        "Rows and documents that the last run of the auditor found wrong, in percent",
        &["namespace"]
    )
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
    /// Seconds of a query of readers: of each that the gateway answers, by its path; and once a round, the process that exports the
    /// metrics of the namespace tries one SQL view or index after the other, with a page of 100 rows or documents.
    ///
    /// High: Of one query: its view has grown, or its tables are bloated; `EXPLAIN` the query of its page in docs/contexts/. Of all:
    /// Postgres or Elasticsearch is overloaded.
    QUERY_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_query_seconds", "Duration of a query of readers", &["query"],
        vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    )
);
metric!(
    /// Notifications of errors (`notify.url`, `notify.mail`), by outcome: taken, failed.
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
