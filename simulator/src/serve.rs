//! Accepting connections, a bounded number at a time, until a stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Further connections wait until one ends.
const CONNECTIONS_MAX: usize = 1_000;
/// Open connections get this long after the stop.
const CLOSING_TIME: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, such as when file descriptors are exhausted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves each connection until it ends or everything stops.
pub(crate) async fn accept<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    stop: CancellationToken,
    serve: impl Fn(TcpStream) -> S,
) {
    let (room, connections) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(next(&listener, &room)).await {
        let Ok((stream, place)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (served, stop) = (serve(stream), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = served => {}
                () = closing(&stop) => {}
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    let place = room.clone().acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn closing(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(CLOSING_TIME).await;
}
