//! The ledger of commands: a decided command is not decided again, and each has a receipt.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_store::{Group, Place, command};
use sqlx::PgConnection;

use super::arrived::Arrived;
use super::identity::{FIRST_LIFE, Fingerprint, Identity, unquoted};
use crate::dead_letters::{self, storable};
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;
use crate::outcome::{Outcome, Stuck};
use crate::record::{Record, places};

/// The outcome of a command that could not be decided.
pub(super) const DEAD: &str = "dead";

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Completed,
    Rejected,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Completed => "completed",
            Status::Rejected => "rejected",
        }
    }
}

/// A decided command's row.
pub(super) struct Receipt {
    pub(super) identity: Identity,
    pub(super) fingerprint: Fingerprint,
    pub(super) record_type: &'static str,
    pub(super) stream: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) produced_at: Option<DateTime<Utc>>,
    pub(super) status: Status,
    pub(super) code: Option<&'static str>,
    pub(super) message: Option<String>,
    /// The last version that was written in each stream, as JSON.
    pub(super) versions: Option<String>,
    pub(super) life: i32,
}

impl Receipt {
    fn row(&self) -> command::New<'_> {
        command::New {
            id: &self.identity.id,
            source: &self.identity.source,
            fingerprint: self.fingerprint.as_bytes(),
            record_type: self.record_type,
            stream: &self.stream,
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            status: self.status.as_str(),
            code: self.code,
            message: self.message.as_deref(),
            versions: self.versions.as_deref(),
            produced_at: self.produced_at,
            life: self.life,
        }
    }
}

/// The places of dead-lettered commands and their lives, by identity.
pub(super) type Died = HashMap<Identity, (Place, i32)>;

/// The commands that were not decided yet, each identity once. The same identity with another body is a fault. A dead-lettered
/// command counts as not decided, since it may be sent again; when the dead record itself is read again, after a reset of the
/// group, it is skipped.
pub(super) async fn fresh<'b, C: Context>(
    connection: &mut PgConnection,
    group: &Group,
    arrived: Vec<Arrived<'b, C>>,
    outcomes: &mut [Outcome],
) -> Result<(Vec<Arrived<'b, C>>, Died), WorkError> {
    let (decided, died) = known(connection, &arrived).await?;
    let suspects: Vec<&Record> =
        arrived.iter().filter(|one| died.contains_key(&one.identity)).map(|one| one.record).collect();
    let ended = dead_letters::ended(connection, group, &suspects).await?;
    let (mut fresh, mut met) = (Vec::with_capacity(arrived.len()), Met { decided, ..Met::default() });
    for mut command in arrived {
        let is_dead = ended.contains(&command.record.place());
        match met.outcome(command.record, (&command.identity, &command.fingerprint), is_dead) {
            Outcome::Applied => {
                command.life = died.get(&command.identity).map_or(FIRST_LIFE, |(_, life)| life + 1);
                fresh.push(command);
            }
            outcome => {
                if let Some(known) = outcomes.get_mut(command.place) {
                    *known = outcome;
                }
            }
        }
    }
    Ok((fresh, died))
}

/// The commands that were met: earlier ones by the ledger, and those of this batch, which are not decided yet.
#[derive(Default)]
struct Met<'b> {
    decided: HashMap<Identity, Fingerprint>,
    of_batch: HashMap<Identity, Fingerprint>,
    stuck: Stuck<'b>,
}

impl<'b> Met<'b> {
    /// `Applied` for a command that is to be decided. Beside another one of this batch with its identity a command is tried again
    /// after a delay, and is decided itself if the other is not decided by then; later commands of its key wait.
    fn outcome(
        &mut self,
        record: &'b Record,
        (identity, fingerprint): (&Identity, &Fingerprint),
        is_dead: bool,
    ) -> Outcome {
        let known = self.decided.get(identity).or_else(|| self.of_batch.get(identity));
        match known {
            None if is_dead => Outcome::Duplicate,
            None if self.stuck.contains(record) => Outcome::Waits,
            None => {
                self.of_batch.insert(identity.clone(), fingerprint.clone());
                Outcome::Applied
            }
            Some(known) if known.is_of_the_same(fingerprint) => Outcome::Duplicate,
            Some(_) => {
                let hopeless = self.decided.contains_key(identity);
                self.stuck.failed(record, Fault { hopeless, ..reused(identity) })
            }
        }
    }
}

fn reused(Identity { source, id }: &Identity) -> Fault {
    Fault::new(
        "id-reused",
        format!("the id `{id}` of `{source}` was used before for a command with another body"),
    )
}

