//! The routes.

mod commands;
mod receipts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::accompany;
use crate::gateway::{Gateway, admit};
use crate::problem::{Kind, Problem};

/// Every route, behind the limits that every request passes.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    let body_max = usize::try_from(gateway.config.gateway.body_max.as_u64()).unwrap_or(usize::MAX);
    Router::new()
        .route("/v1/commands/{type}", post(commands::send))
        .route("/v1/receipts/{id}", get(receipts::own))
        .route("/v1/receipts/{source}/{id}", get(receipts::of_source))
        .method_not_allowed_fallback(|| async { Problem::new(Kind::METHOD, "POST a command, GET a receipt") })
        .route_layer(from_fn_with_state(gateway.clone(), admit))
        .fallback(|| async { Problem::new(Kind::UNKNOWN_PATH, "docs/http.md has the routes") })
        .layer(DefaultBodyLimit::max(body_max))
        .layer(from_fn(accompany))
        .with_state(gateway.clone())
}

/// Everything but the unreserved characters of RFC 3986, so that an id is one segment whatever it has.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of a receipt of the caller.
fn location(id: &str) -> String {
    format!("/v1/receipts/{}", utf8_percent_encode(id, RESERVED))
}
