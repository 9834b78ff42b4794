//! `POST /v1/commands/{type}`

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use axum::{Extension, Json};
use millrace_engine::spans;
use millrace_ops::contract;
use millrace_ops::send::{Acknowledged, Command, Unfit, Unsent};
use millrace_schemas::Definition;
use millrace_schemas::json::{JsonError, JsonErrors};
use serde_json::{Value, json};

use super::location;
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::headers::{expect_json, idempotency_key, wait};
use crate::problem::{FieldError, Kind, Problem};
use crate::receipts::Outcome;
use crate::shown::Shown;

/// The timeout for a request's body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// When a client may send again while commands cannot be taken, in seconds.
const RETRY_AFTER: u16 = 5;
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A command that Kafka has acknowledged.
struct Sent {
    source: String,
    id: String,
    definition: &'static Definition,
    acknowledged: Acknowledged,
}

/// Sends a command, and waits for its outcome when the caller prefers that.
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    Path(type_): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let definition = allowed(&gateway, &client, &type_)?;
    let id = idempotency_key(request.headers())?;
    expect_json(request.headers())?;
    let (waits, given) = (wait(request.headers(), gateway.wait_max()), traceparent(request.headers()));
    let data = body(request).await?;
    let span = spans::Request::begin(given.as_deref());
    let traceparent = span.as_ref().map(spans::Request::header).or(given);
    let command = Command::new(definition.full_name, &client.name, &id, data).traced(traceparent.as_deref());
    let answer = sent(&gateway, command, Named { client: &client, id, definition }, waits).await;
    if let Some(span) = span {
        let status = answer.as_ref().map_or_else(|problem| problem.status(), Response::status);
        span.end(format!("POST {}", definition.full_name), &client.name, status.as_u16());
    }
    answer
}

/// Who sends a command, its id and its type.
struct Named<'c> {
    client: &'c Client,
    id: String,
    definition: &'static Definition,
}

async fn sent(
    gateway: &Gateway,
    command: Command,
    Named { client, id, definition }: Named<'_>,
    waits: Option<Duration>,
) -> Result<Response, Problem> {
    let acknowledged = gateway.sender.send(command).await.map_err(unsent)?;
    let sent = Sent { source: client.name.clone(), id, definition, acknowledged };
    let answer = match waits {
        Some(within) => sent.awaited(gateway, within).await?,
        None => sent.under_way(),
    };
    let applied = waits.map(|within| (PREFERENCE_APPLIED, format!("wait={}", within.as_secs())));
    Ok((AppendHeaders(applied), answer).into_response())
}

/// The command of this name, if the client may send it.
fn allowed(gateway: &Gateway, client: &Client, type_: &str) -> Result<&'static Definition, Problem> {
    let unknown = |reason| Problem::new(Kind::UNKNOWN_COMMAND, reason);
    let definition = contract::command(type_).map_err(unknown)?;
    let context = definition.context;
    if !client.may_send_to(context) {
        return Err(Problem::new(
            Kind::FORBIDDEN,
            format!("the client may not send commands of `{context}`"),
        ));
    }
    if !gateway.config.has(context) {
        return Err(unknown(format!("this instance does not have the context `{context}`")));
    }
    Ok(definition)
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers.get("traceparent")?.to_str().ok().map(str::to_owned)
}

/// The body as JSON.
pub(super) async fn body(request: Request) -> Result<Value, Problem> {
    let whole = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &())).await;
    let whole = whole.map_err(|_| {
        Problem::new(Kind::SLOW, format!("it must come within {} seconds", BODY_WITHIN.as_secs()))
    })?;
    let body = whole.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Kind::TOO_LARGE, "gateway.body_max is the limit"),
        _ => Problem::new(Kind::BODY, "the body ended too early"),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let errors = [FieldError { path: String::new(), message: format!("is not JSON: {error}") }];
        Problem::new(Kind::BODY, "errors says where it ends to be JSON").with("errors", errors)
    })
}

fn unsent(unsent: Unsent) -> Problem {
    match unsent {
        Unsent::Unfit(Unfit::Fields(_, errors)) => fields(&errors),
        Unsent::Unfit(Unfit::Attribute("id", problem)) => {
            Problem::new(Kind::KEY, format!("Idempotency-Key {problem}"))
        }
        Unsent::Unfit(unfit) => Problem::new(Kind::UNKNOWN_COMMAND, unfit.to_string()),
        Unsent::TooLarge => Problem::new(Kind::TOO_LARGE, "Kafka does not take a record of this size"),
        Unsent::Unavailable(error) => {
            tracing::warn!(%error, "a command was not taken");
            let detail = "send it again with the same idempotency key: it is executed once";
            Problem::new(Kind::KAFKA, detail).retry_after(RETRY_AFTER)
        }
    }
}

/// Every field that does not fit.
fn fields(errors: &JsonErrors) -> Problem {
    let error = |JsonError { place, problem }: &JsonError| FieldError {
        path: if place.is_whole() { String::new() } else { place.to_string() },
        message: problem.to_string(),
    };
    let errors: Vec<FieldError> = errors.iter().map(error).collect();
    let detail = match errors.len() {
        1 => "1 field is wrong".to_owned(),
        count => format!("{count} fields are wrong"),
    };
    Problem::new(Kind::FIELDS, detail).with("errors", errors)
}

impl Sent {
    /// 202: it is in Kafka.
    fn under_way(&self) -> Response {
        let Self { source, id, definition, .. } = self;
        let body = json!({"id": id, "source": source, "type": definition.full_name, "status": "pending"});
        (StatusCode::ACCEPTED, [(LOCATION, location(id))], Json(body)).into_response()
    }

    /// The outcome, or 202 when there is none in time.
    async fn awaited(&self, gateway: &Gateway, within: Duration) -> Result<Response, Problem> {
        let outcome = gateway.receipts.outcome((&self.source, &self.id), &self.acknowledged, within);
        match gateway.stop.run_until_cancelled(outcome).await {
            Some(Ok(Some(outcome))) => self.ended(outcome),
            Some(Ok(None)) | None => Ok(self.under_way()),
            Some(Err(error)) => {
                // The command is in Kafka, so it is taken.
                tracing::warn!(%error, "an outcome cannot be waited for");
                Ok(self.under_way())
            }
        }
    }

    fn ended(&self, outcome: Outcome) -> Result<Response, Problem> {
        if !self.acknowledged.has_fingerprint(&outcome.fingerprint()) && !outcome.is_dead() {
            return Err(Problem::new(
                Kind::KEY_REUSED,
                "another command has this idempotency key; this one is not executed: send it with a key of its own",
            ));
        }
        let kind = match outcome.receipt.status.as_str() {
            "rejected" => Kind::REJECTED,
            "dead" => Kind::DEAD,
            _ => {
                let shown = Json(Shown::from(outcome.receipt));
                return Ok((StatusCode::OK, [(LOCATION, location(&self.id))], shown).into_response());
            }
        };
        let (code, message) = (outcome.receipt.code.clone(), outcome.receipt.message.clone());
        let problem = Problem::new(kind, message.unwrap_or_default()).with("code", code);
        let problem = problem.with("receipt", Shown::from(outcome.receipt));
        match HeaderValue::from_str(&location(&self.id)) {
            Ok(location) => Err(problem.header(LOCATION, location)),
            Err(_) => Err(problem),
        }
    }
}
