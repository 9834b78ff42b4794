//! Millrace against what people would use instead: the same backlog, the same tables, in turns, with equal results.
//!
//! A round is Millrace, each peer, and Millrace again: the last of them against the first is the noise.

mod cdc;
mod contestant;
mod digest;
mod peer;
mod ratios;
mod sink;

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;

use crate::cli::{Decider, Folder, Turns, View};
use crate::cpu::{self, Components, Seconds};
use crate::drain::verify;
use crate::instance::Instance;
use crate::load::customers::VERSIONS;
use crate::memory::Memory;
use crate::preload;
use crate::report::{Report, whole};
pub(crate) use cdc::cdc;
use contestant::{Contestant, Drainer};

const COLUMNS: [&str; 11] = [
    "who",
    "round",
    "records",
    "seconds",
    "records/s",
    "cpu: writer",
    "postgres",
    "kafka",
    "records per cpu-s",
    "of the writer's",
    "peak MB",
];

/// What is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Customers' commands, decided.
    Commands,
    /// Customers' events, folded into the table of the view.
    Customers,
}

impl Stage {
    /// As the program on the JVM calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Customers => "customers",
        }
    }
}

/// What one of them took for the part of the backlog that counts.
#[derive(Debug, Clone, Serialize)]
struct Run {
    who: Contestant,
    round: u32,
    records: f64,
    seconds: f64,
    per_second: f64,
    cpu: Seconds,
    /// By the CPU time of the writer and of Postgres.
    per_cpu_second: f64,
    /// By the CPU time of the writer alone.
    per_writer_second: f64,
    peak_mb: f64,
    /// Checksums of the rows that it left.
    digest: Vec<String>,
}

/// The state at one moment.
struct Moment {
    at: Instant,
    records: u64,
    cpu: Seconds,
}

struct Contest<'c> {
    instance: &'c Instance,
    stage: Stage,
    turns: &'c Turns,
}

/// Decides a backlog of customers' commands in turns with each peer.
pub(crate) async fn commands(instance: &Instance, turns: &Turns, peers: &[Decider]) -> Result<Report> {
    let peers: Vec<Contestant> = peers.iter().map(|peer| (*peer).into()).collect();
    let title = format!("Deciding a backlog of {} commands", whole(turns.records as f64));
    Contest { instance, stage: Stage::Commands, turns }.measure(title, &peers).await
}

/// Folds a backlog of customers' events in turns with each peer.
pub(crate) async fn views(instance: &Instance, turns: &Turns, peers: &[Folder]) -> Result<Report> {
    let peers: Vec<Contestant> = peers.iter().map(|peer| (*peer).into()).collect();
    let title = format!("Folding a backlog of {} events into a table", whole(turns.records as f64));
    Contest { instance, stage: Stage::Customers, turns }.measure(title, &peers).await
}

