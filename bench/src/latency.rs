//! Latency: an open loop of commands with every role running, each measured from the time at which it was meant to be
//! sent.

pub(crate) mod probe;
pub(crate) mod sender;
mod stages;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use millrace_testkit::{Memory, Running};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Latency;
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::memory;
use crate::report::Report;
use probe::{Mark, Marks, Probe, Watched};
use sender::Pace;

const COLUMNS: [&str; 7] = [
    "from the intended time of sending until",
    "commands",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "mean ms",
];

/// Everything that was measured.
struct Outcome {
    late: Histogram<u64>,
    watched: Vec<(&'static str, Watched)>,
    stages: Vec<stages::Stage>,
    memory: Memory,
    /// Resident memory in MB in each tenth of the time.
    course: Vec<f64>,
    cpu: Seconds,
    seconds: f64,
}

/// Measures a fresh instance.
pub(crate) async fn measure(instance: &Instance, options: &Latency) -> Result<Report> {
    instance.recreate().await?;
    stages::stamp_when_appended(instance).await?;
    let mut running = instance.start(&[], &[]).await?;
    let outcome = run(instance, options, &running).await;
    running.check()?;
    let outcome = outcome?;
    running.stop()?;
    verify(instance, options, &outcome).await?;
    Ok(report(instance, options, &outcome))
}

/// From the intended time of each command of an open loop until its row is committed by the group of a role, whose mark is
/// moved by the same transaction.
pub(crate) async fn of_rows(instance: &Instance, pace: &Pace, role: &str) -> Result<Watched> {
    let (mark, marks) = Probe::start(Marks::connect(instance, role, Mark::Applied).await?);
    sender::send(instance, pace, Vec::new(), mark).await?;
    marks.finish().await
}

async fn run(instance: &Instance, options: &Latency, running: &Running) -> Result<Outcome> {
    let mut components = Components::find(&instance.stack).with("millrace", running.pid());
    let (rows, marks) = (
        probe::Rows::connect(instance).await?,
        Marks::connect(instance, "customers", Mark::Published).await?,
    );
    components = components.without(rows.backend()).without(marks.backend());
    let (row, rows) = Probe::start(rows);
    let (document, documents) = Probe::start(probe::Documents::new(instance));
    let (mark, marks) = Probe::start(marks);
    let (before, began) = (components.used()?, Instant::now());
    let course = memory::Course::watch(running.pid());
    let pace = Pace { rate: options.rate, quiet: options.warm_up, seconds: options.seconds, first: 0 };
    let late = sender::send(instance, &pace, vec![row, document], mark).await?;
    let (rows, documents, marks) = (rows.finish().await?, documents.finish().await?, marks.finish().await?);
    let (cpu, seconds) = (cpu::between(&before, &components.used()?), began.elapsed().as_secs_f64());
    let (course, _) = course.finish();
    let stages = stages::of(instance, &rows.seen, &documents.seen).await?;
    let watched = vec![
        ("row readable in Postgres", rows),
        ("document readable in Elasticsearch", documents),
        ("Elasticsearch's answer recorded", marks),
    ];
    Ok(Outcome { late, watched, stages, memory: running.memory()?, course, cpu, seconds })
}

/// Every command that was sent is a row and a document.
async fn verify(instance: &Instance, options: &Latency, outcome: &Outcome) -> Result<()> {
    let sent = u64::from(options.rate) * u64::from(options.warm_up + options.seconds);
    for (what, watched) in &outcome.watched {
        ensure!(watched.missing == 0, "{} commands never got to: {what}", watched.missing);
    }
    let index = instance.alias("customers");
    instance.stack.elasticsearch(Method::POST, &format!("{index}/_refresh"), None).await?;
    let found = instance.stack.elasticsearch(Method::GET, &format!("{index}/_count"), None).await?;
    let count = found.get("count").and_then(Value::as_u64);
    ensure!(count == Some(sent), "{count:?} documents of {sent}");
    Ok(())
}

fn report(instance: &Instance, options: &Latency, outcome: &Outcome) -> Report {
    let mut rows: Vec<Vec<String>> =
        outcome.watched.iter().map(|(what, watched)| row(what, &watched.latency)).collect();
    rows.push(row("(the command handed to Kafka's client)", &outcome.late));
    let notes = vec![probes(outcome), stages_told(outcome), footprint(outcome)];
    let watched: Vec<Value> = outcome
        .watched
        .iter()
        .map(|(what, w)| {
            json!({
                "until": what, "latency_ms": figures(&w.latency), "look_period_ms": figures(&w.period),
            })
        })
        .collect();
    let figures = json!({
        "settings": instance.settings(), "rate": options.rate, "seconds": options.seconds, "warm_up": options.warm_up,
        "latencies": watched, "lateness_ms": figures(&outcome.late), "stages_ms": outcome.stages, "memory": outcome.memory,
        "memory_by_tenths_mb": outcome.course,
        "cpu_seconds": outcome.cpu, "over_seconds": outcome.seconds,
    });
    let title = format!(
        "{} commands a second for {} s after {} s of warm-up, every role running",
        options.rate, options.seconds, options.warm_up
    );
    Report { title, columns: COLUMNS.to_vec(), rows, notes, figures }
}

fn row(what: &str, latency: &Histogram<u64>) -> Vec<String> {
    let mut row = vec![what.to_owned(), latency.len().to_string()];
    let at = |quantile: f64| format!("{:.1}", milliseconds(latency.value_at_quantile(quantile)));
    row.extend([at(0.5), at(0.99), at(0.999), format!("{:.1}", milliseconds(latency.max()))]);
    row.push(format!("{:.1}", latency.mean() / 1_000.0));
    row
}

fn figures(histogram: &Histogram<u64>) -> Value {
    let at = |quantile: f64| milliseconds(histogram.value_at_quantile(quantile));
    json!({
        "count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
        "max": milliseconds(histogram.max()), "mean": histogram.mean() / 1_000.0,
    })
}

/// Microseconds, as histograms hold them, in milliseconds.
pub(crate) fn milliseconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64() * 1_000.0
}

/// Something is seen at the first look after it happened: half a period late on average, a period at most.
fn probes(outcome: &Outcome) -> String {
    let line = |(what, watched): &(&str, Watched)| {
        let at = |quantile: f64| milliseconds(watched.period.value_at_quantile(quantile));
        format!("{what}: looked every {:.1} ms (p99 {:.1} ms)", at(0.5), at(0.99))
    };
    let lines: Vec<String> = outcome.watched.iter().map(line).collect();
    format!("Share of the measurement, half a period on average and a period at most:\n{}", lines.join("\n"))
}

fn stages_told(outcome: &Outcome) -> String {
    let line = |(what, [p50, p99, max]): &stages::Stage| {
        format!("{what}: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
    };
    let lines: Vec<String> = outcome.stages.iter().map(line).collect();
    format!("On the way, by the clocks in receipts and records:\n{}", lines.join("\n"))
}

fn footprint(outcome: &Outcome) -> String {
    let Memory { now_mb, peak_mb } = outcome.memory;
    format!(
        "Resident memory of millrace run: {now_mb:.0} MB, at most {peak_mb:.0} MB. CPU of one processor: {}.\n{}",
        cpu::told(&outcome.cpu, outcome.seconds),
        memory::told(&outcome.course)
    )
}
