//! Records and their batches.

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

use super::GROUP;

metric!(
    /// Records whose effect is committed, duplicates included.
    ///
    /// High: Nothing: it is throughput. If it is 0 while `millrace_lag_records` is not, the group makes no progress:
    /// `millrace status`.
    RECORDS: IntCounterVec = register_int_counter_vec("millrace_records_applied_total", "Records applied", GROUP)
);
metric!(
    /// Records that were fetched from Kafka, by client: that of a `group`, or the one that is `shared` by all groups of the process
    /// that have caught up.
    ///
    /// High: `group` rises all the time: a group does not catch up, or falls out of the shared fetch because its buffer is full
    /// (`processing.buffer`); `millrace_lag_records` names it.
    FETCHED: IntCounterVec =
        register_int_counter_vec("millrace_records_fetched_total", "Records fetched from Kafka", &["client"])
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
    /// Seconds from when the oldest record of a batch was written to Kafka until all that it leads to is committed: of a view, until
    /// its rows show the event. Before that come `millrace_outbox_waiting_seconds`, after it `millrace_freshness_document_seconds`.
    ///
    /// High: As `millrace_lag_seconds`. A new generation reads old events: its values are as old as they are.
    FRESHNESS_ROW_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_freshness_row_seconds", "From Kafka until committed, of the oldest record of a batch", GROUP,
        vec![0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0]
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
    /// Groups whose batches were committed in one transaction, of those that share transactions: views (`read`), sagas and effects
    /// (`write`).
    ///
    /// High: Nothing: it saves transactions. If it is 1 under load, groups leave: `millrace_batches_aborted_total{why="joint"}`.
    BATCH_GROUPS: HistogramVec = register_histogram_vec(
        "millrace_batch_groups", "Groups in one transaction", &["side"], vec![1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0]
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
