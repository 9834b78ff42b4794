//! Records that fail.

use prometheus::{IntCounterVec, register_int_counter_vec};

use super::GROUP;

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
