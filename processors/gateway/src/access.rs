//! Around every request: its id, a line in the log, metrics, security headers; a panic becomes an answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use millrace_engine::metrics::{GATEWAY_REQUESTS, GATEWAY_SECONDS};
use millrace_engine::supervision::caught;
use uuid::Uuid;

use crate::problem::{Kind, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a given request id, at most.
const REQUEST_ID_MAX: usize = 64;
/// Characters of a path in the log, at most.
const PATH_MAX: usize = 200;

/// The answers are data for programs: no page may run, frame or keep them, except what says how long.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// The name of the client of a request, for the log.
#[derive(Clone)]
pub(crate) struct CallerName(pub(crate) String);

/// Answers a request, with all that is common to requests.
pub(crate) async fn accompany(request: Request, next: Next) -> Response {
    let (began, id) = (Instant::now(), request_id(request.headers()));
    let (method, path) = (request.method().clone(), request.uri().path().chars().take(PATH_MAX).collect());
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answered = caught("gateway", next.run(request)).await;
    let panicked = |_| Problem::new(Kind::PANIC, "the log has more under this request's id").into_response();
    let mut response = answered.unwrap_or_else(panicked);
    response.headers_mut().insert(REQUEST_ID, id.clone());
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(value);
    }
    count(&method, matched.as_deref().unwrap_or("other"), &response, began);
    log(&id, &method, path, &response, began);
    response
}

/// The caller's id of a request, if it can be in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        id.to_str().is_ok_and(|text| {
            (1..=REQUEST_ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        })
    };
    let new = || HeaderValue::from_str(&Uuid::now_v7().to_string()).ok();
    let id = headers.get(REQUEST_ID).filter(fits).cloned().or_else(new);
    id.unwrap_or(HeaderValue::from_static("-"))
}

/// Labels have few values: the route instead of the path, the methods that there are.
fn count(method: &Method, route: &str, response: &Response, began: Instant) {
    let method = if [Method::GET, Method::POST].contains(method) { method.as_str() } else { "other" };
    GATEWAY_REQUESTS.with_label_values(&[route, method, response.status().as_str()]).inc();
    GATEWAY_SECONDS.with_label_values(&[route, method]).observe(began.elapsed().as_secs_f64());
}

/// Neither headers nor query nor body: they may have secrets.
fn log(id: &HeaderValue, method: &Method, path: String, response: &Response, began: Instant) {
    let client = response.extensions().get::<CallerName>().map_or("-", |name| name.0.as_str());
    let (status, ms) = (response.status().as_u16(), began.elapsed().as_millis());
    tracing::info!(request = ?id, client, %method, path, status, ms, "answered");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_id_if_that_can_be_in_a_log() {
        let of = |id: &'static [u8]| {
            request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]))
        };
        assert_eq!(of(b"abc-1"), "abc-1");
        for other in [&b""[..], b"two words", b"\xff", &[b'x'; REQUEST_ID_MAX + 1]] {
            assert_eq!(of(other).len(), 36, "a new one instead of {other:?}");
        }
    }
}
