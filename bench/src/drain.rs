//! Throughput: one stage drains an existing backlog, with the machine to itself.

pub(crate) mod corpus;
mod hot;
pub(crate) mod index;
pub(crate) mod offsets;
mod plain;
mod poison;
mod search;
pub(crate) mod verify;

use anyhow::{Context as _, Result, ensure};
use millrace_testkit::Running;
use serde::Serialize;
use serde_json::json;

use crate::cli::{Backlog, Commands, Order, View, Views};
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::load::{customers, orders};
use crate::preload;
use crate::report::{Report, median, whole};
pub(crate) use hot::hot;
use offsets::{Offsets, Side};
pub(crate) use poison::poison;
pub(crate) use search::search;
use verify::Expected;

const COLUMNS: [&str; 12] = [
    "case",
    "run",
    "records",
    "seconds",
    "records/s",
    "batch",
    "cpu: millrace",
    "postgres",
    "elasticsearch",
    "kafka",
    "records per cpu-s",
    "peak MB",
];

/// One role with its backlog.
struct Task<'t> {
    /// The row's name in the table.
    case: String,
    roles: Vec<&'t str>,
    side: Side,
    records: u64,
    settings: Vec<String>,
    /// The processes whose CPU time counts as this stage's.
    counted: &'t [&'t str],
}

/// The result of a drain.
#[derive(Debug, Clone, Serialize)]
struct Drained {
    case: String,
    run: u32,
    records: f64,
    seconds: f64,
    per_second: f64,
    /// Documents that Elasticsearch took in this time.
    documents: f64,
    /// Records in a transaction, on average; documents in a request of the plain loop.
    batch: f64,
    cpu: Seconds,
    per_cpu_second: f64,
    peak_mb: Option<f64>,
    /// Spans that a collector has taken, and those that were dropped.
    spans: [f64; 2],
}

/// The state at one moment of a drain.
struct Moment {
    at: std::time::Instant,
    records: u64,
    documents: f64,
    batches: f64,
    spans: [f64; 2],
    cpu: Seconds,
}

/// Decides a backlog of customers' commands.
pub(crate) async fn commands(instance: &Instance, Commands { backlog, traced }: &Commands) -> Result<Report> {
    let streams = backlog.records / customers::VERSIONS;
    let mut drained = Vec::new();
    for run in 1..=backlog.runs {
        instance.recreate().await?;
        instance.stop_debezium().await?;
        preload::traced_customer_commands(instance, 0..streams, backlog.order, *traced).await?;
        let task = Task {
            case: commands_case(backlog.order, *traced),
            roles: vec!["commands"],
            side: Side::Write,
            records: streams * customers::VERSIONS,
            settings: Vec::new(),
            counted: &["millrace", "postgres"],
        };
        drained.push(task.drain(instance, run).await?);
        verify::commands(instance, streams).await?;
    }
    let title = format!(
        "Deciding a backlog of {} commands of {} customers",
        whole(streams as f64 * 4.0),
        whole(streams as f64)
    );
    Ok(report(instance, title, &drained))
}

fn commands_case(order: Order, traced: Option<u64>) -> String {
    let traced = traced.map(|percent| format!(", {percent} % sampled")).unwrap_or_default();
    format!("commands, {}{traced}", order.name())
}

/// Folds a backlog of events into each view.
pub(crate) async fn views(instance: &Instance, options: &Views) -> Result<Report> {
    let mut drained = Vec::new();
    for view in &options.views {
        for run in 1..=options.backlog.runs {
            drained.push(fold(instance, *view, &options.backlog, run).await?);
        }
    }
    let title = format!(
        "Folding a backlog of {} events into a view in Postgres",
        whole(options.backlog.records as f64)
    );
    Ok(report(instance, title, &drained))
}

async fn fold(instance: &Instance, view: View, backlog: &Backlog, run: u32) -> Result<Drained> {
    let expected = Expected::of(view, backlog.records);
    prepare(instance, view, expected.streams, backlog.order).await?;
    let task = Task {
        case: format!("{}, {}", view.name(), backlog.order.name()),
        roles: vec!["view", view.name()],
        side: Side::Read,
        records: expected.events,
        settings: vec!["elasticsearch.publish=false".to_owned()],
        counted: &["millrace", "postgres"],
    };
    let drained = task.drain(instance, run).await?;
    expected.check(instance).await?;
    Ok(drained)
}

async fn prepare(instance: &Instance, view: View, streams: u64, order: Order) -> Result<()> {
    instance.recreate().await?;
    instance.stop_debezium().await?;
    match view {
        View::Customers => preload::customer_events(instance, 0..streams, order).await,
        View::SalesDaily | View::Orders => preload::order_events(instance, 0..streams, order).await,
    }
}

