//! A key's turn: its head is tried, and with it goes all that waits behind.

use std::collections::BTreeMap;

use millrace_store::consumer_offset::{self, Partition};
use millrace_store::names::{retry_level, retry_topic};
use millrace_store::{Place, blocked_key};
use sqlx::{Acquire as _, PgConnection};

use super::blocked::{self, Blocked, Status};
use super::{Failure, Retries, Settled, copies, parked};
use crate::dead_letters;
use crate::error::{Fault, WorkError};
use crate::moments::{broken, mechanism};
use crate::record::Record;
use crate::role::Outcome;

/// How far a key came.
enum Came {
    /// All that was shown had its effect.
    Through,
    /// The next version is not here.
    ToAGap,
    /// This record failed.
    Failed(usize, Fault),
}

impl Retries {
    /// Tries the heads that a batch of copies wakes. A copy that no longer fits its key is dropped, one whose source is
    /// not applied yet goes round.
    ///
    /// # Errors
    /// [`WorkError`] rolls the whole batch back.
    pub async fn settle_copies(
        &self,
        connection: &mut PgConnection,
        at: &Place,
        batch: &[&Record],
    ) -> Result<Settled, WorkError> {
        let mut settled = Settled::default();
        for copy in batch {
            if let Some(fault) = copy.place_only_because() {
                let reason = &fault.message;
                tracing::warn!(?at, offset = copy.offset, reason, "a copy is passed over: its head is swept");
                continue;
            }
            let Some(alarm) = copies::read(copy).filter(|alarm| self.is_woken_by(&alarm.source, copy)) else {
                tracing::error!(
                    ?at,
                    offset = copy.offset,
                    "not a copy of Millrace's: left on the retry topic"
                );
                continue;
            };
            let key = copy.turn().to_vec();
            let blocked = blocked::lock(connection, self.role.group(), &alarm.source.topic, &[copy]).await?;
            let head = (alarm.source.partition, alarm.source.offset);
            let fits = |blocked: &Blocked| {
                let expected = (Status::Retrying, Some(head), alarm.attempts);
                (blocked.status, blocked.head, blocked.attempts) == expected || broken(mechanism::STALE_COPY)
            };
            match blocked.into_values().find(fits) {
                Some(blocked) => {
                    self.turn(connection, &alarm.source.topic, at, &key, Some(blocked), &mut settled).await?;
                }
                None if self.is_ahead(connection, &alarm.source).await? => self.send_round(copy).await?,
                None => {}
            }
        }
        Ok(settled)
    }

    /// Whether a copy on this topic may wake a head of this source: anybody may write what a copy says.
    fn is_woken_by(&self, source: &Place, copy: &Record) -> bool {
        let level = retry_level(&copy.topic).unwrap_or_default();
        *copy.topic == *retry_topic(&source.topic, &self.role.group().own_name(), level)
    }

    /// Lets a copy come again. One that is not taken back, or came too often, stays where it is: the sweep wakes its head.
    async fn send_round(&self, copy: &Record) -> Result<(), WorkError> {
        let Record { topic, partition, offset, .. } = copy;
        let Some(round) = copies::round(copy, self.delay(1)) else {
            tracing::error!(%topic, partition, offset, "a copy of a record that does not come: left here");
            return Ok(());
        };
        match self.copier.copy(&round, topic, &[]).await {
            Err(WorkError::NotTaken(reason)) => {
                tracing::error!(%topic, partition, offset, reason, "a copy is not taken back");
                Ok(())
            }
            taken => taken.map(drop),
        }
    }

    /// Whether a record's own batch is not committed yet.
    async fn is_ahead(&self, connection: &mut PgConnection, source: &Place) -> Result<bool, WorkError> {
        let at = Partition { group: self.role.group(), topic: &source.topic, partition: source.partition };
        let applied = consumer_offset::applied(connection, at).await?;
        Ok(applied.is_some_and(|applied| source.offset >= applied))
    }

