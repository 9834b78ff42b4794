//! The whole way, from a command's intended time until its row can be read: Millrace in turns with a program on the JVM,
//! with settings for speed and with the defaults of all components.
//!
//! Each run drains a backlog through all stages, which warms up what needs it and says how much it can carry; then
//! commands arrive in open loops, at shares of what the slowest can carry.

mod carrier;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use millrace_testkit::Patience;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::loops::{self, Loop};
use super::{Stage, cdc, digest};
use crate::cli::{Chain, Order};
use crate::cpu::{self, Components, Seconds};
use crate::instance::Instance;
use crate::instance::PATIENCE;
use crate::latency;
use crate::latency::probe::{LATEST, microseconds};
use crate::latency::sender::Pace;
use crate::preload;
use crate::report::{Report, spread, whole};
use crate::stack::observer;
use carrier::{Carrier, Who};

const COLUMNS: [&str; 8] =
    ["who", "round", "backlog/s", "cpu: writer", "postgres", "connect", "records per cpu-s", "peak MB"];
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The processes whose CPU time counts.
const COUNTED: [&str; 3] = ["writer", "postgres", "connect"];

/// The results of one contestant.
#[derive(Debug, Serialize)]
struct Run {
    who: Who,
    round: u32,
    /// Commands of the backlog that counts, by the time until their rows were there.
    per_second: f64,
    cpu: Seconds,
    per_cpu_second: f64,
    peak_mb: f64,
    loops: Vec<Loop>,
    digest: Vec<String>,
}

/// Measures all in turns, at shares of what the slowest of them carries.
pub(crate) async fn chain(instance: &Instance, options: &Chain) -> Result<Report> {
    let peers: Vec<Who> = options.peers.iter().map(|peer| (*peer).into()).collect();
    let everybody: Vec<Who> = [Who::Millrace].into_iter().chain(peers.iter().copied()).collect();
    let most = slowest(instance, options, &everybody).await?;
    let rates: Vec<u32> = options.shares.iter().map(|share| (most * share / 100).max(1)).collect();
    let mut runs: Vec<Run> = Vec::new();
    for round in 1..=options.pairs {
        for who in everybody.iter().copied().chain([Who::Again]) {
            let run = carry(instance, options, who, round, &rates).await?;
            let first = runs.first().unwrap_or(&run);
            ensure!(run.digest == first.digest, "{who:?} left {:?}, not {:?}", run.digest, first.digest);
            runs.push(run);
        }
    }
    Ok(report(instance, options, most, &peers, &runs))
}

/// The throughput of the slowest contestant, in commands per second.
async fn slowest(instance: &Instance, options: &Chain, everybody: &[Who]) -> Result<u32> {
    let mut slowest = f64::INFINITY;
    for who in everybody {
        slowest = slowest.min(carry(instance, options, *who, 0, &[]).await?.per_second);
    }
    Ok(slowest as u32)
}

async fn carry(instance: &Instance, options: &Chain, who: Who, round: u32, rates: &[u32]) -> Result<Run> {
    eprintln!("round {round}: {}", who.name());
    prepare(instance, options, who).await?;
    let mut table = Table::open(instance).await?;
    let mut carrier = Carrier::start(instance, who).await?;
    let (seconds, cpu) = drain(instance, options, &mut table, &mut carrier).await?;
    let (mut loops, mut pace) = (Vec::new(), options.pace());
    for rate in rates {
        pace.rate = *rate;
        loops.push(arrive(instance, who, &pace).await?);
        pace.first += u64::from(pace.all());
        table.at_least(options.backlog() + pace.first - options.streams(), &mut carrier).await?;
    }
    let peak_mb = carrier.peak_mb()?;
    carrier.stop()?;
    let digest =
        [digest::of(instance, Stage::Commands).await?, digest::of(instance, Stage::Customers).await?];
    let records = (options.backlog() - options.warm_up()) as f64;
    let (per_second, counted) =
        (records / seconds, COUNTED.iter().filter_map(|name| cpu.get(name)).sum::<f64>());
    Ok(Run {
        who,
        round,
        per_second,
        per_cpu_second: records / counted,
        cpu,
        peak_mb,
        loops,
        digest: digest.concat(),
    })
}

/// A fresh instance with a backlog, and the connector as the carrier wants it.
async fn prepare(instance: &Instance, options: &Chain, who: Who) -> Result<()> {
    instance.recreate().await?;
    if who == Who::Defaults {
        cdc::take_tuning_out(instance).await?;
    }
    preload::customer_commands(instance, 0..options.streams(), Order::Spread).await
}

