//! Commands, and the states that they are decided on.

use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, register_histogram_vec, register_int_counter_vec,
    register_int_gauge,
};

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
