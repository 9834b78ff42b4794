//! What the simulated HTTP servers share: connections, keys, and refusals.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::books::Books;
use crate::world::World;

const KEY_LENGTH_MAX: usize = 255;
/// A client that does not send a request for this long is disconnected.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Marks an answer that is never given: the connection is dropped instead.
#[derive(Clone, Copy)]
struct Unanswered;

pub(crate) async fn connection(stream: TcpStream, router: Router) {
    let answered = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let Ok(response): Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
            match response.extensions().get::<Unanswered>() {
                Some(_) => Err(std::io::Error::other("not answered")),
                None => Ok(response),
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    // A client may go away.
    let _ = http.serve_connection(TokioIo::new(stream), answered).await;
}

/// Why a call is refused, or not answered.
pub(crate) enum Refusal {
    /// What the caller did wrong, or what cannot be done now.
    Answered { status: StatusCode, code: &'static str, reason: String },
    /// The connection is dropped.
    Unanswered,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Answered { status, code, reason } => {
                (status, Json(json!({ "code": code, "reason": reason }))).into_response()
            }
            Refusal::Unanswered => {
                let mut response = StatusCode::GATEWAY_TIMEOUT.into_response();
                response.extensions_mut().insert(Unanswered);
                response
            }
        }
    }
}

pub(crate) fn refused(status: StatusCode, code: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::Answered { status, code, reason: reason.into() }
}

pub(crate) fn unprocessable(code: &'static str, reason: impl Into<String>) -> Refusal {
    refused(StatusCode::UNPROCESSABLE_ENTITY, code, reason)
}

/// The key of a call: in the header, in the body, or the same in both.
pub(crate) fn key_of(headers: &HeaderMap, in_body: &str) -> Result<String, Refusal> {
    let header = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or(in_body);
    let refuse = |code, reason: &str| Err(refused(StatusCode::BAD_REQUEST, code, reason));
    match header {
        "" => refuse("key-missing", "key: it is missing; send it in the body or as Idempotency-Key"),
        key if !in_body.is_empty() && key != in_body => {
            refuse("key-ambiguous", "key: Idempotency-Key is another")
        }
        key if key.len() > KEY_LENGTH_MAX => refuse("key-too-long", "key: at most 255 characters"),
        key => Ok(key.to_owned()),
    }
}

/// Takes its time, and turns a call away that has not had its effect yet.
pub(crate) async fn prepare(world: &World, key: &str, known: impl Fn(&Books) -> bool) -> Result<(), Refusal> {
    tokio::time::sleep(world.behaviour.latency(key)).await;
    let known = known(world.ledger().books());
    if !known && world.turns_away(key) {
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "nothing was done; try later"));
    }
    Ok(())
}

pub(crate) fn reused() -> Refusal {
    unprocessable("key-reused", "key: it was used for something else; use a new one")
}

/// The answer of draft-ietf-httpapi-idempotency-key-header to a key whose first call is still worked on.
pub(crate) fn in_work() -> Refusal {
    refused(StatusCode::CONFLICT, "key-in-work", "key: its first call is still worked on; ask again later")
}

pub(crate) fn unwritten(error: std::io::Error) -> Refusal {
    tracing::error!(%error, "the ledger cannot be written");
    refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the ledger cannot be written; nothing was done")
}

/// Keeps the caller waiting, and drops the connection.
pub(crate) async fn silence(silent: bool, world: &World) -> Result<(), Refusal> {
    if !silent {
        return Ok(());
    }
    tokio::time::sleep(world.behaviour.hold).await;
    Err(Refusal::Unanswered)
}

pub(crate) fn unknown(code: &'static str) -> Response {
    refused(StatusCode::NOT_FOUND, code, "key: nothing was done for it").into_response()
}
