//! Retention in a running process: removes old rows at intervals, at a bounded rate. One of several processes does it at a time.

use std::sync::Arc;

use millrace_engine::metrics;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::prune::{Kind, Pruner, Rows};
use tokio_util::sync::CancellationToken;

/// Removes old rows at intervals until `stop`.
pub(super) async fn prune(config: Arc<Config>, stop: CancellationToken) {
    let Some(every) = config.retention.interval else { return };
    let failures = metrics::PRUNE_FAILURES.with_label_values(&[&config.namespace.to_string()]);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let mut removed = Vec::new();
        let pruned = tokio::select! {
            // A running batch is rolled back.
            () = stop.cancelled() => Ok(()),
            pruned = once(&config, &mut removed) => pruned,
        };
        record(&config, &removed);
        match pruned {
            Ok(()) => {}
            Err(error @ Failure::Busy(_)) => tracing::debug!(%error, "nothing removed"),
            Err(error) => {
                failures.inc();
                tracing::warn!(%error, "not everything that is old enough could be removed");
            }
        }
    }
}

async fn once(config: &Config, removed: &mut Vec<Rows>) -> Result<(), Failure> {
    let mut pruner = Pruner::new(config)?.in_the_background(config.retention.rows_per_second);
    pruner.prune(&Kind::ALL, removed).await
}

fn record(config: &Config, removed: &[Rows]) {
    let namespace = config.namespace.to_string();
    for Rows { kind, side, rows, .. } in removed.iter().filter(|one| one.rows > 0) {
        tracing::info!(kind = kind.as_str(), ?side, rows, "retention has removed rows");
        metrics::PRUNED.with_label_values(&[namespace.as_str(), kind.as_str()]).inc_by(*rows);
    }
}
