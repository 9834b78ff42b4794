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
    /// Seconds from the commit of rows until Elasticsearch has acknowledged their documents, of the rows of a request that have waited
    /// longest. Searches find them after the next refresh of the index.
    ///
    /// High: Elasticsearch is away or slow: `millrace_outage`, `millrace_bulk_seconds`.
    FRESHNESS_DOCUMENT_SECONDS: HistogramVec = register_histogram_vec(
        "millrace_freshness_document_seconds", "From the commit of rows until their documents are acknowledged", &["index"],
        vec![0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0]
    )
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
