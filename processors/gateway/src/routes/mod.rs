//! The routes.

pub(crate) mod batch;
mod body;
mod commands;
mod dry_run;
mod fit;
mod line;
mod pages;
mod parameter;
mod queries;
mod receipts;
mod sent;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytesize::ByteSize;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::accompany;
use crate::asyncapi;
use crate::gateway::{Gateway, admit};
use crate::openapi;
use crate::problem::{Kind, Problem};

/// How long a browser remembers what a page may do.
const PREFLIGHT_KEPT_FOR: Duration = Duration::from_secs(600);

/// Every route, behind the limits that every request passes.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    let (body_max, batch_max) =
        (bytes(gateway.config.gateway.body_max), bytes(gateway.config.gateway.batch_max));
    Router::new()
        .route(batch::PATH, post(batch::send).layer(DefaultBodyLimit::max(batch_max)))
        .route("/v1/commands/{type}", post(commands::send))
        .route("/v1/receipts/{id}", get(receipts::own))
        .route("/v1/receipts/{source}/{id}", get(receipts::of_source))
        .route(openapi::PATH, get(document))
        .route(asyncapi::PATH, get(topics))
        .merge(queries::router())
        .method_not_allowed_fallback(other_method)
        .route_layer(from_fn_with_state(gateway.clone(), admit))
        .fallback(|| async { Problem::new(Kind::UNKNOWN_PATH, "docs/http.md has the routes") })
        .layer(DefaultBodyLimit::max(body_max))
        .layer(CompressionLayer::new())
        // Not compressed: they need no token, so that anybody could have the work done again and again.
        .merge(pages::router().method_not_allowed_fallback(other_method))
        .layer(cors(&gateway.config.gateway.cors_origins))
        .layer(from_fn(accompany))
        .with_state(gateway.clone())
}

async fn other_method() -> Problem {
    Problem::new(Kind::METHOD, "POST a command, GET anything else")
}

/// The OpenAPI document.
async fn document(State(gateway): State<Arc<Gateway>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], gateway.document())
}

/// The AsyncAPI document.
async fn topics(State(gateway): State<Arc<Gateway>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], gateway.topics())
}

/// Pages of these origins may call from a browser; without origins no page may. A token is never sent by itself, so there are no
/// credentials.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let [key, prefer, least, request_id, trace] =
        ["idempotency-key", "prefer", "min-version", "x-request-id", "traceparent"]
            .map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            key,
            prefer,
            least,
            request_id.clone(),
            trace,
        ])
        .expose_headers([LOCATION, ETAG, RETRY_AFTER, request_id])
        .max_age(PREFLIGHT_KEPT_FOR)
}

/// Everything but the unreserved characters of RFC 3986, so that an id is one segment whatever it has.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of a receipt of the caller.
fn location(id: &str) -> String {
    format!("/v1/receipts/{}", utf8_percent_encode(id, RESERVED))
}
