//! Bodies of requests.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request};
use axum::http::StatusCode;
use serde_json::Value;

use crate::problem::{FieldError, Kind, Problem};

/// The timeout for a request's body.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The body as JSON.
pub(super) async fn body(request: Request) -> Result<Value, Problem> {
    serde_json::from_slice(&whole(request).await?).map_err(|error| {
        let errors = [FieldError { path: String::new(), message: format!("is not JSON: {error}") }];
        Problem::new(Kind::BODY, "errors says where it ends to be JSON").with("errors", errors)
    })
}

/// The body, up to the limit of the route.
pub(super) async fn whole(request: Request) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &())).await;
    let whole = whole.map_err(|_| {
        Problem::new(Kind::SLOW, format!("it must come within {} seconds", BODY_WITHIN.as_secs()))
    })?;
    whole.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Kind::TOO_LARGE, "gateway.body_max is the limit, gateway.batch_max that of batches")
        }
        _ => Problem::new(Kind::BODY, "the body ended too early"),
    })
}
