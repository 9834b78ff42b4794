//! Our settings of the connector against Debezium's defaults: from the commit of an outbox row to its record.

mod topic;
mod written;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Cdc;
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::latency::milliseconds;
use crate::load::intended;
use crate::report::{Report, median, spread, whole};
use topic::Topic;
use written::Outbox;

const COLUMNS: [&str; 10] = [
    "settings",
    "round",
    "p50 ms",
    "p99 ms",
    "max ms",
    "records",
    "records/s",
    "cpu: connect",
    "postgres",
    "records per cpu-s",
];

/// What `connectors/outbox.json` sets for speed; everything else is there to make the same records.
const TUNED: [&str; 8] = [
    "poll.interval.ms",
    "max.batch.size",
    "max.queue.size",
    "extended.headers.enabled",
    "producer.override.enable.idempotence",
    "producer.override.linger.ms",
    "producer.override.batch.size",
    "producer.override.compression.type",
];
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Settings {
    Ours,
    Defaults,
    /// Ours once more, for the noise.
    Again,
}

/// What one of them did.
#[derive(Debug, Serialize)]
struct Run {
    settings: Settings,
    round: u32,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    records: f64,
    per_second: f64,
    cpu: Seconds,
    per_cpu_second: f64,
    digest: u64,
}

/// Measures both in turns.
pub(crate) async fn cdc(instance: &Instance, options: &Cdc) -> Result<Report> {
    let mut runs: Vec<Run> = Vec::new();
    for round in 1..=options.pairs {
        for settings in [Settings::Ours, Settings::Defaults, Settings::Again] {
            eprintln!("round {round}: {}", settings.name());
            let run = measure(instance, options, settings, round).await?;
            let first = runs.first().unwrap_or(&run);
            ensure!(run.digest == first.digest, "{settings:?} made other records");
            runs.push(run);
        }
    }
    Ok(report(instance, options, &runs))
}

async fn measure(instance: &Instance, options: &Cdc, settings: Settings, round: u32) -> Result<Run> {
    instance.recreate().await?;
    if settings == Settings::Defaults {
        take_tuning_out(instance).await?;
    }
    let (mut topic, mut outbox) = (Topic::open(instance)?, Outbox::open(instance).await?);
    let latency = latency(options, &mut topic, &mut outbox).await?;
    let components = Components::find(&instance.stack);
    backlog(instance, options, &mut outbox).await?;
    let from = moment(topic.take(options.warm_up).await?, &components)?;
    let to = moment(topic.take(options.records).await?, &components)?;
    let (seconds, cpu) = (to.0.duration_since(from.0).as_secs_f64(), cpu::between(&from.1, &to.1));
    let counted: f64 = ["connect", "postgres"].iter().filter_map(|name| cpu.get(name)).sum();
    let records = options.records as f64;
    Ok(Run {
        settings,
        round,
        p50_ms: milliseconds(latency.value_at_quantile(0.5)),
        p99_ms: milliseconds(latency.value_at_quantile(0.99)),
        max_ms: milliseconds(latency.max()),
        records,
        per_second: records / seconds,
        cpu,
        per_cpu_second: records / counted,
        digest: topic.digest(),
    })
}

/// Takes what is tuned out of the connector's settings, and waits until it runs with what is left.
pub(super) async fn take_tuning_out(instance: &Instance) -> Result<()> {
    let path = format!("connectors/{}_outbox/config", instance.namespace);
    let mut config = instance.stack.connect(Method::GET, &path, None).await?;
    if let Some(config) = config.as_object_mut() {
        config.retain(|name, _| !TUNED.contains(&name.as_str()));
    }
    instance.stack.connect(Method::PUT, &path, Some(&config)).await?;
    running(instance).await
}

