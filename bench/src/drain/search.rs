//! Events into Elasticsearch, in turns with a plain `_bulk` loop over the same documents.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::offsets::Side;
use super::plain::Loop;
use super::{COLUMNS, Drained, Task};
use crate::cli::{Backlog, Index, Search};
use crate::instance::Instance;
use crate::load::customers;
use crate::preload;
use crate::report::{Report, spread, whole};

const QUIET_LOOKS: u32 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Millrace's run and the plain loop's after it.
struct Pair {
    millrace: Drained,
    plain: Drained,
}

/// Measures each index.
pub(crate) async fn search(instance: &Instance, options: &Search) -> Result<Report> {
    let mut pairs = Vec::new();
    for index in &options.indices {
        pairs.extend(pairs_of(instance, *index, options).await?);
    }
    let runs: Vec<&Drained> = pairs.iter().flat_map(|pair| [&pair.millrace, &pair.plain]).collect();
    let title =
        format!("Indexing a backlog of {} events in Elasticsearch", whole(options.backlog.records as f64));
    let figures = json!({"settings": instance.settings(), "runs": runs, "ratios": pairs.iter().map(Pair::ratio).collect::<Vec<_>>()});
    let rows = runs.into_iter().map(Drained::row).collect();
    let notes = vec![
        ratios(&pairs),
        format!(
            "The plain loop sends the same documents, encoded before, {} a request over {} connection(s); its records are \
             documents, and the CPU time under `millrace` is its own.",
            options.plain_documents, options.plain_connections
        ),
    ];
    Ok(Report { title, columns: COLUMNS.to_vec(), rows, notes, figures })
}

/// The first run of both warms Elasticsearch up and does not count; it also yields the documents.
async fn pairs_of(instance: &Instance, index: Index, options: &Search) -> Result<Vec<Pair>> {
    let warm_up = drain(instance, index, &options.backlog, 0).await?;
    let corpus = Corpus::read(instance, &instance.alias(index.name())).await?;
    let plain = Loop::new(instance, index.name(), &corpus, &warm_up, options);
    plain.run(0).await?;
    let mut pairs = Vec::new();
    for run in 1..=options.backlog.runs {
        let millrace = drain(instance, index, &options.backlog, run).await?;
        quiet(instance).await?;
        let plain = plain.run(run).await?;
        pairs.push(Pair { millrace, plain });
    }
    Ok(pairs)
}

async fn drain(instance: &Instance, index: Index, backlog: &Backlog, run: u32) -> Result<Drained> {
    let streams = backlog.records / customers::VERSIONS;
    instance.recreate().await?;
    instance.stop_debezium().await?;
    preload::customer_events(instance, 0..streams, backlog.order).await?;
    quiet(instance).await?;
    let task = Task {
        case: format!("{}, {}", index.name(), backlog.order.name()),
        roles: vec!["view", index.name()],
        side: Side::Search,
        records: streams * customers::VERSIONS,
        settings: Vec::new(),
        counted: &["millrace", "postgres", "elasticsearch"],
    };
    let drained = task.drain(instance, run).await?;
    let documents = if index == Index::Events { task.records } else { streams };
    let versions =
        if index == Index::Events { streams * (1..=customers::VERSIONS).sum::<u64>() } else { task.records };
    check(instance, &instance.alias(index.name()), documents, versions).await?;
    Ok(drained)
}

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

impl Pair {
    /// Documents a second against documents a second.
    fn ratio(&self) -> f64 {
        self.millrace.documents / self.millrace.seconds / self.plain.per_second
    }
}

fn ratios(pairs: &[Pair]) -> String {
    let mut cases: Vec<&str> = pairs.iter().map(|pair| pair.millrace.case.as_str()).collect();
    cases.dedup();
    let line = |case: &str| {
        let of: Vec<f64> = pairs.iter().filter(|pair| pair.millrace.case == case).map(Pair::ratio).collect();
        format!("{case}: {} of the plain loop's documents a second", spread(&of))
    };
    cases.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
