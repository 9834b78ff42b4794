//! `/metrics`, `/healthz` and `/readyz`.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_runtime::database::Pool;
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::Failure;

/// Serves until `stop`.
pub(super) async fn serve(
    config: &Config,
    databases: [Pool; 2],
    stop: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let listener = listen("listen", config.listen).await?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(databases);
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics, /healthz and /readyz");
    }
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the listener ended");
        }
    }))
}

/// Listens at the address that a setting names.
pub(super) async fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(format!(
            "{setting}: {address} cannot be listened on: {error}; choose another port with --set {setting}=host:port"
        ))
    })
}

async fn metrics() -> (StatusCode, String) {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Ready when both databases answer; what does not is named.
async fn ready(State(databases): State<[Pool; 2]>) -> (StatusCode, String) {
    for (pool, side) in databases.iter().zip(["write", "read"]) {
        let asked = pool.in_time(async { Ok(sqlx::query("SELECT 1").execute(&**pool).await?) });
        if asked.await.is_err() {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("the {side} database does not answer\n"));
        }
    }
    (StatusCode::OK, "ready\n".to_owned())
}
