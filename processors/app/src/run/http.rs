//! `/metrics`, `/livez` and `/readyz`, and the handling of signals: on a separate thread, so that they work when the worker
//! threads hang or panic.
//!
//! `/livez`: whether the worker threads run tasks. If they do not, only a restart helps. An outage or a panic does not make it
//! fail; it shows every task. `/readyz`: whether the databases answer and all requested roles work: no task has panicked recently,
//! each view has a generation into which this build can fold, nothing waits for a later build or was left to one, and the process
//! is not stopping. It names what does not work, and shows every component.

mod dependencies;
mod probes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_engine::database::Pool;
use millrace_engine::supervision::{Restarts, restarted};
use millrace_gateway::connections::listen;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{STOP_TIMEOUT, about, stopped};
use dependencies::Dependencies;

/// How long the worker threads may take for an empty task.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long after the stop timeout the process is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The state that probes report.
#[derive(Clone)]
pub(super) struct Probed {
    /// The databases that the process works on, with their sides.
    pub(super) databases: Vec<(Pool, &'static str)>,
    pub(super) restarts: Restarts,
    /// Views without a generation into which this build can fold, and groups that it has left to later builds.
    pub(super) idle: watch::Receiver<Vec<String>>,
    pub(super) stop: CancellationToken,
}

/// The handlers' state.
#[derive(Clone)]
struct Probes {
    /// The runtime of the worker threads.
    work: Handle,
    probed: Probed,
    dependencies: Dependencies,
}

/// Serves until the process ends; the returned receiver gets the signal to end.
pub(super) async fn serve(
    config: &Config,
    probed: Probed,
) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
    let listener = listen("http.listen", config.http.listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics, /livez and /readyz");
    }
    let cannot = |error: std::io::Error| Failure::refused("probes cannot be answered").caused_by(error);
    let listener = listener.into_std().map_err(cannot)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (asked, end) = oneshot::channel();
    let dependencies = Dependencies::new(&probed.databases);
    let (probes, config) =
        (Probes { work: Handle::current(), probed, dependencies }, Arc::new(config.clone()));
    let attend = move || {
        runtime.block_on(async {
            tokio::join!(answer(&listener, &probes), follow(&config, &probes), end_when_asked(asked));
        });
    };
    std::thread::Builder::new().name("probes".to_owned()).spawn(attend).map_err(cannot)?;
    Ok(end)
}

/// Kills the process when it does not end in time after the signal.
async fn end_when_asked(asked: oneshot::Sender<Result<(), Failure>>) {
    let signal = stopped().await;
    let failed = signal.is_err();
    if asked.send(signal).is_err() || failed {
        return;
    }
    tokio::time::sleep(STOP_TIMEOUT + STOP_GRACE).await;
    tracing::error!(
        "the process did not stop in time and is killed; batches in flight are applied again after the next start"
    );
    std::process::exit(1);
}

async fn answer(listener: &std::net::TcpListener, probes: &Probes) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(probes::live))
        // Its name in release 1.
        .route("/healthz", get(probes::live))
        .route("/readyz", get(probes::ready))
        .with_state(probes.clone());
    let served = || async {
        let listener = listener.try_clone().and_then(TcpListener::from_std);
        let served = match listener {
            Ok(listener) => axum::serve(listener, router.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "the listener ended");
        }
    };
    restarted("probes", &probes.probed.restarts, &CancellationToken::new(), served).await;
}

/// Asks the components of the process until it ends.
async fn follow(config: &Arc<Config>, probes: &Probes) {
    let Probes { work, probed, dependencies } = probes;
    let asked = || dependencies.follow(config.clone(), work, &probed.databases);
    restarted("dependencies", &probed.restarts, &CancellationToken::new(), asked).await;
}

async fn metrics() -> (StatusCode, String) {
    about::tell_memory();
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
