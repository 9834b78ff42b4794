//! Dead letters: records after their last attempt, or with a hopeless fault.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use millrace_store::Place;
use millrace_store::blocked_key::Status;
use millrace_store::names::dead_letter_topic;
use sqlx::{Acquire as _, PgConnection};

use super::blocked::{self, Blocked};
use super::{Failure, Retries, copies, parked, unless_it_panics};
use crate::dead_letters;
use crate::error::{Fault, WorkError};
use crate::producer::Delivery;
use crate::record::Record;

impl Retries {
    /// Copies records to the dead letter topic, waits for the acknowledgements, then writes rows of `dead_letter`. A crash between
    /// the two leads to a second copy, never to none. When Kafka refuses a copy, the row names the record's place. A record that
    /// already has a dead letter, and behind which nothing waits, gets no second one. Returns the keys for which nothing waits.
    pub(super) async fn dead_letter(
        &self,
        connection: &mut PgConnection,
        dead: Vec<Failure<'_>>,
    ) -> Result<Vec<Vec<u8>>, WorkError> {
        let group = self.role.group();
        let records: Vec<&Record> = dead.iter().map(|failure| failure.record).collect();
        let ended = dead_letters::ended(connection, group, &records).await?;
        let has_a_letter = |failure: &Failure<'_>| {
            !self.waits_behind(&failure.fault) && ended.contains(&failure.record.place())
        };
        let (known, dead): (Vec<_>, Vec<_>) = dead.into_iter().partition(has_a_letter);
        let copies = dead.iter().map(|Failure { record, fault, attempts }| async move {
            let headers = copies::headers(record, fault, *attempts, None);
            self.write_copy(record, &dead_letter_topic(&record.topic, &group.id), headers).await
        });
        let deliveries = try_join_all(copies).await?;
        let mut freed: Vec<Vec<u8>> =
            known.iter().map(|failure| failure.record.ordering_key().to_vec()).collect();
        for (failure, delivery) in dead.into_iter().zip(deliveries) {
            if !self.write_letter(connection, &failure, delivery).await? {
                freed.push(failure.record.ordering_key().to_vec());
            }
        }
        Ok(freed)
    }

    /// Writes the row of a dead letter. When Postgres refuses the record's content, only its place and the reason are written.
    /// True when later records of its key wait.
    async fn write_letter(
        &self,
        connection: &mut PgConnection,
        letter: &Failure<'_>,
        copy: Option<Delivery>,
    ) -> Result<bool, WorkError> {
        let mut savepoint = connection.begin().await?;
        let refused = match unless_it_panics("dead_letter", self.letter(&mut savepoint, letter, copy)).await {
            Ok(waits) => {
                savepoint.commit().await?;
                return Ok(waits);
            }
            Err(error) => error.fault().ok_or(error)?,
        };
        savepoint.rollback().await?;
        let Failure { record, fault, attempts } = letter;
        let Place { topic, partition, offset } = record.place();
        tracing::error!(
            topic,
            partition,
            offset,
            reason = refused.message,
            "a dead letter with its place alone"
        );
        let place = Record::at(&topic, partition, offset, None, None, Vec::new());
        let fault = Fault { hopeless: true, ..fault.clone() };
        self.letter(connection, &Failure { record: &place, fault, attempts: *attempts }, copy).await
    }

    async fn letter(
        &self,
        connection: &mut PgConnection,
        Failure { record, fault, attempts }: &Failure<'_>,
        copy: Option<Delivery>,
    ) -> Result<bool, WorkError> {
        let group = self.role.group();
        dead_letters::write(connection, group, record, fault, *attempts, copy).await?;
        self.role.dead_lettered(connection, record, fault).await?;
        let waits = self.waits_behind(fault);
        if waits {
            let dead = BTreeMap::from([(
                record.ordering_key().to_vec(),
                Blocked::at(Status::Dead, record, *attempts, Some(fault)),
            )]);
            parked::insert(connection, group, &[record], self.role.versioned()).await?;
            blocked::put(connection, group, &record.topic, &dead).await?;
        }
        Ok(waits)
    }

    /// Whether later records of the key wait until a dead letter with this fault is redriven or discarded.
    fn waits_behind(&self, fault: &Fault) -> bool {
        self.role.waits_behind_dead() && !fault.hopeless
    }
}