impl Contest<'_> {
    async fn measure(&self, title: String, peers: &[Contestant]) -> Result<Report> {
        let runs = self.rounds(peers).await?;
        Ok(self.report(title, peers, &runs))
    }

    async fn rounds(&self, peers: &[Contestant]) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for round in 1..=self.turns.pairs {
            let everybody = [Contestant::Millrace].into_iter().chain(peers.iter().copied());
            for who in everybody.chain([Contestant::Again]) {
                let run = self.run(who, round).await?;
                let first = runs.first().unwrap_or(&run);
                ensure!(run.digest == first.digest, "{who:?} left {:?}, not {:?}", run.digest, first.digest);
                runs.push(run);
            }
        }
        Ok(runs)
    }

    async fn run(&self, who: Contestant, round: u32) -> Result<Run> {
        eprintln!("round {round}: {}", who.name());
        self.prepare(who).await?;
        let mut drainer = Drainer::start(self.instance, self.stage, who, self.turns.partitions).await?;
        let components = Components::find(&self.instance.stack).with("writer", drainer.pid());
        let components = drainer.backend().into_iter().fold(components, Components::without);
        let from = moment(&mut drainer, self.turns.warm_up(), &components).await?;
        let to = moment(&mut drainer, self.turns.all(), &components).await?;
        let peak_mb = Memory::of(drainer.pid())?.peak_mb;
        drainer.stop().await?;
        let digest = self.result(who).await?;
        Ok(Run::between(who, round, &from, &to, peak_mb, digest))
    }

    /// A fresh instance with a backlog: first what does not count, then what counts, of other streams.
    async fn prepare(&self, who: Contestant) -> Result<()> {
        let (instance, order) = (self.instance, self.turns.order);
        instance.recreate().await?;
        instance.stop_debezium().await?;
        let (warm_up, all) = (self.turns.warm_up() / VERSIONS, self.turns.all() / VERSIONS);
        if who.reads_rows() {
            sink::create_topic(instance, self.turns.partitions).await?;
        }
        for streams in [0..warm_up, warm_up..all] {
            match self.stage {
                Stage::Commands => preload::customer_commands(instance, streams, order).await?,
                Stage::Customers if who.reads_rows() => {
                    preload::customer_rows(instance, &sink::topic(instance), streams, order)?;
                }
                Stage::Customers => preload::customer_events(instance, streams, order).await?,
            }
        }
        Ok(())
    }

    /// Millrace's rows must be those of the backlog, and everybody else's equal to them.
    async fn result(&self, who: Contestant) -> Result<Vec<String>> {
        match (self.stage, who) {
            (Stage::Commands, Contestant::Millrace) => {
                verify::commands(self.instance, self.turns.all() / VERSIONS).await?;
            }
            (Stage::Customers, Contestant::Millrace) => {
                verify::Expected::of(View::Customers, self.turns.all()).check(self.instance).await?;
            }
            _ => {}
        }
        digest::of(self.instance, self.stage).await
    }

    fn report(&self, title: String, peers: &[Contestant], runs: &[Run]) -> Report {
        let ratios = ratios::of(peers, runs);
        let mut notes: Vec<String> = ratios.iter().map(|ratio| ratio.told()).collect();
        notes.push(format!(
            "{} records before these did not count. The rows of all runs are equal. Debezium's connector was stopped.",
            whole(self.turns.warm_up() as f64)
        ));
        let figures = json!({
            "settings": self.instance.settings(), "warm_up": self.turns.warm_up(), "runs": runs, "ratios": ratios,
        });
        Report { title, columns: COLUMNS.to_vec(), rows: runs.iter().map(Run::row).collect(), notes, figures }
    }
}

async fn moment(drainer: &mut Drainer, records: u64, components: &Components) -> Result<Moment> {
    let (at, records) = drainer.at_least(records).await?;
    Ok(Moment { at, records, cpu: components.used()? })
}

impl Run {
    fn between(
        who: Contestant,
        round: u32,
        from: &Moment,
        to: &Moment,
        peak_mb: f64,
        digest: Vec<String>,
    ) -> Self {
        let records = (to.records - from.records) as f64;
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu = cpu::between(&from.cpu, &to.cpu);
        let of = |name: &str| cpu.get(name).copied().unwrap_or(0.0);
        let (writer, postgres) = (of("writer"), of("postgres"));
        Self {
            who,
            round,
            records,
            seconds,
            per_second: records / seconds,
            per_cpu_second: records / (writer + postgres),
            per_writer_second: records / writer,
            cpu,
            peak_mb,
            digest,
        }
    }

    fn row(&self) -> Vec<String> {
        let cpu = |name: &str| self.cpu.get(name).map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        vec![
            self.who.name().to_owned(),
            self.round.to_string(),
            whole(self.records),
            format!("{:.2}", self.seconds),
            whole(self.per_second),
            cpu("writer"),
            cpu("postgres"),
            cpu("kafka"),
            whole(self.per_cpu_second),
            whole(self.per_writer_second),
            whole(self.peak_mb),
        ]
    }
}
