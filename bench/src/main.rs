//! Measures the release binary `millrace` on the real components. `docs/measured.md` explains every number.

mod against;
mod cli;
mod consume;
mod cpu;
mod drain;
mod growth;
mod history;
mod instance;
mod latency;
mod load;
mod machine;
mod memory;
mod one_by_one;
mod overview;
mod preload;
mod reading;
mod replay;
mod report;
mod rest;
mod stack;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;

use cli::{Against, Cli, Measurement, Stage};
use instance::Instance;
use report::Report;

/// As `millrace` has it: its loop is one of the contestants.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    if let Measurement::OneByOne(options) = &cli.measurement {
        return one_by_one::run(options).await;
    }
    if let Measurement::Consume(options) = &cli.measurement {
        return consume::run(options).await;
    }
    let stack = stack::find()?;
    let name = cli.measurement.name();
    let instance = Instance::new(stack, &cli.global, &name, cli.measurement.partitions())?;
    machine::warn_when_busy().await?;
    let outcome = tokio::select! {
        outcome = measure(&cli.measurement, &instance) => outcome,
        _ = tokio::signal::ctrl_c() => interrupted(),
    };
    if !cli.global.keep {
        instance.remove().await?;
    }
    let report = outcome?;
    report.print();
    let file = report.write(&cli.global.out, &name, &instance.stack).await?;
    eprintln!("written to {}", file.display());
    Ok(())
}

async fn measure(measurement: &Measurement, instance: &Instance) -> Result<Report> {
    match measurement {
        Measurement::Latency(options) => latency::measure(instance, options).await,
        Measurement::Drain { stage: Stage::Commands(options) } => drain::commands(instance, options).await,
        Measurement::Drain { stage: Stage::View(views) } => drain::views(instance, views).await,
        Measurement::Drain { stage: Stage::Elasticsearch(search) } => drain::search(instance, search).await,
        Measurement::Drain { stage: Stage::Poison(backlog) } => drain::poison(instance, backlog).await,
        Measurement::Drain { stage: Stage::Hot(options) } => drain::hot(instance, options).await,
        Measurement::Reading(options) => reading::measure(instance, options).await,
        Measurement::Growth(options) => growth::measure(instance, options).await,
        Measurement::History(options) => history::measure(instance, options).await,
        Measurement::Overview(options) => overview::measure(instance, options).await,
        Measurement::Replay(options) => replay::measure(instance, options).await,
        Measurement::Rest(options) => rest::measure(instance, options).await,
        Measurement::Against { stage: Against::Commands { peers, turns } } => {
            against::commands(instance, turns, peers).await
        }
        Measurement::Against { stage: Against::View { peers, turns } } => {
            against::views(instance, turns, peers).await
        }
        Measurement::Against { stage: Against::Search { peers, turns } } => {
            against::search(instance, turns, peers).await
        }
        Measurement::Against { stage: Against::Consume { peers, turns } } => {
            against::consume(instance, turns, peers).await
        }
        Measurement::Against { stage: Against::Cdc(options) } => against::cdc(instance, options).await,
        Measurement::Against { stage: Against::Chain(options) } => against::chain(instance, options).await,
        Measurement::OneByOne(_) | Measurement::Consume(_) => bail!("a peer measures nothing"),
    }
}

fn interrupted() -> Result<Report> {
    bail!("interrupted: nothing was measured")
}
