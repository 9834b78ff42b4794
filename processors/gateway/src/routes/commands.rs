//! `POST /v1/commands/{type}`

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use millrace_engine::spans;
use millrace_ops::send::Command;
use millrace_schemas::Definition;

use super::body::body;
use super::dry_run;
use super::fit::{allowed, unsent};
use super::sent::{Sent, applied};
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::headers::{JSON, expect, given_key, idempotency_key, traceparent, wait};
use crate::problem::Problem;

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
        let _place = client.place_to_wait()?;
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
    let _place = waits.map(|_| client.place_to_wait()).transpose()?;
    let acknowledged = gateway.sender.send(command).await.map_err(unsent)?;
    let sent = Sent { source: client.name.clone(), id, definition, acknowledged };
    let answer = match waits {
        Some(within) => sent.awaited(gateway, within).await?,
        None => sent.under_way(),
    };
    Ok((applied(waits), answer).into_response())
}
