//! Sagas and effects.

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

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
