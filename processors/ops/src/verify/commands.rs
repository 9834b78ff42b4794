//! The mark up to which all commands that Millrace has sent are decided; undecided ones are after it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_store::{outbox, verified};
use serde::{Deserialize, Serialize};

use super::horizon;
use crate::failure::Failure;
use crate::postgres::Database;

const WHAT: &str = "commands";

/// Every command that was written before this time is decided.
#[derive(Serialize, Deserialize)]
struct Decided {
    before: DateTime<Utc>,
}

/// A time before which every command is decided; `None` when it is not known.
pub(crate) async fn decided_before(write: &Database) -> Result<Option<DateTime<Utc>>, Failure> {
    let mark: Option<Decided> =
        verified::mark(&write.pool, WHAT).await.map_err(|error| write.failure(error))?;
    Ok(mark.map(|mark| mark.before))
}

/// Moves the mark forward as far as possible.
pub(super) async fn advance(write: &Database, patience: Duration) -> Result<(), Failure> {
    let fail = |error| write.failure(error);
    let known = decided_before(write).await?;
    let Some(now) = horizon::settled(write, patience).await? else { return Ok(()) };
    let (_, oldest) = outbox::undecided(&write.pool, known).await.map_err(fail)?;
    let before = oldest.map_or(now, |oldest| oldest.min(now));
    match known {
        Some(known) if before <= known => Ok(()),
        // A row without `written_at`.
        None if before == DateTime::<Utc>::MIN_UTC => Ok(()),
        _ => verified::set(&write.pool, WHAT, &Decided { before }).await.map_err(fail),
    }
}
