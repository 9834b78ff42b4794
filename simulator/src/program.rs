//! The program `millrace-simulator`: external systems on loopback, until SIGTERM.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Options, UnreadableSecret};
use crate::{Simulator, StartError};

/// Why the program ends with another exit code than 0.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the runtime cannot start: {0}")]
    Runtime(io::Error),
    #[error("signals cannot be handled: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Secret(#[from] UnreadableSecret),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Runtime(_) | Failure::Signals(_) => 1,
            Failure::Secret(_) | Failure::Start(_) => 2,
        })
    }
}

/// Reads the command line, plays external systems until SIGTERM or SIGINT, and returns the exit code.
pub fn main() -> ExitCode {
    match begin(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("millrace-simulator: {failure}"));
            failure.exit_code()
        }
    }
}

fn begin(options: Options) -> Result<(), Failure> {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(serve(options))
}

fn log() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}

async fn serve(options: Options) -> Result<(), Failure> {
    let (settings, stop) = (options.settings()?, CancellationToken::new());
    let simulator = Simulator::start(settings, stop.clone()).await?;
    announce("payments: http://", simulator.payments);
    announce("mail: smtp://", simulator.mail);
    announce("vendor: http://", simulator.vendor);
    stopped().await.map_err(Failure::Signals)?;
    stop.cancel();
    simulator.ended().await;
    Ok(())
}

fn announce(server: &str, address: Option<SocketAddr>) {
    if let Some(address) = address {
        say(&format!("{server}{address}"));
    }
}

/// Prints a line to standard error. That it is closed is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Waits for SIGTERM or SIGINT.
async fn stopped() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