impl Task<'_> {
    /// Starts the role and measures from the first partition that is claimed to the last commit.
    async fn drain(&self, instance: &Instance, run: u32) -> Result<Drained> {
        eprintln!("{}: run {run}", self.case);
        let mut offsets = Offsets::watch(instance, self.side, self.roles.last().unwrap_or(&"")).await?;
        let mut running = instance.start(&self.roles, &self.settings).await?;
        let components =
            Components::find(&instance.stack).with("millrace", running.pid()).without(offsets.backend());
        let first = offsets.claimed(&mut running).await?;
        let first = self.moment(first, &running, &components).await?;
        ensure!(
            first.records <= self.records / 4 * 3,
            "{} of {} records were applied before the first look: drain more",
            first.records,
            self.records
        );
        let last = offsets.at_least(self.records, &mut running).await?;
        let last = self.moment(last, &running, &components).await?;
        let peak_mb = running.memory()?.peak_mb;
        ensure!(
            last.records == self.records,
            "{} records were applied, {} were sent",
            last.records,
            self.records
        );
        running.stop()?;
        Ok(self.drained(run, &first, &last, peak_mb))
    }

    async fn moment(
        &self,
        seen: offsets::Seen,
        running: &Running,
        components: &Components,
    ) -> Result<Moment> {
        let cpu = components.used()?;
        let metrics = running.metrics().await?;
        let documents = metrics.sum("millrace_documents_published_total", &[]);
        let batches = metrics.sum("millrace_batch_records_count", &[]);
        let spans =
            ["exported", "dropped"].map(|what| metrics.sum(&format!("millrace_spans_{what}_total"), &[]));
        Ok(Moment { at: seen.at, records: seen.records, documents, batches, spans, cpu })
    }

    fn drained(&self, run: u32, first: &Moment, last: &Moment, peak_mb: f64) -> Drained {
        let records = (last.records - first.records) as f64;
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let cpu = cpu::between(&first.cpu, &last.cpu);
        let counted: f64 = self.counted.iter().filter_map(|name| cpu.get(name)).sum();
        Drained {
            case: self.case.clone(),
            run,
            records,
            seconds,
            per_second: records / seconds,
            documents: last.documents - first.documents,
            batch: last.records as f64 / last.batches.max(1.0),
            per_cpu_second: records / counted,
            cpu,
            peak_mb: Some(peak_mb),
            spans: last.spans,
        }
    }
}

impl Drained {
    /// Those that wait for the collector at the end are in neither number.
    fn told_of_spans(&self) -> String {
        let [taken, dropped] = self.spans.map(whole);
        format!(
            "{}, run {}: {taken} spans were taken by the collector until the end, {dropped} dropped",
            self.case, self.run
        )
    }

    fn row(&self) -> Vec<String> {
        let cpu = |name: &str| {
            self.cpu.get(name).map_or_else(String::new, |seconds| format!("{:.2}", seconds.max(0.0)))
        };
        vec![
            self.case.clone(),
            self.run.to_string(),
            whole(self.records),
            format!("{:.2}", self.seconds),
            whole(self.per_second),
            whole(self.batch),
            cpu("millrace"),
            cpu("postgres"),
            cpu("elasticsearch"),
            cpu("kafka"),
            whole(self.per_cpu_second),
            self.peak_mb.map_or_else(String::new, whole),
        ]
    }
}

/// Each run, and the median of each case.
fn report(instance: &Instance, title: String, drained: &[Drained]) -> Report {
    let mut notes = vec![
        medians(drained),
        "Debezium's connector was stopped; CPU time of the measurement itself is left out.".to_owned(),
    ];
    notes.extend(drained.iter().filter(|run| run.spans != [0.0; 2]).map(Drained::told_of_spans));
    let figures = json!({"settings": instance.settings(), "runs": drained});
    Report {
        title,
        columns: COLUMNS.to_vec(),
        rows: drained.iter().map(Drained::row).collect(),
        notes,
        figures,
    }
}

fn medians(drained: &[Drained]) -> String {
    let mut cases: Vec<&str> = drained.iter().map(|run| run.case.as_str()).collect();
    cases.dedup();
    let line = |case: &str| {
        let of =
            |figure: fn(&Drained) -> f64| median(drained.iter().filter(|run| run.case == case).map(figure));
        let (speed, frugality) = (of(|run| run.per_second), of(|run| run.per_cpu_second));
        format!("median of {case}: {} records/s, {} records per CPU-second", whole(speed), whole(frugality))
    };
    cases.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Where the read models' figures are checked.
async fn read_side(instance: &Instance) -> Result<sqlx::PgConnection> {
    crate::stack::database(instance.stack.read_database_url()).await.context("the read side")
}

/// Whole streams of a backlog.
fn streams_of(view: View, records: u64) -> u64 {
    match view {
        View::Customers => records / customers::VERSIONS,
        View::SalesDaily | View::Orders => records / orders::VERSIONS,
    }
}
