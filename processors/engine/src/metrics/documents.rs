//! Documents in Elasticsearch.

use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};

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
