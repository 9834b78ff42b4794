//! `POST /v1/commands/{type}`

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use millrace_engine::spans;
use millrace_ops::contract;
use millrace_ops::send::{Command, Unfit, Unsent};
use millrace_schemas::Definition;
use millrace_schemas::json::{JsonError, JsonErrors};
use serde_json::Value;

use super::dry_run;
use super::sent::{Sent, applied};
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::headers::{JSON, expect, given_key, idempotency_key, traceparent, wait};
use crate::problem::{FieldError, Kind, Problem};

/// The timeout for a request's body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// When a client may send again while commands cannot be taken, in seconds.
const RETRY_AFTER: u16 = 5;

/// Sends a command, and waits for its outcome when the caller prefers that; or tells what would become of it.
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    Path(type_): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let definition = allowed(&gateway, &client, &type_)?;
    let is_dry = dry_run::is_asked(&request)?;
    let id = match is_dry {
        true => given_key(request.headers())?.unwrap_or_else(|| dry_run::ID.to_owned()),
        false => idempotency_key(request.headers())?,
    };
    expect(JSON, request.headers())?;
    let (waits, given) = (wait(request.headers(), gateway.wait_max()), traceparent(request.headers()));
    let data = body(request).await?;
    if is_dry {
        let command = Command::new(definition.full_name, &client.name, &id, data);
        return Ok(dry_run::answer(&gateway, command).await?.into_response());
    }
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
    Ok((applied(waits), answer).into_response())
}

/// The command of this name, if the client may send it.
pub(super) fn allowed(
    gateway: &Gateway,
    client: &Client,
    type_: &str,
) -> Result<&'static Definition, Problem> {
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

/// Why a command was not sent.
pub(super) fn unsent(unsent: Unsent) -> Problem {
    match unsent {
        Unsent::Unfit(Unfit::Fields(_, errors)) => fields(&errors, ""),
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

/// Every field that does not fit; their paths begin below `parent`.
pub(super) fn fields(errors: &JsonErrors, parent: &str) -> Problem {
    let error = |JsonError { place, problem }: &JsonError| {
        let place = if place.is_whole() { String::new() } else { place.to_string() };
        let path = if parent.is_empty() || place.is_empty() {
            format!("{parent}{place}")
        } else {
            format!("{parent}.{place}")
        };
        FieldError { path, message: problem.to_string() }
    };
    let errors: Vec<FieldError> = errors.iter().map(error).collect();
    let detail = match errors.len() {
        1 => "1 field is wrong".to_owned(),
        count => format!("{count} fields are wrong"),
    };
    Problem::new(Kind::FIELDS, detail).with("errors", errors)
}