async fn running(instance: &Instance) -> Result<()> {
    let path = format!("connectors/{}_outbox/status", instance.namespace);
    let until = Instant::now() + STARTS_WITHIN;
    loop {
        let status = instance.stack.connect(Method::GET, &path, None).await.unwrap_or_default();
        if status.pointer("/tasks/0/state").and_then(Value::as_str) == Some("RUNNING") {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the connector does not run: {status}");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// From the return of each commit until its record is here. An open loop; what is written first awaits the start.
async fn latency(options: &Cdc, topic: &mut Topic, outbox: &mut Outbox<'_>) -> Result<Histogram<u64>> {
    outbox.write(1).await?;
    topic.take(1).await?;
    let (warm_up, all) = (options.rate * options.quiet, options.rate * (options.quiet + options.seconds));
    let (mut committed, began) = (HashMap::new(), Instant::now());
    for number in 0..all {
        let intended = intended(began, number, options.rate);
        tokio::time::sleep_until(intended.into()).await;
        let id = outbox.write(1).await?;
        committed.insert(id, (Instant::now(), number >= warm_up));
    }
    let mut latency = Histogram::new(3)?;
    for arrival in topic.take(u64::from(all)).await? {
        let Some((at, true)) = committed.get(&arrival.id) else { continue };
        let micros = arrival.at.saturating_duration_since(*at).as_micros();
        latency.record(u64::try_from(micros)?)?;
    }
    Ok(latency)
}

/// Writes a backlog while the connector is stopped, and lets it go.
async fn backlog(instance: &Instance, options: &Cdc, outbox: &mut Outbox<'_>) -> Result<()> {
    instance.stop_debezium().await?;
    outbox.write(options.warm_up + options.records).await?;
    instance.resume_debezium().await
}

fn moment(arrivals: Vec<topic::Arrival>, components: &Components) -> Result<(Instant, Seconds)> {
    Ok((arrivals.last().map_or_else(Instant::now, |last| last.at), components.used()?))
}

fn report(instance: &Instance, options: &Cdc, runs: &[Run]) -> Report {
    let title = format!(
        "From a commit in the outbox to Kafka: {} a second for {} s, then a backlog of {}",
        options.rate,
        options.seconds,
        whole(options.records as f64)
    );
    let notes = vec![
        told(runs, Settings::Defaults),
        told(runs, Settings::Again),
        "The records of all runs are equal in key, value and headers of CloudEvents.".to_owned(),
    ];
    let figures = json!({"settings": instance.settings(), "left_out_for_defaults": TUNED, "runs": runs});
    Report { title, columns: COLUMNS.to_vec(), rows: runs.iter().map(Run::row).collect(), notes, figures }
}

fn told(runs: &[Run], peer: Settings) -> String {
    let ours: Vec<&Run> = runs.iter().filter(|run| run.settings == Settings::Ours).collect();
    let by = |figure: fn(&Run) -> f64| {
        let theirs = runs.iter().filter(|run| run.settings == peer);
        spread(&ours.iter().zip(theirs).map(|(a, b)| figure(a) / figure(b)).collect::<Vec<_>>())
    };
    let p50 = median(runs.iter().filter(|run| run.settings == peer).map(|run| run.p50_ms));
    format!(
        "ours against {} (p50 {p50:.1} ms), median (range) of {}: latency p50 {}, p99 {}; records/s {}; per CPU-second of \
         Connect and Postgres {}",
        peer.name(),
        ours.len(),
        by(|run| run.p50_ms),
        by(|run| run.p99_ms),
        by(|run| run.per_second),
        by(|run| run.per_cpu_second),
    )
}

impl Settings {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Defaults => "defaults",
            Self::Again => "ours again",
        }
    }
}

impl Run {
    fn row(&self) -> Vec<String> {
        let cpu = |name: &str| self.cpu.get(name).map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        vec![
            self.settings.name().to_owned(),
            self.round.to_string(),
            format!("{:.1}", self.p50_ms),
            format!("{:.1}", self.p99_ms),
            format!("{:.1}", self.max_ms),
            whole(self.records),
            whole(self.per_second),
            cpu("connect"),
            cpu("postgres"),
            whole(self.per_cpu_second),
        ]
    }
}
