//! Measures the release binary `millrace` on the real components. `docs/measured.md` explains every number.

mod cli;
mod cpu;
mod drain;
mod instance;
mod latency;
mod load;
mod machine;
mod preload;
mod report;
mod running;
mod stack;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;

use cli::{Cli, Measurement, Stage};
use instance::Instance;
use report::Report;
use stack::Stack;

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
    let stack = Stack::from_environment()?;
    let name = cli.measurement.name();
    let instance = Instance::new(stack, &cli.global, &name, cli.measurement.partitions());
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
        Measurement::Drain { stage: Stage::Commands(backlog) } => drain::commands(instance, backlog).await,
        Measurement::Drain { stage: Stage::View(views) } => drain::views(instance, views).await,
        Measurement::Drain { stage: Stage::Elasticsearch(search) } => drain::search(instance, search).await,
    }
}

fn interrupted() -> Result<Report> {
    bail!("interrupted: nothing was measured")
}
