//! Reading under load: what people ask at a steady pace while commands arrive at theirs, every role running. Both are open
//! loops: what is late counts from the time at which it was meant to begin.

mod load;
mod questions;

use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use millrace_testkit::{Memory, Running};
use serde_json::{Value, json};

use crate::cli::Reading;
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::latency::milliseconds;
use crate::latency::probe::{Found, Probe, Rows, Watched};
use crate::report::Report;
use questions::{Answered, Question};

const COLUMNS: [&str; 6] = ["from the intended time until", "times", "p50 ms", "p95 ms", "p99 ms", "max ms"];

/// Everything that was measured.
struct Outcome {
    answered: Vec<Answered>,
    /// How late each command was handed to Kafka's client.
    late: Histogram<u64>,
    fresh: Watched,
    searchable: Watched,
    memory: Memory,
    cpu: Seconds,
    seconds: f64,
}

/// Measures a fresh instance.
pub(crate) async fn measure(instance: &Instance, options: &Reading) -> Result<Report> {
    instance.recreate().await?;
    let mut running = instance.start(&[], &[]).await?;
    load::prepare(instance).await?;
    let outcome = run(instance, options, &running).await;
    running.check()?;
    let outcome = outcome?;
    instance.millrace(&["status", "--wait", "10m"]).await?;
    running.stop()?;
    verify(&outcome)?;
    Ok(report(instance, options, &outcome))
}

async fn run(instance: &Instance, options: &Reading, running: &Running) -> Result<Outcome> {
    let rows = Rows::connect(instance).await?;
    let components =
        Components::find(&instance.stack).with("millrace", running.pid()).without(rows.backend());
    let ((row, rows), (hit, hits)) = (Probe::start(rows), Probe::start(Found::new(instance)));
    let (before, began) = (components.used()?, Instant::now());
    let reading: Vec<_> = Question::ALL
        .map(|question| tokio::spawn(questions::ask(instance.clone(), question, *options)))
        .into();
    let late = load::arrive(instance, options, [row, hit]).await?;
    let mut answered = Vec::new();
    for reader in reading {
        answered.push(reader.await??);
    }
    let (cpu, seconds) = (cpu::between(&before, &components.used()?), began.elapsed().as_secs_f64());
    let (fresh, searchable) = (rows.finish().await?, hits.finish().await?);
    Ok(Outcome { answered, late, fresh, searchable, memory: running.memory()?, cpu, seconds })
}

/// Every question had an answer, and everything that was sent has arrived.
fn verify(outcome: &Outcome) -> Result<()> {
    for answered in &outcome.answered {
        ensure!(answered.empty == 0, "{}: {} answers were empty", answered.question.name(), answered.empty);
    }
    let late = outcome.fresh.missing + outcome.searchable.missing;
    ensure!(
        late == 0,
        "{late} new customers were not readable or not found in time: the machine is too slow for this rate"
    );
    Ok(())
}

fn report(instance: &Instance, options: &Reading, outcome: &Outcome) -> Report {
    let answers = outcome.answered.iter().map(|answered| (answered.question.name(), &answered.latency));
    let fresh = ("a new customer can be read (SQL)", &outcome.fresh.latency);
    let searchable = ("a new customer is found (Elasticsearch)", &outcome.searchable.latency);
    let late = [fresh, searchable, ("(a command is handed to Kafka's client)", &outcome.late)];
    let all: Vec<(&str, &Histogram<u64>)> = answers.chain(late).collect();
    let rows = all.iter().map(|(what, latency)| row(what, latency)).collect();
    let figures: Vec<Value> = all.iter().map(|(what, latency)| figures(what, latency)).collect();
    let Reading { rate, seconds, warm_up, questions, .. } = *options;
    let title = format!(
        "{questions} questions of each kind a second while {rate} commands a second arrive, for {seconds} s after {warm_up} s of warm-up"
    );
    let figures = json!({
        "settings": instance.settings(), "rate": rate, "seconds": seconds, "warm_up": warm_up, "questions": questions,
        "latencies_ms": figures, "memory": outcome.memory, "cpu_seconds": outcome.cpu, "over_seconds": outcome.seconds,
    });
    Report { title, columns: COLUMNS.to_vec(), rows, notes: vec![footprint(outcome)], figures }
}

fn row(what: &str, latency: &Histogram<u64>) -> Vec<String> {
    let at = |quantile: f64| format!("{:.1}", milliseconds(latency.value_at_quantile(quantile)));
    let longest = format!("{:.1}", milliseconds(latency.max()));
    vec![what.to_owned(), latency.len().to_string(), at(0.5), at(0.95), at(0.99), longest]
}

fn figures(what: &str, latency: &Histogram<u64>) -> Value {
    let at = |quantile: f64| milliseconds(latency.value_at_quantile(quantile));
    json!({
        "until": what, "count": latency.len(), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99),
        "max": milliseconds(latency.max()),
    })
}

fn footprint(outcome: &Outcome) -> String {
    let Memory { now_mb, peak_mb } = outcome.memory;
    let cpu = cpu::told(&outcome.cpu, outcome.seconds);
    format!(
        "Resident memory of millrace run: {now_mb:.0} MB, at most {peak_mb:.0} MB. CPU of one processor: {cpu}."
    )
}
