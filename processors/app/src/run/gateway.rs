//! The listeners of the gateway in this process.

use millrace_engine::supervision::Restarts;
use millrace_gateway::receipts;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Selection;

/// The tasks of the listeners of this process.
#[derive(Default)]
pub(super) struct Served(Vec<JoinHandle<()>>);

impl Served {
    /// Waits until all requests are answered after the process was stopped.
    pub(super) async fn ended(self) {
        for listener in self.0 {
            if let Err(error) = listener.await {
                tracing::error!(%error, "a listener failed");
            }
        }
    }
}

/// Serves what is configured: clients when the process has every role, questions about receipts when it decides commands.
pub(super) async fn serve(
    config: &Config,
    selection: &Selection,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<Served, Failure> {
    let mut served = Served::default();
    if selection.commands() {
        served.0.extend(receipts::serve(config, restarts.clone(), stop.clone()).await?);
    }
    if *selection == Selection::Everything {
        served.0.extend(serve_clients(config, restarts, stop).await?.0);
    }
    Ok(served)
}

/// Serves clients, if that is configured.
pub(super) async fn serve_clients(
    config: &Config,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<Served, Failure> {
    Ok(Served(millrace_gateway::serve(config, restarts, stop).await?.into_iter().collect()))
}

/// Refuses a process that would serve nothing.
pub(super) fn expect_configured(config: &Config) -> Result<(), Failure> {
    match config.gateway.listen {
        Some(_) => Ok(()),
        None => Err(Failure::usage("gateway.listen: where the gateway serves is not configured: host:port")),
    }
}
