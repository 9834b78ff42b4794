//! HTTP for unauthenticated callers: the number of connections and the time of each are bounded, so that slow callers
//! (slowloris), or many of them, do not block others for long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Concurrent connections; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 256;
/// The timeout for the request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of the request's headers, at most.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// The timeout of a connection, which carries one request.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, such as when file descriptors are exhausted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`.
pub(super) async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let next = async || {
        let place = room.clone().acquire_owned().await.ok();
        listener.accept().await.map(|(stream, _)| (stream, place))
    };
    while let Some(accepted) = stop.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, place)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_WITHIN, serve(stream, router)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let answered = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(HEADERS_BYTES_MAX);
    http.keep_alive(false);
    // An error of a caller that disconnects is ignored.
    let _ = http.serve_connection(TokioIo::new(stream), answered).await;
}
