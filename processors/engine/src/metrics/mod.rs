//! What Prometheus reads, by subject. Names follow its conventions: base units, `_total` for counters.

use std::collections::HashMap;
use std::time::Instant;

use millrace_store::Group;
use prometheus::core::{Collector as _, MetricVec, MetricVecBuilder};

/// The group's name in Kafka for its serving generation, and the number of the generation. A swap changes neither, so that an
/// alert on a group still matches after a rebuild.
const GROUP: &[&str] = &["group", "generation"];

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident: $kind:ty = $register:ident($text:literal, $help:literal $(, $more:expr)*)) => {
        $(#[$doc])*
        #[allow(clippy::expect_used, reason = "names are literals; a test registers all of them")]
        pub static $name: std::sync::LazyLock<$kind> =
            std::sync::LazyLock::new(|| $register!($text, $help $(, $more)*).expect("the metric registers"));
    };
}

mod commands;
mod documents;
mod gateway;
mod operations;
mod process;
mod reactions;
mod records;
mod retries;

pub use commands::*;
pub use documents::*;
pub use gateway::*;
pub use operations::*;
pub use process::*;
pub use reactions::*;
pub use records::*;
pub use retries::*;

/// Awaits a statement of a batch and counts its time; names are literals, so that there are few.
pub(crate) async fn timed<T>(statement: &'static str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    STATEMENT_SECONDS.with_label_values(&[statement]).observe(began.elapsed().as_secs_f64());
    done
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
    for histogram in [&BATCH_SECONDS, &BATCH_RECORDS, &FRESHNESS_ROW_SECONDS] {
        drop_series(histogram, &labels);
    }
    for gauge in [&PARTITIONS, &RECORDS_LOST, &BUILD_TOO_OLD] {
        drop_series(gauge, &labels);
    }
    if let Some(index) = index {
        drop_series(&DOCUMENTS, &[("index", index)]);
        drop_series(&BULK_SECONDS, &[("index", index)]);
        drop_series(&FRESHNESS_DOCUMENT_SECONDS, &[("index", index)]);
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
        for histogram in [&BATCH_SECONDS, &BATCH_RECORDS, &FRESHNESS_ROW_SECONDS] {
            of_group(histogram, &group).observe(1.0);
        }
        BATCH_GROUPS.with_label_values(&["read"]).observe(1.0);
        STATE_CACHE.with_label_values(&["hits"]).inc();
        NOTIFICATIONS.with_label_values(&["taken"]).inc();
        SPANS_EXPORTED.with_label_values::<&str>(&[]).inc();
        SPANS_DROPPED.with_label_values(&["queue"]).inc();
        for gauge in [&STATE_CACHE_BYTES, &STATE_CACHE_ENTRIES] {
            gauge.set(1);
        }
        for histogram in [&EFFECT_CALL_SECONDS, &BULK_SECONDS, &FRESHNESS_DOCUMENT_SECONDS] {
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
        ALLOCATOR_BYTES.with_label_values(&["a", "committed"]).set(1);
        AUDIT_REPAIRS.with_label_values(&["g"]).inc();
        AUDIT_FAILURES.with_label_values(&["g"]).inc();
        PRUNE_FAILURES.with_label_values(&["g"]).inc();
        PANICS.with_label_values(&["t"]).inc();
        of_group(&PARTITIONS, &group).set(1);
        for gauge in [&OUTAGE, &MEMORY_LIMIT, &BUFFERED, &AUDIT_FINDINGS, &AUDIT_ENDED, &EFFECT_BREAKER] {
            gauge.with_label_values(&["g"]).set(1);
        }
        AUDIT_WRONG.with_label_values(&["g"]).set(0.5);
        DOCUMENTS.with_label_values(&["i"]).inc();
        EFFECT_CALLS.with_label_values(&["e", "call", "answered"]).inc();
        for gauge in [&RECORDS_LOST, &BUILD_TOO_OLD] {
            gauge.with_label_values(&["g", "1", "t", "0"]).set(1);
        }
        assert_eq!(
            prometheus::gather().iter().filter(|family| family.name().starts_with("millrace_")).count(),
            50
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
