//! Up to where all commands that Millrace has sent are decided: what is still under way is among those behind.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::{outbox, verified};
use serde::{Deserialize, Serialize};

use super::horizon;
use crate::failure::Failure;
use crate::postgres::Database;

const WHAT: &str = "commands";

/// Every command that was written before is decided.
#[derive(Serialize, Deserialize)]
struct Decided {
    before: DateTime<Utc>,
}

/// When the first command may have been written that is not decided; `None` when it is not known.
pub(crate) async fn decided_before(write: &Database) -> Result<Option<DateTime<Utc>>, Failure> {
    let mark: Option<Decided> =
        verified::mark(&write.pool, WHAT).await.map_err(|error| write.failure(error))?;
    Ok(mark.map(|mark| mark.before))
}

/// Moves the mark on, as far as it goes.
pub(super) async fn advance(write: &Database, patience: Duration) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let known = decided_before(write).await?;
    let Some(now) = horizon::settled(write, patience).await? else { return Ok(()) };
    let (_, oldest) = outbox::undecided(&write.pool, known).await.map_err(fail)?;
    let before = oldest.map_or(now, |oldest| oldest.min(now));
    match known {
        Some(known) if before <= known => Ok(()),
        // One of those that do not bear a time.
        None if before == DateTime::<Utc>::MIN_UTC => Ok(()),
        _ => verified::set(&write.pool, WHAT, &Decided { before }).await.map_err(fail),
    }
}
