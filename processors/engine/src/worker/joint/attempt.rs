//! The transaction of a joint batch.

use std::time::{Duration, Instant};

use millrace_store::{Group, blocked_key};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::database::Pool;
use crate::error::WorkError;
use crate::metrics::timed;
use crate::offsets::{Step, not_made};
use crate::record::Record;
use crate::retry::{Retries, Settled};
use crate::sequence::{Decoded, Intake};
use crate::views::intake;
use crate::worker::Share;
use crate::worker::batch::{Moved, end, fenced};

/// The batch of one group: shares of one role's source partitions, in their order.
pub(super) struct Part(pub(super) Vec<Share>);

/// What is done after the commit for one part, and how long folding it took.
pub(super) struct Folded {
    pub(super) settled: Settled,
    pub(super) took: Duration,
}

/// Why a joint batch was not committed.
pub(super) enum Divided {
    /// These parts do not simply apply; the others may.
    By(Vec<usize>),
    /// Each part must be tried separately.
    All(WorkError),
}

impl<E: Into<WorkError>> From<E> for Divided {
    fn from(error: E) -> Self {
        Self::All(error.into())
    }
}

impl Part {
    fn retries(&self) -> Option<&Retries> {
        self.0.first().map(|share| &share.worker.retries)
    }

    pub(super) fn records(&self) -> Vec<&Record> {
        self.0.iter().flat_map(|share| &share.records).collect()
    }

    pub(super) fn steps(&self) -> Vec<Step<'_>> {
        self.0.iter().map(Share::step).collect()
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.0.first().map(|share| &share.worker.claim.group)
    }

    /// How a commit moves the offsets.
    pub(super) fn moved(&self) -> Vec<Moved> {
        self.steps().iter().map(|step| (step.to, step.published)).collect()
    }

    /// After an attempt that was not committed.
    pub(super) fn forget(&self) {
        self.retries().into_iter().for_each(|retries| retries.role.forget());
    }

    /// A fault is told when the group finds its record.
    fn tell(&self, error: &WorkError) {
        if let (None, Some(group)) = (error.fault(), self.group()) {
            tracing::warn!(group = %group.own_name(), %error, "the group leaves the joint batch");
        }
    }

    async fn decode(&self) -> Result<Option<Decoded<'_>>, WorkError> {
        let Some(retries) = self.retries() else { return Ok(None) };
        retries.decode_plain(&self.records()).await
    }

    async fn fold(&self, connection: &mut PgConnection, intake: Intake) -> Result<Option<Folded>, WorkError> {
        let (Some(retries), started) = (self.retries(), Instant::now()) else { return Ok(None) };
        let settled = retries.fold_plain(connection, &self.records(), intake).await;
        let settled = settled.inspect_err(|error| self.tell(error))?;
        Ok(settled.map(|settled| Folded { settled, took: started.elapsed() }))
    }
}

/// Commits all parts. Nothing is committed when one of them does not simply apply. The parts come in the order of their groups, the
/// same in every process: a row that several batches lock is then never locked in two orders.
pub(super) async fn attempt(pool: &Pool, parts: &[Part]) -> Result<Vec<Folded>, Divided> {
    let decoded = decode(parts).await?;
    // A group that waits longer for a lock leaves: the others would wait with it.
    let mut transaction = timed("begin", pool.begin_with("BEGIN; SET LOCAL lock_timeout = '100ms'")).await?;
    if let Err(divided) = fence(&mut transaction, parts).await {
        return Err(rolled_back(transaction, divided).await);
    }
    let mut transaction = fenced(pool, transaction).await?;
    match fold(&mut transaction, parts, decoded).await {
        Ok(folded) => {
            end(transaction).await?;
            Ok(folded)
        }
        Err(divided) => Err(rolled_back(transaction, divided).await),
    }
}

/// Rolls back, so that the next attempt does not wait for the locks of this one. If that fails, so has the connection, and the reason
/// remains the first one.
async fn rolled_back(transaction: Transaction<'static, Postgres>, divided: Divided) -> Divided {
    if let Err(error) = transaction.rollback().await {
        tracing::debug!(%error, "joint batch not rolled back");
    }
    divided
}

async fn fence(connection: &mut PgConnection, parts: &[Part]) -> Result<(), Divided> {
    let steps = parts
        .iter()
        .enumerate()
        .flat_map(|(place, part)| part.steps().into_iter().map(move |step| (place, step)));
    let (places, steps): (Vec<usize>, Vec<Step<'_>>) = steps.unzip();
    none_of(of_parts(&places, &not_made(connection, &steps).await?))
}

async fn fold(
    connection: &mut PgConnection,
    parts: &[Part],
    decoded: Vec<Decoded<'_>>,
) -> Result<Vec<Folded>, Divided> {
    none_of(blocked(connection, parts).await?)?;
    let intakes = check(connection, decoded).await?;
    let mut folded = Vec::with_capacity(parts.len());
    for (place, (part, intake)) in parts.iter().zip(intakes).enumerate() {
        folded.push(by(place, part.fold(connection, intake).await)?);
    }
    Ok(folded)
}

/// Decodes the records of parts with a sequence check; no transaction waits for that.
async fn decode(parts: &[Part]) -> Result<Vec<Decoded<'_>>, Divided> {
    let mut decoded = Vec::with_capacity(parts.len());
    for (place, part) in parts.iter().enumerate() {
        match part.decode().await {
            Err(outage @ WorkError::Outage { .. }) => return Err(Divided::All(outage)),
            outcome => decoded.push(by(place, outcome)?),
        }
    }
    Ok(decoded)
}

/// The parts with a blocked key.
async fn blocked(connection: &mut PgConnection, parts: &[Part]) -> Result<Vec<usize>, WorkError> {
    let shares = parts.iter().enumerate().flat_map(|(place, Part(shares))| {
        shares.iter().map(move |Share { worker, .. }| (place, &worker.claim))
    });
    let (places, asked): (Vec<_>, Vec<_>) =
        shares.map(|(place, claim)| (place, (&claim.group, claim.topic.as_str()))).unzip();
    let found = timed("blocked_key topics", blocked_key::topics(connection, &asked)).await?;
    Ok(of_parts(&places, &found))
}

/// The parts of what was found at these places, each of which belongs to a part.
fn of_parts(parts: &[usize], found: &[usize]) -> Vec<usize> {
    found.iter().filter_map(|place| parts.get(*place).copied()).collect()
}

/// The sequence check of all parts, and their progress in one statement.
async fn check(connection: &mut PgConnection, decoded: Vec<Decoded<'_>>) -> Result<Vec<Intake>, Divided> {
    let checked = intake::check(connection, decoded).await?;
    none_of(
        (0..).zip(&checked).filter(|(_, checked)| !checked.is_plain()).map(|(place, _)| place).collect(),
    )?;
    intake::save(connection, &checked).await?;
    Ok(checked.into_iter().map(intake::Checked::into_intake).collect())
}

fn none_of(parts: Vec<usize>) -> Result<(), Divided> {
    if parts.is_empty() { Ok(()) } else { Err(Divided::By(parts)) }
}

/// The outcome of one part. A limit of time concerns the others, too: all have used it. If the database is away, the next attempt
/// without the part shows that; its own table may be missing.
fn by<T>(place: usize, outcome: Result<Option<T>, WorkError>) -> Result<T, Divided> {
    match outcome {
        Ok(Some(plain)) => Ok(plain),
        Err(error @ WorkError::Overran(_)) => Err(Divided::All(error)),
        Ok(None) | Err(_) => Err(Divided::By(vec![place])),
    }
}
