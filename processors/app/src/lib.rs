//! The program `millrace`: command line, sources of settings, running all roles in one process, and output for operators.

pub mod audit;
pub mod category;
pub mod cli;
pub mod config;
pub mod customer;
pub mod dlq;
pub mod doctor;
mod exit;
mod input;
pub mod logging;
pub mod outbox;
pub mod output;
mod outputs;
pub mod progress;
pub mod prune;
pub mod receipts;
pub mod replay;
pub mod retries;
pub mod run;
pub mod saga;
pub mod schema;
pub mod segment;
pub mod send;
mod setup;
pub mod status;
pub mod stream;
pub mod trace;
pub mod verify;

use std::process::ExitCode;
use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::{known, layout};

use cli::{Cli, Command, Role};
use config::cli::Action as ConfigAction;
use config::{Loaded, explain, show};
use output::Format;
use run::Selection;

/// How long clients may take to close at the end.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(2);

/// Reads the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    millrace_memory::return_large_blocks();
    let cli = Cli::read();
    let format = cli.global.format;
    begin(cli).map_or_else(|failure| exit::failed(format, &failure), |()| ExitCode::SUCCESS)
}

fn begin(cli: Cli) -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    let _armed = millrace_engine::failpoints::arm();
    let loaded = Loaded::read(&cli.global)?;
    logging::begin(&loaded.config.logging, &cli.command)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::refused("the runtime cannot start").caused_by(error))?;
    let outcome = runtime.block_on(dispatch(cli, &loaded));
    // A client that does not close must not keep the process alive.
    runtime.shutdown_timeout(CLOSING_TIME_MAX);
    outcome
}

async fn dispatch(cli: Cli, loaded: &Loaded) -> Result<(), Failure> {
    let (config, format) = (&loaded.config, cli.global.format);
    match cli.command {
        Command::Setup { wait, dry_run, downgrade, partitions } => {
            let options = millrace_ops::setup::Options { downgrade, dry_run, partitions };
            setup::setup(config, format, options, wait.map(|span| span.0)).await
        }
        Command::Teardown { yes } => setup::teardown(config, format, yes).await,
        Command::Run { only } => run::run(config, selection(config, only)?).await,
        Command::Replay(options) => replay::replay(config, format, &options).await,
        Command::Prune(options) => prune::prune(config, format, &options).await,
        Command::Schema { action } => schema::schema(config, format, &action),
        Command::Send(options) => send::send(config, format, &options).await,
        Command::Receipt { id, source } => receipts::receipt(config, format, &id, source.as_deref()).await,
        Command::Commands(options) => receipts::commands(config, format, &options).await,
        Command::Stream { action: stream::Action::Show(options) } => {
            stream::show(config, format, &options).await
        }
        Command::Doctor { all } => doctor::doctor(config, format, all).await,
        Command::Trace(options) => trace::trace(config, format, &options).await,
        Command::Verify(options) => verify::verify(config, format, &options).await,
        Command::Saga { action } => saga::saga(config, format, &action).await,
        Command::Customer { action } => customer::customer(config, format, &action).await,
        Command::Category { action } => category::category(config, format, &action).await,
        Command::Segment { action } => segment::segment(config, format, &action).await,
        Command::Dlq { action } => dlq::dlq(config, format, &action).await,
        Command::Retries { action } => retries::retries(config, format, &action).await,
        Command::Audit { action } => audit::audit(config, format, &action).await,
        Command::Outbox { action } => outbox::outbox(config, format, &action).await,
        Command::Config { action: ConfigAction::Show(options) } => show::show(loaded, format, &options),
        Command::Config { action: ConfigAction::Explain(options) } => {
            explain::explain(loaded, format, &options)
        }
        Command::Config { action: ConfigAction::Check } => checked(config, format),
        Command::Status { all, wait, lag_max } => {
            let [wait, lag_max] = [wait, lag_max].map(|span| span.map(|span| span.0));
            status::status(config, format, all, wait, lag_max).await
        }
    }
}

/// The configuration can be used.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "ConfigurationUsable")]
pub(crate) struct Usable {
    /// Always `true`; else the command fails.
    usable: bool,
}

fn checked(config: &Config, format: Format) -> Result<(), Failure> {
    run::check(config)?;
    output::print(format, "the configuration can be used\n", &Usable { usable: true })
}

fn selection(config: &Config, only: Option<Role>) -> Result<Selection, Failure> {
    match only {
        None => Ok(Selection::Everything),
        Some(Role::Gateway) => Ok(Selection::Gateway),
        Some(Role::Commands) => Ok(Selection::Commands),
        Some(Role::View { names }) => {
            names.iter().try_for_each(|name| layout::ReadModel::named(config, name).map(|_| ()))?;
            Ok(Selection::Views(names))
        }
        Some(Role::Saga { names }) => reactors(names, "saga", &layout::sagas(config)),
        Some(Role::Effect { names }) => reactors(names, "effect", &layout::effects(config)),
    }
}

fn reactors(names: Vec<String>, what: &str, known: &[layout::Reactor]) -> Result<Selection, Failure> {
    let known: Vec<&str> = known.iter().map(|reactor| reactor.name).collect();
    names.iter().try_for_each(|name| known::among(what, name, &known))?;
    Ok(Selection::Reactors(names))
}
