//! Requests to the gateway.

use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};

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
