//! Millrace compared with alternatives: the same backlog and the same tables, in turns, with equal results.
//!
//! A round is Millrace, each peer, and Millrace again: the difference between its two runs is the noise.

mod cdc;
mod chain;
mod contestant;
mod digest;
mod documents;
mod loops;
mod peer;
mod ratios;
mod sink;

use std::time::Instant;

use anyhow::{Result, ensure};
use millrace_testkit::Memory;
use serde::Serialize;
use serde_json::json;

use crate::cli::{Consumer, Decider, Folder, Indexer, Turns, View};
use crate::consume::Tally;
use crate::cpu::{self, Components, Seconds};
use crate::drain::verify;
use crate::instance::Instance;
use crate::load::customers::VERSIONS;
use crate::preload;
use crate::report::{Report, whole};
pub(crate) use cdc::cdc;
pub(crate) use chain::chain;
use contestant::{Contestant, Drainer};

const COLUMNS: [&str; 12] = [
    "who",
    "round",
    "records",
    "seconds",
    "records/s",
    "cpu: writer",
    "postgres",
    "elasticsearch",
    "kafka",
    "records per cpu-s",
    "of the writer's",
    "peak MB",
];

/// The stage that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Customers' commands, decided.
    Commands,
    /// Customers' events, folded into the table of the view.
    Customers,
    /// Customers' events, folded into the index of the view.
    Search,
    /// Customers' events, decoded.
    Consume,
}

impl Stage {
    /// The name for the program on the JVM.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Customers => "customers",
            Self::Search => "search",
            Self::Consume => "consume",
        }
    }

    /// The processes whose CPU time counts.
    fn counted(self) -> &'static [&'static str] {
        match self {
            Self::Commands | Self::Customers | Self::Consume => &["writer", "postgres"],
            Self::Search => &["writer", "postgres", "elasticsearch"],
        }
    }
}

/// The time and resources of one contestant for the measured part of the backlog.
#[derive(Debug, Clone, Serialize)]
struct Run {
    who: Contestant,
    round: u32,
    records: f64,
    seconds: f64,
    per_second: f64,
    cpu: Seconds,
    /// By the CPU time of all components.
    per_cpu_second: f64,
    /// By the CPU time of the writer alone.
    per_writer_second: f64,
    peak_mb: f64,
    /// Checksums of the resulting rows.
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

/// Folds a backlog of customers' events into an index in turns with each peer.
pub(crate) async fn search(instance: &Instance, turns: &Turns, peers: &[Indexer]) -> Result<Report> {
    let peers: Vec<Contestant> = peers.iter().map(|peer| (*peer).into()).collect();
    let title = format!("Folding a backlog of {} events into an index", whole(turns.records as f64));
    Contest { instance, stage: Stage::Search, turns }.measure(title, &peers).await
}

/// Decodes a backlog of customers' events in turns with each peer.
pub(crate) async fn consume(instance: &Instance, turns: &Turns, peers: &[Consumer]) -> Result<Report> {
    let peers: Vec<Contestant> = peers.iter().map(|peer| (*peer).into()).collect();
    let title = format!("Decoding a backlog of {} events", whole(turns.records as f64));
    Contest { instance, stage: Stage::Consume, turns }.measure(title, &peers).await
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
        clocked(who, &from, &to)?;
        let told = drainer.told();
        drainer.stop().await?;
        let digest = self.result(who, &told).await?;
        Ok(Run::between(who, round, &from, &to, self.stage.counted(), peak_mb, digest))
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
                Stage::Customers | Stage::Search | Stage::Consume => {
                    preload::customer_events(instance, streams, order).await?;
                }
            }
        }
        if self.stage == Stage::Search {
            documents::prepare(instance, who).await?;
        }
        Ok(())
    }

    /// Millrace's rows must be those of the backlog, and those of the others equal to them. Where none writes rows, what
    /// each reports must be what was sent.
    async fn result(&self, who: Contestant, told: &str) -> Result<Vec<String>> {
        match (self.stage, who) {
            (Stage::Consume, _) => return self.found(who, told),
            (Stage::Commands, Contestant::Millrace) => {
                verify::commands(self.instance, self.turns.all() / VERSIONS).await?;
            }
            (Stage::Customers, Contestant::Millrace)
            | (Stage::Search, Contestant::Millrace | Contestant::Again) => {
                verify::Expected::of(View::Customers, self.turns.all()).check(self.instance).await?;
            }
            _ => {}
        }
        match self.stage {
            Stage::Search => documents::digest(self.instance, who, self.turns.all() / VERSIONS).await,
            stage => digest::of(self.instance, stage).await,
        }
    }

    /// The records that were read must be those that were sent; a contestant that does not decode reports only the number of
    /// records and bytes.
    fn found(&self, who: Contestant, told: &str) -> Result<Vec<String>> {
        let sent = Tally::of(self.turns.all() / VERSIONS)?;
        let expected = if who == Contestant::Plain { sent.undecoded() } else { sent };
        ensure!(told == expected.to_string(), "{} found {told}, not {expected}", who.name());
        // The parts that all have in common.
        Ok(vec![sent.undecoded().to_string()])
    }

    fn report(&self, title: String, peers: &[Contestant], runs: &[Run]) -> Report {
        let ratios = ratios::of(peers, runs);
        let mut notes: Vec<String> = ratios.iter().map(|ratio| ratio.told()).collect();
        notes.push(format!(
            "{} records before these did not count. What all runs left is equal. Debezium's connector was stopped.",
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

/// The shortest measured time; a faster peer needs a longer backlog.
fn clocked(who: Contestant, from: &Moment, to: &Moment) -> Result<()> {
    ensure!(to.records > from.records, "{} was done before the clock began: more --records", who.name());
    Ok(())
}

impl Run {
    fn between(
        who: Contestant,
        round: u32,
        from: &Moment,
        to: &Moment,
        counted: &[&str],
        peak_mb: f64,
        digest: Vec<String>,
    ) -> Self {
        let records = (to.records - from.records) as f64;
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu = cpu::between(&from.cpu, &to.cpu);
        let used = |names: &[&str]| names.iter().filter_map(|name| cpu.get(name)).sum::<f64>();
        Self {
            who,
            round,
            records,
            seconds,
            per_second: records / seconds,
            per_cpu_second: records / used(counted),
            per_writer_second: records / used(&["writer"]),
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
            cpu("elasticsearch"),
            cpu("kafka"),
            whole(self.per_cpu_second),
            whole(self.per_writer_second),
            whole(self.peak_mb),
        ]
    }
}
