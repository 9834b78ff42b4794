//! The auditor of a running process: compares stored data with the outbox at intervals, at a bounded rate. It repairs a
//! difference that it finds twice; one that is found once may be an error of the comparison.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use millrace_engine::metrics;
use millrace_ops::audit::Operator;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::verify::Scope;
use millrace_ops::verify::auditor::{Auditor, Depth};
use millrace_ops::verify::finding::Sign;
use millrace_ops::verify::repair::RepairScope;
use millrace_ops::verify::report::Report;
use millrace_ops::verify::what::What;
use tokio_util::sync::CancellationToken;

/// How long to wait for Debezium and the publisher before a comparison is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The delay before a comparison with findings is repeated, at most.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Compares at intervals until `stop`.
pub(super) async fn audit(config: Arc<Config>, stop: CancellationToken) {
    let Some(every) = config.audit.interval else { return };
    let failures = metrics::AUDIT_FAILURES.with_label_values(&[&config.namespace.to_string()]);
    let (mut known, mut rest) = (HashSet::new(), every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look(&config, std::mem::take(&mut known)) => looked,
        };
        match looked {
            Ok(report) => {
                known = report.findings.iter().map(|finding| finding.sign()).collect();
                rest = if report.left() > 0 { every.min(AGAIN_AFTER) } else { every };
                record(&config, &report);
            }
            // Left to the next time.
            Err(error @ Failure::Busy(_)) => tracing::info!(%error, "another process compares"),
            Err(error) => {
                failures.inc();
                tracing::warn!(%error, "the auditor could not compare everything");
            }
        }
    }
}

async fn look(config: &Config, known: HashSet<Sign>) -> Result<Report, Failure> {
    let auditor = Auditor::new(config, PATIENCE)?.in_the_background(config.audit.events_per_second);
    let auditor = auditor.at_depth(Depth::New(config.audit.whole_interval));
    let operator = Operator::new(Some("auditor"), "wrong in two looks");
    let mut repairs = RepairScope::known(operator, known, config.audit.repairs_max);
    let mut report = Report::default();
    auditor.look(&Scope::everything(config), Some(&mut repairs), &mut report).await?;
    Ok(report)
}

fn record(config: &Config, report: &Report) {
    for what in What::ALL {
        let found = report.findings.iter().filter(|finding| finding.what == what).count();
        let found = i64::try_from(found).unwrap_or(i64::MAX);
        metrics::AUDIT_FINDINGS.with_label_values(&[what.as_str()]).set(found);
    }
    let namespace = config.namespace.to_string();
    metrics::AUDIT_WRONG.with_label_values(&[namespace.as_str()]).set(report.wrong_percent());
    let repaired = u64::try_from(report.repaired).unwrap_or_default();
    metrics::AUDIT_REPAIRS.with_label_values(&[namespace.as_str()]).inc_by(repaired);
    metrics::AUDIT_ENDED.with_label_values(&[namespace.as_str()]).set(Utc::now().timestamp());
    if !report.findings.is_empty() {
        let left = report.left();
        tracing::error!(left, repaired, "stored data differs from the outbox: `millrace verify` shows what");
    }
}
