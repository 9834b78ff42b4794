//! HTTP for callers that are not known yet: how many are served at a time, and how long each may take, is bounded, so that
//! slow ones (slowloris) and many of them keep no other out for long.

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

/// Further connections wait in the listener's queue until one ends.
const CONNECTIONS_MAX: usize = 256;
/// A caller says within this time what it wants.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// And in so many bytes.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// A connection, which carries one request, ends within this time whatever happens on it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// Pause after a connection that could not be accepted, such as for want of file descriptors.
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
    // A caller that goes away is no news.
    let _ = http.serve_connection(TokioIo::new(stream), answered).await;
}
