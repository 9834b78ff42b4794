//! Millrace's settings of the connector compared with Debezium's defaults: latency from the commit of an outbox row to its
//! record.

mod topic;
mod written;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::loops::{self, Loop};
use crate::cli::Cdc;
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::latency::probe::microseconds;
use crate::load::intended;
use crate::report::{Report, spread, whole};
use topic::Topic;
use written::Outbox;

const COLUMNS: [&str; 7] =
    ["settings", "round", "records", "records/s", "cpu: connect", "postgres", "records per cpu-s"];

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

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Settings {
    Ours,
    Defaults,
    /// Millrace's settings again, for the noise.
    Again,
}

/// The results of one contestant.
#[derive(Debug, Serialize)]
struct Run {
    settings: Settings,
    round: u32,
    records: f64,
    per_second: f64,
    cpu: Seconds,
    per_cpu_second: f64,
    loops: Vec<Loop>,
    digest: u64,
}

/// Measures both in turns: rows one by one, and at shares of what the slower of them carries.
pub(crate) async fn cdc(instance: &Instance, options: &Cdc) -> Result<Report> {
    let most = slower(instance, options).await?;
    let share = |percent: &u64| (most * percent / 100 / u64::from(options.rate)).max(1);
    let rows: Vec<u64> = std::iter::once(1).chain(options.shares.iter().map(share)).collect();
    let mut runs: Vec<Run> = Vec::new();
    for round in 1..=options.pairs {
        for settings in [Settings::Ours, Settings::Defaults, Settings::Again] {
            let run = measure(instance, options, settings, round, &rows).await?;
            let first = runs.first().unwrap_or(&run);
            ensure!(run.digest == first.digest, "{settings:?} made other records");
            runs.push(run);
        }
    }
    Ok(report(instance, options, most, &runs))
}

/// The throughput of the slower of both, in rows per second.
async fn slower(instance: &Instance, options: &Cdc) -> Result<u64> {
    let mut slower = f64::INFINITY;
    for settings in [Settings::Ours, Settings::Defaults] {
        slower = slower.min(measure(instance, options, settings, 0, &[]).await?.per_second);
    }
    Ok(slower as u64)
}

/// Latencies with so many rows in each commit, one after another; then a backlog.
async fn measure(
    instance: &Instance,
    options: &Cdc,
    settings: Settings,
    round: u32,
    rows: &[u64],
) -> Result<Run> {
    eprintln!("round {round}: {}", settings.name());
    instance.recreate().await?;
    if settings == Settings::Defaults {
        take_tuning_out(instance).await?;
    }
    let (mut topic, mut outbox) = (Topic::open(instance)?, Outbox::open(instance).await?);
    let mut loops = Vec::new();
    for rows in rows {
        let latency = latency(options, *rows, &mut topic, &mut outbox).await?;
        loops.push(Loop::of(options.rate * u32::try_from(*rows)?, &latency, 0));
    }
    let components = Components::find(&instance.stack);
    backlog(instance, options, &mut outbox).await?;
    let from = moment(topic.take(options.warm_up).await?, &components)?;
    let to = moment(topic.take(options.records).await?, &components)?;
    let (seconds, cpu) = (to.0.duration_since(from.0).as_secs_f64(), cpu::between(&from.1, &to.1));
    let counted: f64 = ["connect", "postgres"].iter().filter_map(|name| cpu.get(name)).sum();
    let records = options.records as f64;
    let (per_second, per_cpu_second) = (records / seconds, records / counted);
    Ok(Run { settings, round, records, per_second, cpu, per_cpu_second, loops, digest: topic.digest() })
}

/// Takes what is tuned out of the connector's settings, and waits until it runs with what is left.
pub(super) async fn take_tuning_out(instance: &Instance) -> Result<()> {
    let path = format!("connectors/{}_outbox/config", instance.name);
    let mut config = instance.stack.connect(Method::GET, &path, None).await?;
    if let Some(config) = config.as_object_mut() {
        config.retain(|name, _| !TUNED.contains(&name.as_str()));
    }
    instance.stack.connect(Method::PUT, &path, Some(&config)).await?;
    running(instance).await
}

async fn running(instance: &Instance) -> Result<()> {
    let path = format!("connectors/{}_outbox/status", instance.name);
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

/// From the return of each commit until the record of its last row is here. An open loop; what is written first awaits
/// the start.
async fn latency(
    options: &Cdc,
    rows: u64,
    topic: &mut Topic,
    outbox: &mut Outbox<'_>,
) -> Result<Histogram<u64>> {
    outbox.write(1).await?;
    topic.take(1).await?;
    let (warm_up, all) = (options.rate * options.quiet, options.rate * (options.quiet + options.seconds));
    let (mut committed, began) = (HashMap::new(), Instant::now());
    for number in 0..all {
        let intended = intended(began, number, options.rate);
        tokio::time::sleep_until(intended.into()).await;
        let id = outbox.write(rows).await?;
        committed.insert(id, (Instant::now(), number >= warm_up));
    }
    let mut latency = Histogram::new(3)?;
    for arrival in topic.take(u64::from(all) * rows).await? {
        let Some((at, true)) = committed.get(&arrival.id) else { continue };
        latency.record(microseconds(arrival.at.saturating_duration_since(*at)))?;
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

fn report(instance: &Instance, options: &Cdc, most: u64, runs: &[Run]) -> Report {
    let title = format!(
        "From a commit in the outbox to Kafka: {} commits a second for {} s, of one row and of so many that it is {:?} % of the \
         {} rows a second that the slower carries; then a backlog of {}",
        options.rate,
        options.seconds,
        options.shares,
        whole(most as f64),
        whole(options.records as f64)
    );
    let notes = vec![
        told(runs, Settings::Defaults),
        told(runs, Settings::Again),
        "The records of all runs are equal in key, value and headers of CloudEvents.".to_owned(),
    ];
    let figures = json!({"settings": instance.settings(), "left_out_for_defaults": TUNED, "slower_carries": most, "runs": runs});
    let columns = [&COLUMNS[..], &loops::COLUMNS].concat();
    Report { title, columns, rows: runs.iter().flat_map(Run::rows).collect(), notes, figures }
}

fn told(runs: &[Run], peer: Settings) -> String {
    let of = |wanted: Settings| runs.iter().filter(move |run| run.settings == wanted);
    let pairs: Vec<(&Run, &Run)> = of(Settings::Ours).zip(of(peer)).collect();
    let by = |figure: fn(&Run) -> f64| {
        spread(&pairs.iter().map(|(a, b)| figure(a) / figure(b)).collect::<Vec<_>>())
    };
    let loops: Vec<(&[Loop], &[Loop])> = pairs.iter().map(|(a, b)| (&a.loops[..], &b.loops[..])).collect();
    format!(
        "ours against {}, median (range) of {}: records/s {}; per CPU-second of Connect and Postgres {}{}",
        peer.name(),
        pairs.len(),
        by(|run| run.per_second),
        by(|run| run.per_cpu_second),
        loops::told(&loops),
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
    /// A row for each rate, the first of them with what the backlog took.
    fn rows(&self) -> Vec<Vec<String>> {
        let cpu = |name: &str| self.cpu.get(name).map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        let backlog = [
            self.settings.name().to_owned(),
            self.round.to_string(),
            whole(self.records),
            whole(self.per_second),
            cpu("connect"),
            cpu("postgres"),
            whole(self.per_cpu_second),
        ];
        loops::rows(&backlog, &self.loops)
    }
}
