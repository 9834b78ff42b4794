//! Spans of this process are sent on a separate thread, so that a slow collector takes no worker thread.

use std::time::Duration;

use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::otlp::Exporter;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the end is waited for; the exporter needs less.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

/// The thread that sends spans, if there is one.
pub(super) struct Sending(Option<(CancellationToken, oneshot::Receiver<()>)>);

/// Begins to record and to send spans, if a collector is configured.
///
/// # Errors
/// [`Failure::Usage`] when the collector's address cannot be used; when no thread can be started.
pub(super) fn send(config: &Config) -> Result<Sending, Failure> {
    let Some(exporter) = Exporter::new(config)? else { return Ok(Sending(None)) };
    let cannot = |error: std::io::Error| Failure::refused("spans cannot be sent").caused_by(error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (stop, (done, ended)) = (CancellationToken::new(), oneshot::channel());
    let stopped = stop.clone();
    let attend = move || {
        runtime.block_on(exporter.run(stopped));
        // The process may have ended meanwhile.
        let _ = done.send(());
    };
    std::thread::Builder::new().name("spans".to_owned()).spawn(attend).map_err(cannot)?;
    Ok(Sending(Some((stop, ended))))
}

impl Sending {
    /// Sends what is left, for a bounded time.
    pub(super) async fn end(self) {
        if let Some((stop, ended)) = self.0 {
            stop.cancel();
            // A thread that has panicked is not waited for, nor one that hangs: the process must end.
            let _ = timeout(ENDS_WITHIN, ended).await;
        }
    }
}