    /// Applies what waits of a key as far as it goes; then says in the key's row what it waits for now.
    pub(super) async fn turn(
        &self,
        connection: &mut PgConnection,
        topic: &str,
        at: &Place,
        key: &[u8],
        before: Option<Blocked>,
        settled: &mut Settled,
    ) -> Result<(), WorkError> {
        let mut partition = self.partition_of_head(before.as_ref(), at);
        loop {
            let (group, most) = (self.role.group(), parked::DRAIN_RECORDS_MAX);
            let waiting = parked::in_turn(connection, group, (topic, key), partition, most).await?;
            if waiting.is_empty() && partition.take().is_some() {
                continue;
            }
            let waiting: Vec<&Record> = waiting.iter().collect();
            let outcomes = self.fold_what_postgres_takes(connection, &waiting, settled).await?;
            let done = waiting.iter().copied().zip(&outcomes).filter(|(_, outcome)| outcome.is_done());
            let done: Vec<&Record> = done.map(|(record, _)| record).collect();
            self.release(connection, &done, at).await?;
            self.settle_letter(connection, before.as_ref(), &done).await?;
            match came(outcomes) {
                Came::Failed(head, fault) => {
                    let Some(record) = waiting.get(head).copied() else { return Ok(()) };
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

    /// The partition whose records of a key go first, that of its head: offsets of two partitions say nothing of which came
    /// first. Versions do.
    fn partition_of_head(&self, before: Option<&Blocked>, at: &Place) -> Option<i32> {
        let head = before.and_then(|before| before.head).map(|(partition, _)| partition);
        (!self.role.versioned()).then(|| head.unwrap_or(at.partition))
    }

    /// Folds as many of the waiting records as Postgres takes: fewer and fewer, until the one that it refuses is alone.
    async fn fold_what_postgres_takes(
        &self,
        connection: &mut PgConnection,
        waiting: &[&Record],
        settled: &mut Settled,
    ) -> Result<Vec<Outcome>, WorkError> {
        let mut shown = waiting.len();
        loop {
            let part = waiting.get(..shown).unwrap_or_default();
            let mut savepoint = connection.begin().await?;
            match self.fold(&mut savepoint, part).await {
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

    /// A dead record had its effect without its redrive: it came once more.
    async fn settle_letter(
        &self,
        connection: &mut PgConnection,
        before: Option<&Blocked>,
        done: &[&Record],
    ) -> Result<(), WorkError> {
        let dead = before.filter(|before| before.status == Status::Dead).and_then(|before| before.head);
        let letter = done.iter().find(|record| Some((record.partition, record.offset)) == dead);
        let place = letter.map(|record| record.place());
        dead_letters::settle(connection, self.role.group(), place.as_ref().as_slice()).await
    }

    /// A head failed: its next try, or its end. True when what is behind it need not wait.
    async fn failed_again(
        &self,
        connection: &mut PgConnection,
        record: &Record,
        fault: Fault,
        before: Option<&Blocked>,
    ) -> Result<bool, WorkError> {
        let tried = before.filter(|before| before.head == Some((record.partition, record.offset)));
        let attempts = tried.map_or(0, |before| before.attempts) + 1;
        let freed = self.lay_down(connection, vec![Failure { record, fault, attempts }]).await?;
        Ok(!freed.is_empty())
    }

    /// What was shown is through. What still waits was more than one transaction takes: the next record becomes the
    /// head, due at once.
    pub(super) async fn hand_on(
        &self,
        connection: &mut PgConnection,
        topic: &str,
        key: &[u8],
    ) -> Result<(), WorkError> {
        let group = self.role.group();
        let waiting = parked::in_turn(connection, group, (topic, key), None, 1).await?;
        let Some(head) = waiting.first() else {
            return Ok(blocked_key::free(connection, group, topic, key).await?);
        };
        let reason = Fault::new("next-in-turn", "the records before it had their effect");
        self.wake_later(head, &reason, 0).await?;
        let retrying = Blocked::at(Status::Retrying, head, 0, None);
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
