//! Draining a key: its blocking record is tried again, then the records that wait behind it are applied.

use std::collections::BTreeMap;

use millrace_store::Place;
use millrace_store::blocked_key::{self, Status};
use millrace_store::consumer_offset::{self, Partition};
use millrace_store::names::{retry_level, retry_topic};
use sqlx::{Acquire as _, PgConnection};

use super::blocked::{self, Blocked};
use super::{Failure, Retries, Settled, copies, parked};
use crate::dead_letters;
use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::outcome::Outcome;
use crate::record::Record;

/// The result of draining a key.
enum Came {
    /// All waiting records were applied.
    Through,
    /// The records before a missing version were applied.
    ToAGap,
    /// This record failed.
    Failed(usize, Fault),
}

impl Retries {
    /// Tries the blocking records that a batch of wake-up copies names. A copy that does not match the key's row is dropped. A copy
    /// whose record's batch is not committed yet is sent again.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back.
    pub async fn settle_wake_ups(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        batch: &[&Record],
    ) -> Result<Settled, WorkError> {
        let mut settled = Settled::default();
        for copy in batch {
            if let Some(fault) = copy.place_only_because() {
                let reason = &fault.message;
                tracing::warn!(
                    ?at,
                    offset = copy.offset,
                    reason,
                    "a wake-up copy is passed over: its blocking record is swept"
                );
                continue;
            }
            let wake_up = copies::read(copy).filter(|wake_up| self.is_woken_by(&wake_up.source, copy));
            let Some(wake_up) = wake_up else {
                tracing::error!(
                    ?at,
                    offset = copy.offset,
                    "not a wake-up copy of Millrace's: left on the retry topic"
                );
                continue;
            };
            let key = copy.ordering_key().to_vec();
            let blocked =
                blocked::lock(connection, self.role.group(), &wake_up.source.topic, &[copy]).await?;
            let blocking = (wake_up.source.partition, wake_up.source.offset);
            let fits = |blocked: &Blocked| {
                let expected = (Status::Retrying, Some(blocking), wake_up.attempts);
                (blocked.status, blocked.blocking, blocked.attempts) == expected
                    || broken(mechanism::STALE_COPY)
            };
            match blocked.into_values().find(fits) {
                Some(blocked) => {
                    self.drain_key(connection, &wake_up.source.topic, at, &key, Some(blocked), &mut settled)
                        .await?;
                }
                None if self.is_ahead(connection, &wake_up.source).await? => self.send_again(copy).await?,
                None => {}
            }
        }
        Ok(settled)
    }

    /// Whether a copy on this topic may wake a blocking record of this source: other producers may also write to retry topics.
    fn is_woken_by(&self, source: &Place, copy: &Record) -> bool {
        let level = retry_level(&copy.topic).unwrap_or_default();
        *copy.topic == *retry_topic(&source.topic, &self.role.group().own_name(), level)
    }

    /// Sends a wake-up copy again. A copy that Kafka refuses, or that was sent too often, is dropped: the sweep wakes its blocking
    /// record.
    async fn send_again(&self, copy: &Record) -> Result<(), WorkError> {
        let Record { topic, partition, offset, .. } = copy;
        let Some(again) = copies::again(copy, self.delay(1)) else {
            tracing::error!(%topic, partition, offset, "a wake-up copy of a record that does not come: left here");
            return Ok(());
        };
        match self.copier.copy(&again, topic, &[]).await {
            Err(WorkError::NotTaken(reason)) => {
                tracing::error!(%topic, partition, offset, %reason, "Kafka does not take a wake-up copy again");
                Ok(())
            }
            taken => taken.map(drop),
        }
    }

    /// Whether the batch that parks the record is not committed yet.
    async fn is_ahead(&self, connection: &mut PgConnection, source: &Place) -> Result<bool, WorkError> {
        let at = Partition { group: self.role.group(), topic: &source.topic, partition: source.partition };
        let applied = consumer_offset::applied(connection, at).await?;
        Ok(applied.is_some_and(|applied| source.offset >= applied))
    }

    /// Applies the waiting records of a key as far as possible, then updates what the key waits for in its row.
    pub(super) async fn drain_key(
        &self,
        connection: &mut PgConnection,
        topic: &str,
        at: &Place,
        key: &[u8],
        before: Option<Blocked>,
        settled: &mut Settled,
    ) -> Result<(), WorkError> {
        let mut partition = self.partition_of_blocking(before.as_ref(), at);
        loop {
            let (group, most) = (self.role.group(), parked::DRAIN_RECORDS_MAX);
            let waiting = parked::of_key(connection, group, (topic, key), partition, most).await?;
            if waiting.is_empty() && partition.take().is_some() {
                continue;
            }
            let waiting: Vec<&Record> = waiting.iter().collect();
            let outcomes = self.fold_what_postgres_takes(connection, &waiting, at, settled).await?;
            let done = waiting.iter().copied().zip(&outcomes).filter(|(_, outcome)| outcome.is_done());
            let done: Vec<&Record> = done.map(|(record, _)| record).collect();
            self.release(connection, &done, at).await?;
            self.settle_letter(connection, before.as_ref(), &done).await?;
            match came(outcomes) {
                Came::Failed(blocking, fault) => {
                    let Some(record) = waiting.get(blocking).copied() else { return Ok(()) };
                    if !self.failed_again(connection, record, fault, before.as_ref()).await? {
                        return Ok(());
                    }
                    self.release(connection, &[record], at).await?;
                }
                Came::ToAGap => {
                    let gap = BTreeMap::from([(key.to_vec(), Blocked::gap())]);
                    return blocked::put(connection, self.role.group(), topic, &gap).await;
                }
                Came::Through => return self.hand_on(connection, topic, key).await,
            }
        }
    }

