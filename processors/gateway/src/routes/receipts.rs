//! `GET /v1/receipts/…`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use crate::clients::Client;
use crate::gateway::Gateway;
use crate::problem::{Kind, Problem};
use crate::receipts::Unanswered;
use crate::shown::Shown;

/// When a client may ask again while receipts cannot be read, in seconds.
const RETRY_AFTER: u16 = 5;

/// The receipt of a command of the caller.
pub(super) async fn own(
    State(gateway): State<Arc<Gateway>>,
    Extension(client): Extension<Arc<Client>>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let found = gateway.receipts.receipt(&client.name, &id).await.map_err(|error| unanswered(&error))?;
    found.map(Shown::from).map(Json).ok_or_else(unknown)
}

/// The receipt of a command by source and id: that of another source is as unknown as one that does not exist.
pub(super) async fn of_source(
    gateway: State<Arc<Gateway>>,
    client: Extension<Arc<Client>>,
    Path((source, id)): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    if source != client.name {
        return Err(unknown());
    }
    own(gateway, client, Path(id)).await
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
