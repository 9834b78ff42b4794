//! `/metrics`, `/healthz` and `/readyz`, and the handling of signals: on a separate thread, so that they work when the worker
//! threads hang or panic.
//!
//! `/healthz`: whether the worker threads run tasks. If they do not, only a restart helps. An outage or a panic does not make it
//! fail. `/readyz`: whether the databases answer and all requested roles work: no task has panicked recently, each view has a
//! generation into which this build can fold, nothing waits for a later build or was left to one, and the process is not
//! stopping. It names what does not work.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_engine::database::Pool;
use millrace_engine::release;
use millrace_engine::supervision::{Restarts, restarted};
use millrace_gateway::connections::listen;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{STOP_TIMEOUT, stopped};

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
}

/// An answer to a probe, with a text for people.
type Answer = (StatusCode, String);

/// Serves until the process ends; the returned receiver gets the signal to end.
pub(super) async fn serve(
    config: &Config,
    probed: Probed,
) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
    let listener = listen("http.listen", config.http.listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics, /healthz and /readyz");
    }
    let cannot = |error: std::io::Error| Failure::refused("probes cannot be answered").caused_by(error);
    let listener = listener.into_std().map_err(cannot)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (asked, end) = oneshot::channel();
    let probes = Probes { work: Handle::current(), probed };
    let attend = move || {
        runtime.block_on(async {
            tokio::join!(answer(&listener, &probes), end_when_asked(asked));
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
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
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

async fn metrics() -> Answer {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

impl Probes {
    /// Runs a task on the worker threads; `None` when they do not run it in time.
    async fn at_work<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
        within: Duration,
    ) -> Option<T> {
        tokio::time::timeout(within, self.work.spawn(task)).await.ok()?.ok()
    }
}

async fn healthy(State(probes): State<Probes>) -> Answer {
    match probes.at_work(async {}, ANSWER_WITHIN).await {
        Some(()) => (StatusCode::OK, "ok\n".to_owned()),
        None => unavailable(&format!("no work is taken up for {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn ready(State(probes): State<Probes>) -> Answer {
    let Probed { databases, restarts, idle, stop } = &probes.probed;
    let wrong = [restarts.recent_panics(), idle.borrow().clone(), release::too_old_for()].concat();
    if stop.is_cancelled() {
        return unavailable("stopping");
    }
    if !wrong.is_empty() {
        return unavailable(&wrong.join("\n"));
    }
    for (pool, side) in databases.clone() {
        let within = pool.answer_timeout() + ANSWER_WITHIN;
        let asked = async move {
            pool.in_time(async { Ok(sqlx::query("SELECT 1").execute(&*pool).await?) }).await.is_ok()
        };
        if probes.at_work(asked, within).await != Some(true) {
            return unavailable(&format!("the {side} database does not answer"));
        }
    }
    (StatusCode::OK, "ready\n".to_owned())
}

fn unavailable(why: &str) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}
