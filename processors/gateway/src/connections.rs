//! Connections of callers that may be hostile: their number and the time of each are bounded, so that slow callers (slowloris),
//! or many of them, do not block others for long.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_engine::supervision::{Restarts, restarted};
use millrace_ops::failure::Failure;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Bytes of the request's headers, at most.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// The pause after a connection could not be accepted, such as when file descriptors are exhausted.
const PAUSE: Duration = Duration::from_millis(100);

/// Limits of the connections of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Concurrent connections; further ones wait in the listener's queue.
    pub connections_max: u32,
    /// Whether a connection carries several requests.
    pub keep_alive: bool,
    /// The timeout for a request's headers, from the end of the request before.
    pub headers_within: Duration,
    /// How long a connection takes new requests.
    pub requests_within: Duration,
    /// How long its last request may then take.
    pub last_within: Duration,
}

impl Limits {
    /// For callers that send a single, short request.
    pub const ONE_REQUEST: Self = Self {
        connections_max: 256,
        keep_alive: false,
        headers_within: Duration::from_secs(5),
        requests_within: Duration::from_secs(5),
        last_within: Duration::from_secs(25),
    };
}

/// Listens at the address that a setting names.
///
/// # Errors
/// [`Failure::Usage`], which names the setting.
pub async fn listen(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let way_on = format!("choose another port with --set {setting}=host:port");
        let refused =
            Failure::usage(format!("{setting}: {address} cannot be listened on: {error}; {way_on}"));
        refused.with_source(error)
    })
}

/// Serves until `stop`; then takes no connection any more, and returns when the requests under way are answered. `/livez` shows it
/// by this name.
pub async fn accept(
    name: &str,
    listener: TcpListener,
    (router, limits): (Router, Limits),
    restarts: &Restarts,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max as usize));
    restarted(name, restarts, &stop, || take(&listener, &room, (&router, limits), &stop)).await;
    drop(listener);
    // Every connection has ended when all places are free.
    let _ = room.acquire_many(limits.connections_max).await;
}

async fn take(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    (router, limits): (&Router, Limits),
    stop: &CancellationToken,
) {
    let next = async || {
        let place = room.clone().acquire_owned().await.ok();
        listener.accept().await.map(|(stream, _)| (stream, place))
    };
    while let Some(accepted) = stop.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    serve(stream, router, limits, stop).await;
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

async fn serve(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let answered = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_buf_size(HEADERS_BYTES_MAX)
        .keep_alive(limits.keep_alive);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answered));
    // An error of a caller that disconnects is ignored.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(limits.requests_within) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.last_within, connection).await;
}