/// Seconds and CPU time that the part of the backlog took that counts.
async fn drain(
    instance: &Instance,
    options: &Chain,
    table: &mut Table,
    carrier: &mut Carrier,
) -> Result<(f64, Seconds)> {
    let components = carrier.pids().fold(Components::find(&instance.stack), |c, pid| c.with("writer", pid));
    let components = components.without(table.backend);
    let (from, before) = (table.at_least(options.warm_up(), carrier).await?, components.used()?);
    let (to, after) = (table.at_least(options.backlog(), carrier).await?, components.used()?);
    Ok((to.duration_since(from).as_secs_f64(), cpu::between(&before, &after)))
}

/// An open loop of commands, each of a new customer.
async fn arrive(instance: &Instance, who: Who, pace: &Pace) -> Result<Loop> {
    let mut watched = latency::of_rows(instance, pace, who.group()).await?;
    for _ in 0..watched.missing {
        watched.latency.record(microseconds(LATEST))?;
    }
    Ok(Loop::of(pace.rate, &watched.latency, watched.missing))
}

/// The table of the view. Every event raises the version of its row by one, so that versions count events.
struct Table {
    connection: PgConnection,
    backend: u32,
    sql: String,
}

impl Table {
    async fn open(instance: &Instance) -> Result<Self> {
        let (connection, backend) = observer(instance.stack.read_database_url()).await?;
        let sql = format!("SELECT coalesce(sum(version), 0)::bigint FROM \"{}\".customers_g1", instance.name);
        Ok(Self { connection, backend, sql })
    }

    /// Waits until this many events are folded; fails when nothing moves for a while.
    async fn at_least(&mut self, wanted: u64, carrier: &mut Carrier) -> Result<Instant> {
        let mut patience = Patience::new(PATIENCE);
        loop {
            let sql = AssertSqlSafe(self.sql.as_str());
            let events: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.connection).await?;
            let (events, now) = (u64::try_from(events)?, Instant::now());
            if events >= wanted {
                return Ok(now);
            }
            if patience.ends(events) {
                bail!(
                    "nothing moved for {PATIENCE:?} after {events} of {wanted} events: {}",
                    carrier.log_tail()
                );
            }
            carrier.check()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn report(instance: &Instance, options: &Chain, most: u32, peers: &[Who], runs: &[Run]) -> Report {
    let title = format!(
        "From a command until its row: a backlog of {}, then {} s each at {:?} % of the {} a second that the slowest carries",
        whole(options.backlog() as f64),
        options.seconds,
        options.shares,
        whole(f64::from(most)),
    );
    let peers: Vec<Who> = peers.iter().copied().chain([Who::Again]).collect();
    let mut notes: Vec<String> = peers.iter().map(|peer| told(runs, *peer)).collect();
    notes.push("The rows of all runs are equal: ledger, streams, outbox and view.".to_owned());
    let figures: Value = json!({"settings": instance.settings(), "slowest_carries": most, "runs": runs});
    Report {
        title,
        columns: [&COLUMNS[..], &loops::COLUMNS].concat(),
        rows: runs.iter().flat_map(Run::rows).collect(),
        notes,
        figures,
    }
}

/// Millrace against one peer, round by round.
fn told(runs: &[Run], peer: Who) -> String {
    let of = |wanted: Who| runs.iter().filter(move |run| run.who == wanted);
    let by = |figure: &dyn Fn(&Run) -> f64| {
        spread(&of(Who::Millrace).zip(of(peer)).map(|(a, b)| figure(a) / figure(b)).collect::<Vec<_>>())
    };
    let pairs: Vec<(&[Loop], &[Loop])> =
        of(Who::Millrace).zip(of(peer)).map(|(a, b)| (&a.loops[..], &b.loops[..])).collect();
    format!(
        "Millrace against {}, median (range) of {}: backlog/s {}; per CPU-second {}; resident memory {}{}",
        peer.name(),
        pairs.len(),
        by(&|run| run.per_second),
        by(&|run| run.per_cpu_second),
        by(&|run| run.peak_mb),
        loops::told(&pairs),
    )
}

impl Run {
    /// A row for each rate, the first of them with what the backlog took.
    fn rows(&self) -> Vec<Vec<String>> {
        let cpu = |name: &str| self.cpu.get(name).map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        let backlog = [
            self.who.name().to_owned(),
            self.round.to_string(),
            whole(self.per_second),
            cpu("writer"),
            cpu("postgres"),
            cpu("connect"),
            whole(self.per_cpu_second),
            whole(self.peak_mb),
        ];
        loops::rows(&backlog, &self.loops)
    }
}
