//! Writing the rows of a batch, and finding those that Postgres refuses, so that the others are written.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use millrace_domain::{Recorded, View};
use sqlx::{Connection as _, PgConnection};

use super::table::{Table, contended};
use super::{Ready, RowRole, Rows, Versioned};
use crate::elastic::Document;
use crate::error::{Fault, WorkError};
use crate::metrics::timed;
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::sequence::{Intake, Placed};
use crate::views::intake::{self, Stream, stream_of};
use crate::views::row::document;

/// Rows of a statement, at most: a row takes several kilobytes while it is bound.
const ROWS_IN_A_STATEMENT: usize = 200;

/// The outcome of writing rows.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) documents: Vec<Document>,
    /// The keys of new rows that another worker has inserted first.
    pub(super) taken: BTreeSet<String>,
    /// The keys of rows that Postgres refuses, with its errors.
    refused: BTreeMap<String, Reason>,
}

impl Stored {
    /// The documents; an error when another worker has inserted one of the rows.
    pub(super) fn all(self) -> Result<Vec<Document>, WorkError> {
        if self.taken.is_empty() { Ok(self.documents) } else { Err(contended()) }
    }
}

impl<V: View> RowRole<V> {
    /// Writes rows in statements of bounded size, and returns them as documents. When Postgres refuses a row, the events that cause
    /// it fail, and later events of their streams wait.
    pub(super) async fn store(
        &self,
        connection: &mut PgConnection,
        intake: &mut Intake,
        rows: &Rows<V::Row>,
    ) -> Result<Stored, WorkError> {
        let table = self.table(connection).await?;
        let (all, mut stored): (Vec<_>, _) = (rows.iter().collect(), Stored::default());
        for some in all.chunks(ROWS_IN_A_STATEMENT) {
            let some: Vec<Ready<'_>> =
                some.iter().map(|(key, row)| row.ready(key)).collect::<Result<_, _>>()?;
            if intake.events.len() == 1 || !intake.isolates {
                // Without a savepoint: there are no other rows, or the batch is rolled back.
                self.store_some(connection, &table, &some, &mut stored).await?;
            } else {
                self.store_or_halve(connection, &table, &some, &mut stored).await?;
            }
        }
        for (key, reason) in std::mem::take(&mut stored.refused) {
            stored.documents.extend(self.one_by_one(connection, intake, &key, reason).await?);
        }
        Ok(stored)
    }

    async fn store_some(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        rows: &[Ready<'_>],
        stored: &mut Stored,
    ) -> Result<(), WorkError> {
        let (known, new): (Vec<&Ready<'_>>, Vec<&Ready<'_>>) =
            rows.iter().partition(|row| row.ctid.is_some());
        timed("view update", table.update(connection, &known)).await?;
        let inserted = timed("view insert", table.insert(connection, &new)).await?;
        for row in rows {
            if row.ctid.is_none() && !inserted.contains(row.key) {
                stored.taken.insert(row.key.to_owned());
            } else if self.index.is_some() {
                stored.documents.push(document::<V>(row.key, row.version, &row.fields)?);
            }
        }
        Ok(())
    }

    /// Writes rows; finds the refused ones by bisection.
    fn store_or_halve<'s>(
        &'s self,
        connection: &'s mut PgConnection,
        table: &'s Table,
        rows: &'s [Ready<'s>],
        stored: &'s mut Stored,
    ) -> BoxFuture<'s, Result<(), WorkError>> {
        Box::pin(async move {
            let mut savepoint = connection.begin().await?;
            let reason = match self.store_some(&mut savepoint, table, rows, stored).await {
                Ok(()) => return Ok(savepoint.commit().await?),
                Err(WorkError::Refused(reason)) => reason,
                Err(error) => return Err(error),
            };
            savepoint.rollback().await?;
            if let [Ready { key, .. }] = rows {
                stored.refused.insert((*key).to_owned(), reason);
                return Ok(());
            }
            let (left, right) = rows.split_at(rows.len() / 2);
            self.store_or_halve(connection, table, left, stored).await?;
            self.store_or_halve(connection, table, right, stored).await
        })
    }

    /// Folds the events of a refused row again, one at a time.
    async fn one_by_one(
        &self,
        connection: &mut PgConnection,
        intake: &mut Intake,
        key: &str,
        reason: Reason,
    ) -> Result<Vec<Document>, WorkError> {
        let table = self.table(connection).await?;
        let Intake { events, outcomes, .. } = intake;
        let Some(mut streams) = streams_of::<V>(events, key) else {
            // Other rows of these events are written already and would have to be rolled back: bisecting the batch finds the record.
            return Err(WorkError::Refused(reason));
        };
        let found = table.look::<V>(connection, &[key]).await?.remove(key);
        let (mut row, mut stuck) = (found.unwrap_or_default(), BTreeSet::new());
        let before = row.version;
        for (place, recorded) in events {
            let stream = stream_of(recorded);
            let Some(reached) = streams.get_mut(&stream) else { continue };
            let outcome = match stuck.contains(&stream) {
                true => Outcome::Waits,
                false => self.try_one(connection, &table, (key, &mut row), recorded).await?,
            };
            if outcome == Outcome::Applied {
                *reached = recorded.version;
            } else {
                stuck.insert(stream);
            }
            if let Some(known) = outcomes.get_mut(*place) {
                *known = outcome;
            }
        }
        intake::put_back(connection, &self.group, &streams).await?;
        if row.version == before {
            return Ok(Vec::new());
        }
        let mut stored = Stored::default();
        self.store_some(connection, &table, &[row.ready(key)?], &mut stored).await?;
        stored.all()
    }

    /// Folds an event into a row that is not written yet, if Postgres would accept the result.
    async fn try_one(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        (key, row): (&str, &mut Versioned<V::Row>),
        recorded: &Recorded,
    ) -> Result<Outcome, WorkError> {
        if V::keys(recorded).is_empty() {
            return Ok(Outcome::Applied);
        }
        let mut next = row.clone();
        next.fold::<V>(key, recorded);
        Ok(match self.refusal(connection, table, (key, &next)).await? {
            Some(reason) => Outcome::Failed(Fault::refused(reason.text())),
            None => {
                *row = next;
                Outcome::Applied
            }
        })
    }

    /// Postgres's error for a row, if it would refuse it; writes nothing.
    async fn refusal(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        (key, row): (&str, &Versioned<V::Row>),
    ) -> Result<Option<Reason>, WorkError> {
        let mut savepoint = connection.begin().await?;
        let (some, mut stored) = ([row.ready(key)?], Stored::default());
        let refusal = match self.store_some(&mut savepoint, table, &some, &mut stored).await {
            Ok(()) => None,
            Err(WorkError::Refused(reason)) => Some(reason),
            Err(error) => return Err(error),
        };
        savepoint.rollback().await?;
        Ok(refusal)
    }
}

/// The streams whose events touch a row, with the applied version of each before the batch; `None` when one of them also touches
/// other rows.
fn streams_of<V: View>(events: &[Placed], key: &str) -> Option<BTreeMap<Stream, i64>> {
    let touching = events.iter().filter(|(_, recorded)| V::keys(recorded).iter().any(|k| k == key));
    let touching: BTreeSet<Stream> = touching.map(|(_, recorded)| stream_of(recorded)).collect();
    let mut streams = BTreeMap::new();
    for (_, recorded) in events.iter().filter(|(_, recorded)| touching.contains(&stream_of(recorded))) {
        if V::keys(recorded).iter().any(|k| k != key) {
            return None;
        }
        streams.entry(stream_of(recorded)).or_insert(recorded.version - 1);
    }
    Some(streams)
}
