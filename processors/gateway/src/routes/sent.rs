//! A command that Kafka has acknowledged, and what became of it.

use axum::Json;
use std::time::Duration;

use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use millrace_ops::send::Acknowledged;
use millrace_schemas::Definition;
use serde_json::json;

use super::location;
use crate::gateway::Gateway;
use crate::problem::{Kind, Problem};
use crate::receipts::Outcome;
use crate::shown::Shown;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Tells a caller that it was waited for an outcome.
pub(super) fn applied(waits: Option<Duration>) -> AppendHeaders<Option<(HeaderName, String)>> {
    AppendHeaders(waits.map(|within| (PREFERENCE_APPLIED, format!("wait={}", within.as_secs()))))
}

/// A command that Kafka has acknowledged.
pub(super) struct Sent {
    pub(super) source: String,
    pub(super) id: String,
    pub(super) definition: &'static Definition,
    pub(super) acknowledged: Acknowledged,
}

impl Sent {
    /// The path of its receipt.
    pub(super) fn location(&self) -> String {
        location(&self.id)
    }

    /// 202: it is in Kafka.
    pub(super) fn under_way(&self) -> Response {
        let Self { source, id, definition, .. } = self;
        let body = json!({"id": id, "source": source, "type": definition.full_name, "status": "pending"});
        (StatusCode::ACCEPTED, [(LOCATION, self.location())], Json(body)).into_response()
    }

    /// The outcome, or 202 when there is none in time.
    pub(super) async fn awaited(&self, gateway: &Gateway, within: Duration) -> Result<Response, Problem> {
        let place = (self.acknowledged.partition, self.acknowledged.offset);
        let outcome = gateway.receipts.outcome((&self.source, &self.id), (place, None), within);
        match gateway.stop.run_until_cancelled(outcome).await {
            Some(Ok(Some(outcome))) => self.answer(outcome),
            Some(Ok(None)) | None => Ok(self.under_way()),
            Some(Err(error)) => {
                // The command is in Kafka, so it is taken.
                tracing::warn!(%error, "an outcome cannot be waited for");
                Ok(self.under_way())
            }
        }
    }

    fn answer(&self, outcome: Outcome) -> Result<Response, Problem> {
        match self.ended(outcome) {
            Ok(shown) => Ok((StatusCode::OK, [(LOCATION, self.location())], Json(shown)).into_response()),
            Err(problem) => Err(match HeaderValue::from_str(&self.location()) {
                Ok(location) => problem.header(LOCATION, location),
                Err(_) => problem,
            }),
        }
    }

    /// The receipt of a completed command.
    ///
    /// # Errors
    /// That it is rejected or dead, or another command has its identity.
    pub(super) fn ended(&self, outcome: Outcome) -> Result<Shown, Problem> {
        if !self.acknowledged.has_fingerprint(&outcome.fingerprint()) && !outcome.is_dead() {
            return Err(Problem::new(
                Kind::KEY_REUSED,
                "another command has this idempotency key; this one is not executed: send it with a key of its own",
            ));
        }
        let kind = match outcome.receipt.status.as_str() {
            "rejected" => Kind::REJECTED,
            "dead" => Kind::DEAD,
            _ => return Ok(Shown::from(outcome.receipt)),
        };
        let (code, message) = (outcome.receipt.code.clone(), outcome.receipt.message.clone());
        let problem = Problem::new(kind, message.unwrap_or_default()).with("code", code);
        Err(problem.with("receipt", Shown::from(outcome.receipt)))
    }
}
