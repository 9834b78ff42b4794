//! `GET /v1/receipts/…`

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::{Extension, Json};
use millrace_ops::receipts::Receipt;

use super::parameter;
use crate::clients::Client;
use crate::gateway::Gateway;
use crate::problem::{Kind, Problem};
use crate::receipts::Unanswered;
use crate::shown::Shown;

/// When a client may ask again while receipts cannot be read, in seconds.
const RETRY_AFTER: u16 = 5;
/// Seconds of a wait, at most; `gateway.wait_max` cuts it.
const WAIT_MAX: u64 = 9_999;

/// The receipt of a command of the caller; with `?wait=5` once it has an outcome, if that is within five seconds.
pub(super) async fn own(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<Shown>, Problem> {
    let waits = asked_wait(&uri)?.map(|within| within.min(gateway.wait_max()));
    let _place = waits.map(|_| client.place_to_wait()).transpose()?;
    let receipt = found(&gateway, &client, &id).await?;
    let receipt = match waits {
        Some(within) => awaited(&gateway, &client, receipt, Instant::now() + within).await?,
        None => receipt,
    };
    Ok(Json(receipt.into()))
}

/// The receipt once the command has an outcome. A dead letter that was redriven is none: it is in the ledger until the command is
/// decided.
async fn awaited(
    gateway: &Gateway,
    client: &Client,
    mut receipt: Receipt,
    until: Instant,
) -> Result<Receipt, Problem> {
    let mut not = None;
    while let (Some(place), false) = (receipt.partition.zip(receipt.offset), has_outcome(&receipt)) {
        let within = until.saturating_duration_since(Instant::now());
        let outcome = gateway.receipts.outcome((&client.name, &receipt.id), (place, not), within);
        let told = match gateway.stop.run_until_cancelled(outcome).await {
            Some(Ok(Some(outcome))) if outcome.is_dead() => outcome.receipt.decided_at,
            Some(Ok(Some(outcome))) => return Ok(outcome.receipt),
            Some(Err(error)) => return Err(unanswered(&error)),
            Some(Ok(None)) | None => None,
        };
        // What it waits for may be another thing now.
        receipt = found(gateway, client, &receipt.id).await?;
        if told.is_none() || told == not {
            break;
        }
        not = told;
    }
    Ok(receipt)
}

async fn found(gateway: &Gateway, client: &Client, id: &str) -> Result<Receipt, Problem> {
    let found = gateway.receipts.receipt(&client.name, id).await.map_err(|error| unanswered(&error))?;
    found.ok_or_else(unknown)
}

fn has_outcome(receipt: &Receipt) -> bool {
    ["completed", "rejected", "dead"].contains(&receipt.status.as_str())
}

/// The seconds of `?wait=5`.
fn asked_wait(uri: &Uri) -> Result<Option<Duration>, Problem> {
    let Some(seconds) = parameter::only(uri, "wait")? else { return Ok(None) };
    let seconds = seconds.parse().ok().filter(|seconds| (1..=WAIT_MAX).contains(seconds));
    let wrong = || parameter::refused("wait", "must be a number of seconds, 1 to 9999");
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(wrong)
}

/// The receipt of a command by source and id: that of another source is as unknown as one that does not exist.
pub(super) async fn of_source(
    gateway: State<Arc<Gateway>>,
    client: Extension<Arc<Client>>,
    Path((source, id)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Shown>, Problem> {
    if source != client.name {
        return Err(unknown());
    }
    own(gateway, client, Path(id), uri).await
}

fn unknown() -> Problem {
    Problem::new(
        Kind::UNKNOWN_RECEIPT,
        "no command of this client has this id, or its receipt is not kept any more",
    )
}

/// Receipts cannot be read now.
fn unanswered(error: &Unanswered) -> Problem {
    tracing::warn!(%error, "no receipts");
    Problem::new(Kind::RECEIPTS, "try again").retry_after(RETRY_AFTER)
}
