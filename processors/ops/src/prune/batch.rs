//! Batches of rows that are removed in one transaction with their marks.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_engine::failpoints;
use millrace_store::names::COMMANDS;
use millrace_store::prune::Batch;
use millrace_store::{
    Place, audit, command, consumer_offset, dead_letter, effect, outbox, pruned, saga, saga_step,
};
use sqlx::{Connection as _, PgConnection};

use super::kind::Kind;
use super::look::Horizon;
use crate::config::Config;
use crate::layout::Side;

/// Rows of a batch, at most; instances of sagas.
const AT_ONCE: i64 = 500;

/// Removes batches until no row is old enough.
pub(super) struct Batches<'b> {
    kind: Kind,
    side: Side,
    horizon: &'b Horizon,
    /// The consumer group of the commands.
    commands: String,
    before: DateTime<Utc>,
    from: Option<DateTime<Utc>>,
}

/// The number of removed rows, and the time that the batch has reached.
type Went = (usize, Option<DateTime<Utc>>);

impl<'b> Batches<'b> {
    pub(super) fn new(
        config: &Config,
        (kind, side): (Kind, Side),
        horizon: &'b Horizon,
        before: DateTime<Utc>,
    ) -> Self {
        let commands = config.namespace.group(COMMANDS);
        Self { kind, side, horizon, commands, before, from: None }
    }

    /// Removes a batch of rows; returns how many. `None` when none is left.
    pub(super) async fn next(&mut self, connection: &mut PgConnection) -> sqlx::Result<Option<u32>> {
        let mut transaction = connection.begin().await?;
        let gone = self.remove(&mut transaction).await?;
        failpoints::pass(failpoints::BEFORE_COMMIT);
        transaction.commit().await?;
        let Some((rows, last)) = gone else { return Ok(None) };
        self.from = last.or(self.from);
        Ok(Some(u32::try_from(rows).unwrap_or(u32::MAX)))
    }

    async fn remove(&self, connection: &mut PgConnection) -> sqlx::Result<Option<Went>> {
        let batch = Batch { before: self.before, from: self.from, most: AT_ONCE };
        let went = match self.kind {
            Kind::Receipts => self.receipts(connection, batch).await?,
            Kind::Outbox => outbox::prune(connection, batch).await?,
            Kind::SagaSteps => return steps(connection, batch).await,
            Kind::EffectBodies => effect::prune(connection, batch).await?,
            Kind::DeadLetters => self.letters(connection, batch).await?,
            Kind::Audit => audit::prune(connection, batch).await?,
        };
        Ok((went.0 > 0).then_some(went))
    }

    /// Removes receipts, but not while commands are read again after a reset: a command that was sent twice would be new the
    /// second time.
    async fn receipts(&self, connection: &mut PgConnection, batch: Batch) -> sqlx::Result<Went> {
        if self.horizon.firsts.is_empty() {
            return Ok((0, None));
        }
        pruned::lock(connection).await?;
        if consumer_offset::reads_again(connection, &self.commands).await? {
            tracing::warn!(
                group = self.commands,
                "commands are read again after a reset: receipts stay until then"
            );
            return Ok((0, None));
        }
        let (gone, last) = command::prune(connection, &self.horizon.firsts, batch).await?;
        pruned::mark(connection, &self.commands, &gone).await?;
        Ok((gone.len(), last))
    }

    /// Removes dead letters. On the write side a discarded letter makes its record be skipped; afterwards the mark does.
    async fn letters(&self, connection: &mut PgConnection, batch: Batch) -> sqlx::Result<Went> {
        let ledger = self.side == Side::Write;
        if ledger {
            pruned::lock(connection).await?;
        }
        let (gone, last) = dead_letter::prune(connection, ledger, batch).await?;
        let (rows, mut discarded) = (gone.len(), BTreeMap::<String, Vec<Place>>::new());
        for letter in gone.into_iter().filter(|letter| ledger && letter.discarded) {
            discarded.entry(letter.group).or_default().push(letter.place);
        }
        for (group, places) in discarded {
            pruned::mark(connection, &group, &places).await?;
        }
        Ok((rows, last))
    }
}

/// Removes steps. The hashes of their inputs are kept in the rows of the instances, which are locked.
async fn steps(connection: &mut PgConnection, batch: Batch) -> sqlx::Result<Option<Went>> {
    let (instances, last) = saga::lock_ended(connection, batch).await?;
    if instances.is_empty() {
        return Ok(None);
    }
    let gone = saga_step::prune(connection, &instances).await?;
    saga::steps_gone(connection, &instances, &gone).await?;
    Ok(Some((gone.len(), last)))
}
