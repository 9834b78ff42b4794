//! What an index holds, and when it is at rest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::instance::Instance;

const QUIET_LOOKS: u32 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The index holds this many documents, whose versions add up to this.
pub(crate) async fn check(instance: &Instance, index: &str, documents: u64, versions: u64) -> Result<()> {
    instance.stack.elasticsearch(Method::POST, &format!("{index}/_refresh"), None).await?;
    let question =
        json!({"size": 0, "track_total_hits": true, "aggs": {"versions": {"sum": {"field": "version"}}}});
    let found =
        instance.stack.elasticsearch(Method::POST, &format!("{index}/_search"), Some(&question)).await?;
    let count = found.pointer("/hits/total/value").and_then(Value::as_u64).context("no count")?;
    let sum = found.pointer("/aggregations/versions/value").and_then(Value::as_f64).context("no sum")?;
    let right = count == documents && (sum - versions as f64).abs() < 0.5;
    ensure!(right, "{index} holds {count} documents of versions {sum}, not {documents} of {versions}");
    Ok(())
}

/// Waits until no segments are merged any more.
pub(crate) async fn quiet(instance: &Instance) -> Result<()> {
    for _ in 0..QUIET_LOOKS {
        let path = "_stats/merge?filter_path=_all.total.merges.current";
        let stats = instance.stack.elasticsearch(Method::GET, path, None).await?;
        if stats.pointer("/_all/total/merges/current").and_then(Value::as_u64) == Some(0) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
