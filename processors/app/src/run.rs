//! `millrace run`: the requested roles in one process, until SIGTERM.

mod about;
#[cfg(test)]
mod alerts;
mod auditor;
mod gateway;
mod http;
mod members;
#[cfg(test)]
mod metrics_page;
mod observer;
mod pruner;
mod spans;
mod webhooks;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use millrace_domain::Effect as _;
use millrace_domain::effects::payment::Payment;
use millrace_engine::supervision::{self, Restarts, restarted};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::postgres::Database;
use millrace_ops::roles::Roles;
use millrace_store::database::unfit_session;
use millrace_store::names::COMMANDS;
use millrace_store::{Means, migrations};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use http::Probed;
use members::Members;

/// How long batches in flight and closing consumers may take after the signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// The delay before a database that does not answer at the start is tried again.
const SESSION_TRIED_EVERY: Duration = Duration::from_secs(5);

/// The roles to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every role.
    Everything,
    /// Only the command processor.
    Commands,
    /// Only these views.
    Views(Vec<String>),
    /// Only these sagas and effects.
    Reactors(Vec<String>),
    /// Only commands, receipts and queries over HTTP.
    Gateway,
}

impl Selection {
    fn commands(&self) -> bool {
        matches!(self, Selection::Everything | Selection::Commands)
    }

    /// Whether a role of the write side works in this process.
    fn writer(&self, role: &str) -> bool {
        match self {
            Selection::Everything => true,
            Selection::Commands => role == COMMANDS,
            Selection::Views(_) | Selection::Gateway => false,
            Selection::Reactors(names) => names.iter().any(|wanted| wanted == role),
        }
    }

    fn view(&self, name: &str) -> bool {
        match self {
            Selection::Everything => true,
            Selection::Commands | Selection::Reactors(_) | Selection::Gateway => false,
            Selection::Views(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

/// Whether [`run`] could start with this configuration. Connects to nothing.
///
/// # Errors
/// [`Failure::Usage`], which names the setting.
pub fn check(config: &Config) -> Result<(), Failure> {
    Roles::new(config)?;
    webhooks::configured(config).map(|_| ())
}

/// Runs until SIGTERM or SIGINT, then finishes the batches in flight and gives the partitions back.
///
/// # Errors
/// When a client or the listener cannot be set up. Dependencies that do not answer are waited for.
pub async fn run(config: &Config, selection: Selection) -> Result<(), Failure> {
    supervision::log_panics();
    if selection == Selection::Gateway {
        return run_gateway(config).await;
    }
    let (stop, restarts) = (CancellationToken::new(), Restarts::default());
    let roles = Roles::supervised(config, restarts.clone())?;
    let sending = spans::send(config)?;
    let (idle, probed_idle) = watch::channel(Vec::new());
    let [write, read] = roles.databases();
    let databases = vec![(write, "the write database"), (read, "the read database")];
    let probed = Probed { databases, restarts: restarts.clone(), idle: probed_idle, stop: stop.clone() };
    let asked = http::serve(config, probed).await?;
    if selection.writer(Payment::NAME) {
        webhooks::serve(config, roles.caller(), restarts.clone(), stop.clone()).await?;
    }
    let served = gateway::serve(config, &selection, restarts.clone(), stop.clone()).await?;
    if selection.commands() {
        let work = || (Arc::new(config.clone()), restarts.clone(), stop.clone());
        let (config, restarts, stop) = work();
        tokio::spawn(async move {
            let audit = || auditor::audit(config.clone(), stop.clone());
            restarted("auditor", &restarts, &stop, audit).await;
        });
        let (config, restarts, stop) = work();
        tokio::spawn(async move {
            let prune = || pruner::prune(config.clone(), stop.clone());
            restarted("pruner", &restarts, &stop, prune).await;
        });
    }
    observer::observe(Arc::new(config.clone()), restarts.clone(), stop.clone())?;
    about::tell();
    let mut members = Members::new(config, selection, roles, (stop.clone(), restarts, idle))?;
    tokio::select! {
        () = members.follow() => {}
        unfit = unfit_sessions(config) => unfit?,
        asked = asked => asked.unwrap_or(Ok(()))?,
    }
    tracing::info!("stopping: batches in flight are finished");
    stop.cancel();
    let ended = async { tokio::join!(members.ended(), served.ended()) };
    if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
        tracing::warn!(
            "some groups or requests did not end in time; batches are applied again after the next start"
        );
    }
    sending.end().await;
    tracing::info!("stopped");
    Ok(())
}

/// Runs the role `gateway` alone, which needs no database but that of its queries; after the signal it answers the requests under way.
async fn run_gateway(config: &Config) -> Result<(), Failure> {
    gateway::expect_configured(config)?;
    let sending = spans::send(config)?;
    let (stop, restarts) = (CancellationToken::new(), Restarts::default());
    let (_, idle) = watch::channel(Vec::new());
    let probed = Probed { databases: Vec::new(), restarts: restarts.clone(), idle, stop: stop.clone() };
    let asked = http::serve(config, probed).await?;
    let served = gateway::serve_clients(config, restarts, stop.clone()).await?;
    about::tell();
    asked.await.unwrap_or(Ok(()))?;
    tracing::info!("stopping: requests under way are answered");
    stop.cancel();
    if tokio::time::timeout(STOP_TIMEOUT, served.ended()).await.is_err() {
        tracing::warn!("some requests were not answered in time");
    }
    sending.end().await;
    tracing::info!("stopped");
    Ok(())
}

/// Ends only when sessions of a database are unusable, or its tables are of a later build, since waiting does not resolve that.
async fn unfit_sessions(config: &Config) -> Result<(), Failure> {
    for side in [Side::Write, Side::Read] {
        let database = Database::of(config, side)?;
        while let Err(error) = session_of(config, &database).await? {
            tracing::debug!(%error, "no database session yet");
            tokio::time::sleep(SESSION_TRIED_EVERY).await;
        }
    }
    std::future::pending().await
}

/// Checks, once there is a session, that it is usable and that this build may work on its tables.
async fn session_of(config: &Config, database: &Database) -> Result<sqlx::Result<()>, Failure> {
    let looked = async {
        let mut connection = database.pool.acquire().await?;
        if let Some(reason) = unfit_session(&mut connection, &config.namespace).await? {
            return Ok(Err(database.unfit(reason)));
        }
        let newer = database.refuse_newer(&mut connection).await?;
        tell_other(database, migrations::applied(&mut connection).await?);
        Ok(newer)
    };
    match looked.await {
        Ok(fit) => fit.map(Ok),
        Err(error) if Means::of(&error) == Means::SharedSession => Err(database.failure(error)),
        Err(error) => Ok(Err(error)),
    }
}

/// Logs that tables have an earlier version; groups wait for missing parts.
fn tell_other(database: &Database, applied: i64) {
    let (side, known) = (database.side, database.side.migrations().newest());
    match applied.cmp(&known) {
        Ordering::Less => {
            tracing::warn!(
                ?side,
                applied,
                needed = known,
                "tables of an earlier version: run `millrace setup`"
            );
        }
        Ordering::Greater => tracing::info!(?side, applied, known, "tables of a later release"),
        Ordering::Equal => {}
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stopped() -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::refused("signals cannot be received").caused_by(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