    /// The partition whose records are drained first, that of the blocking record: offsets of two partitions do not show which
    /// record is older. `None` for records with versions, which do.
    fn partition_of_blocking(&self, before: Option<&Blocked>, at: &Place) -> Option<i32> {
        let blocking = before.and_then(|before| before.blocking).map(|(partition, _)| partition);
        (!self.role.versioned()).then(|| blocking.unwrap_or(at.partition))
    }

    /// Folds as many of the waiting records as Postgres accepts: fewer and fewer, until the refused one is alone.
    async fn fold_what_postgres_takes(
        &self,
        connection: &mut PgConnection,
        waiting: &[&Record],
        at: &Place,
        settled: &mut Settled,
    ) -> Result<Vec<Outcome>, WorkError> {
        let mut shown = waiting.len();
        loop {
            let part = waiting.get(..shown).unwrap_or_default();
            let mut savepoint = connection.begin().await?;
            match self.fold(&mut savepoint, part, Some(at)).await {
                Ok(folded) => {
                    savepoint.commit().await?;
                    return Ok(settled.take(folded));
                }
                Err(error) => {
                    let Some(fault) = error.fault() else { return Err(error) };
                    savepoint.rollback().await?;
                    if shown <= 1 {
                        return Ok(vec![Outcome::Failed(fault)]);
                    }
                    shown /= 2;
                }
            }
        }
    }

    async fn release(
        &self,
        connection: &mut PgConnection,
        done: &[&Record],
        at: &Place,
    ) -> Result<(), WorkError> {
        self.role.waited(connection, done).await?;
        let publishes = self.role.index().is_some();
        parked::release(connection, self.role.group(), done, publishes.then_some(at)).await
    }

    /// Settles the dead letter of a record that was applied without a redrive, because its producer sent it again.
    async fn settle_letter(
        &self,
        connection: &mut PgConnection,
        before: Option<&Blocked>,
        done: &[&Record],
    ) -> Result<(), WorkError> {
        let dead = before.filter(|before| before.status == Status::Dead).and_then(|before| before.blocking);
        let letter = done.iter().find(|record| Some((record.partition, record.offset)) == dead);
        let place = letter.map(|record| record.place());
        dead_letters::settle(connection, self.role.group(), place.as_ref().as_slice()).await
    }

    /// Schedules the next attempt at a waiting record that failed, or dead-letters it. True when later records of the key need not
    /// wait.
    async fn failed_again(
        &self,
        connection: &mut PgConnection,
        record: &Record,
        fault: Fault,
        before: Option<&Blocked>,
    ) -> Result<bool, WorkError> {
        let tried = before.filter(|before| before.blocking == Some((record.partition, record.offset)));
        let attempts = tried.map_or(0, |before| before.attempts) + 1;
        let freed = self.retry_or_dead_letter(connection, vec![Failure { record, fault, attempts }]).await?;
        Ok(!freed.is_empty())
    }

    /// After draining: when more records wait than one transaction takes, the next one becomes the blocking record, due at once.
    pub(super) async fn hand_on(
        &self,
        connection: &mut PgConnection,
        topic: &str,
        key: &[u8],
    ) -> Result<(), WorkError> {
        let group = self.role.group();
        let waiting = parked::of_key(connection, group, (topic, key), None, 1).await?;
        let Some(blocking) = waiting.first() else {
            return Ok(blocked_key::free(connection, group, topic, key).await?);
        };
        let reason = Fault::new("next-in-order", "the records before it had their effect");
        self.wake_later(blocking, &reason, 0).await?;
        let retrying = Blocked::at(Status::Retrying, blocking, 0, None);
        blocked::put(connection, group, topic, &BTreeMap::from([(key.to_vec(), retrying)])).await
    }
}

fn came(outcomes: Vec<Outcome>) -> Came {
    let waits = outcomes.contains(&Outcome::Waits);
    let failed = outcomes.into_iter().enumerate().find_map(|(place, outcome)| match outcome {
        Outcome::Failed(fault) => Some((place, fault)),
        Outcome::Applied | Outcome::Duplicate | Outcome::Waits => None,
    });
    match failed {
        Some((place, fault)) => Came::Failed(place, fault),
        None if waits => Came::ToAGap,
        None => Came::Through,
    }
}
