//! `GET /v1/receipts/…`

use std::sync::Arc;
use std::time::Duration;

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
    let receipt = found(&gateway, &client, &id).await?;
    let place = receipt.partition.zip(receipt.offset);
    let (Some(within), Some(place), false) = (waits, place, has_outcome(&receipt)) else {
        return Ok(Json(receipt.into()));
    };
    let _place = client.place_to_wait()?;
    let outcome = gateway.receipts.outcome((&client.name, &id), place, within);
    match gateway.stop.run_until_cancelled(outcome).await {
        Some(Ok(Some(outcome))) => Ok(Json(outcome.receipt.into())),
        Some(Err(error)) => Err(unanswered(&error)),
        // What it waits for may be another thing now.
        Some(Ok(None)) | None => Ok(Json(found(&gateway, &client, &id).await?.into())),
    }
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