/// The fingerprints of decided commands, and the places of dead-lettered ones. Earlier builds stored an id in JSON quotes with its
/// quotes, so that spelling is looked up as well.
async fn known<C: Context>(
    connection: &mut PgConnection,
    arrived: &[Arrived<'_, C>],
) -> Result<(HashMap<Identity, Fingerprint>, Died), WorkError> {
    let mut ids: HashSet<&str> = arrived.iter().map(|command| command.identity.id.as_str()).collect();
    ids.extend(arrived.iter().filter_map(|command| command.record.header(envelope::ID)));
    let rows = timed("command known", command::known(connection, ids.into_iter().collect())).await?;
    let (mut decided, mut died) = (HashMap::new(), Died::new());
    for (id, source, fingerprint, status, topic, partition, offset, life) in rows {
        let identity = Identity { source: unquoted(&source).into_owned(), id: unquoted(&id).into_owned() };
        if status == DEAD {
            // The row of the identity itself counts before those in another spelling.
            if identity.id == id && identity.source == source || !died.contains_key(&identity) {
                died.insert(identity, (Place { topic, partition, offset }, life));
            }
        } else if !broken(mechanism::LEDGER) {
            decided.insert(identity, Fingerprint::stored(fingerprint));
        }
    }
    Ok((decided, died))
}

/// Settles the dead letters of commands that were sent again, by any producer, and are decided now.
pub(super) async fn settle_letters(
    connection: &mut PgConnection,
    group: &Group,
    died: &Died,
    receipts: &[Receipt],
) -> Result<(), WorkError> {
    if died.is_empty() {
        return Ok(());
    }
    let places = receipts.iter().filter_map(|receipt| Some(&died.get(&receipt.identity)?.0));
    let places: Vec<&Place> = places.collect();
    dead_letters::settle(connection, group, &places).await
}

/// Writes the receipts. When a batch of another partition has decided one of these identities meanwhile, this batch is tried again
/// and finds it.
pub(super) async fn insert(
    connection: &mut PgConnection,
    context: &str,
    received_at: DateTime<Utc>,
    receipts: &[Receipt],
) -> Result<(), WorkError> {
    let rows: Vec<command::New<'_>> = receipts.iter().map(Receipt::row).collect();
    let written = timed("command insert", command::insert(connection, context, received_at, &rows)).await?;
    if written == receipts.len() as u64 || broken(mechanism::LEDGER) {
        return Ok(());
    }
    Err(WorkError::Contended("a command of this batch was decided in another partition".into()))
}

/// Writes the receipt of a dead-lettered command and returns its life. It replaces that of an earlier dead letter, and never that
/// of a decision: then there is none.
pub(super) async fn insert_dead(
    connection: &mut PgConnection,
    context: &str,
    identity: &Identity,
    record: &Record,
    fault: &Fault,
) -> Result<Option<i32>, WorkError> {
    let dead = command::Dead {
        id: &identity.id,
        source: &identity.source,
        record_type: &storable(record.header(envelope::TYPE).unwrap_or_default()),
        context,
        stream: &storable(&String::from_utf8_lossy(record.shown_ordering_key().unwrap_or_default())),
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        code: fault.code,
        message: &storable(&fault.message),
        produced_at: record.stamped_at(),
    };
    Ok(command::insert_dead(connection, &dead).await?)
}

/// Corrects the receipts of commands that have waited: their arrival, instead of the start of the last attempt, and the number of
/// attempts.
pub(super) async fn correct_waited(
    connection: &mut PgConnection,
    group: &Group,
    records: &[&Record],
) -> Result<(), WorkError> {
    Ok(command::correct_waited(connection, group, &places(records)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Identity {
        Identity { source: "shop".to_owned(), id: id.to_owned() }
    }

    fn body(content: &[u8]) -> Fingerprint {
        Fingerprint::of(("A", content), ("A", content))
    }

    fn keyed(key: &str) -> Record {
        Record::at("cmd", 0, 0, Some(key.as_bytes().to_vec().into()), None, Vec::new())
    }

    #[test]
    fn an_identity_with_another_body_is_hopeless_once_the_first_is_decided() {
        let mut met = Met { decided: [(named("x"), body(b"1"))].into(), ..Met::default() };
        let record = keyed("k");
        let again = met.outcome(&record, (&named("x"), &body(b"2")), false);
        assert!(again.fault().is_some_and(|fault| fault.hopeless), "{again:?}");
        assert_eq!(met.outcome(&record, (&named("x"), &body(b"1")), false), Outcome::Duplicate);
        assert_eq!(met.outcome(&record, (&named("y"), &body(b"2")), false), Outcome::Applied);
    }

    #[test]
    fn beside_a_command_of_its_batch_with_its_identity_another_one_and_its_key_wait() {
        let (mut met, record, other) = (Met::default(), keyed("k"), keyed("other"));
        assert_eq!(met.outcome(&other, (&named("x"), &body(b"1")), false), Outcome::Applied);
        let beside = met.outcome(&record, (&named("x"), &body(b"2")), false);
        assert!(beside.fault().is_some_and(|fault| !fault.hopeless), "{beside:?}");
        assert_eq!(met.outcome(&record, (&named("y"), &body(b"3")), false), Outcome::Waits);
        assert_eq!(met.outcome(&other, (&named("z"), &body(b"4")), false), Outcome::Applied);
        assert_eq!(met.outcome(&other, (&named("x"), &body(b"1")), false), Outcome::Duplicate);
    }
}
