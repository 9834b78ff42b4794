//! Events into Elasticsearch, in turns with a plain `_bulk` loop over the same documents.

use anyhow::Result;
use serde_json::json;

use super::corpus::Corpus;
use super::index::{check, quiet};
use super::offsets::Side;
use super::plain::Loop;
use super::{COLUMNS, Drained, Task};
use crate::cli::{Backlog, Index, Search};
use crate::instance::Instance;
use crate::load::customers;
use crate::preload;
use crate::report::{Report, spread, whole};

/// Millrace's run, the plain loop's after it, and Millrace's again, for the noise.
struct Turn {
    millrace: Drained,
    plain: Drained,
    again: Drained,
}

/// Measures each index.
pub(crate) async fn search(instance: &Instance, options: &Search) -> Result<Report> {
    let mut turns = Vec::new();
    for index in &options.indices {
        turns.extend(turns_of(instance, *index, options).await?);
    }
    let runs: Vec<&Drained> =
        turns.iter().flat_map(|turn| [&turn.millrace, &turn.plain, &turn.again]).collect();
    let title =
        format!("Indexing a backlog of {} events in Elasticsearch", whole(options.backlog.records as f64));
    let figures = json!({"settings": instance.settings(), "runs": runs, "ratios": turns.iter().map(Turn::by_plain).collect::<Vec<_>>()});
    let rows = runs.into_iter().map(Drained::row).collect();
    let notes = vec![
        ratios(&turns),
        format!(
            "The plain loop sends the same documents, encoded before, {} a request over {} connection(s); its records are \
             documents, and the CPU time under `millrace` is its own.",
            options.plain_documents, options.plain_connections
        ),
    ];
    Ok(Report { title, columns: COLUMNS.to_vec(), rows, notes, figures })
}

/// The first run of both warms Elasticsearch up and does not count; it also yields the documents, which all others must
/// leave too.
async fn turns_of(instance: &Instance, index: Index, options: &Search) -> Result<Vec<Turn>> {
    let (alias, backlog) = (instance.alias(index.name()), &options.backlog);
    let warm_up = drain(instance, index, backlog, 0).await?;
    let corpus = Corpus::read(instance, &alias).await?;
    let plain = Loop::new(instance, index.name(), &corpus, &warm_up, options);
    plain.run(0).await?;
    let millrace = async |run| {
        let drained = drain(instance, index, backlog, run).await?;
        corpus.is_equal_to(&Corpus::read(instance, &alias).await?)?;
        quiet(instance).await?;
        anyhow::Ok(drained)
    };
    let mut turns = Vec::new();
    for run in 1..=backlog.runs {
        let (first, plain, again) = (millrace(run).await?, plain.run(run).await?, millrace(run).await?);
        turns.push(Turn { millrace: first, plain, again });
    }
    Ok(turns)
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

impl Turn {
    /// Documents a second against documents a second.
    fn by_plain(&self) -> f64 {
        self.millrace.documents / self.millrace.seconds / self.plain.per_second
    }

    fn by_itself(&self) -> f64 {
        self.again.seconds / self.millrace.seconds
    }
}

fn ratios(turns: &[Turn]) -> String {
    let mut cases: Vec<&str> = turns.iter().map(|turn| turn.millrace.case.as_str()).collect();
    cases.dedup();
    let line = |case: &str| {
        let of = |ratio: fn(&Turn) -> f64| {
            let turns = turns.iter().filter(|turn| turn.millrace.case == case);
            spread(&turns.map(ratio).collect::<Vec<_>>())
        };
        let (plain, itself) = (of(Turn::by_plain), of(Turn::by_itself));
        format!("{case}: {plain} of the plain loop's documents a second; {itself} of its own a moment later")
    };
    cases.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
