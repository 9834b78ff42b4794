//! Commands whose `ce_source` is this instance. Their ids are predictable, and any producer that may write to a command topic could
//! use them: such a command is accepted only if the outbox has sent exactly this record.

use std::collections::{HashMap, HashSet};

use millrace_domain::Context;
use millrace_schemas::Kind;
use millrace_store::names::Namespace;
use millrace_store::{command, outbox};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrived::Arrived;
use super::identity::{Identity, OF_TOPIC};
use crate::error::{Fault, WorkError};
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;
use crate::outcome::{Outcome, Stuck};
use crate::record::Record;

/// The SHA-256 of the bytes of each command that the outbox has sent, by its id.
type Sent = HashMap<Uuid, Vec<u8>>;

/// Keeps the commands of other sources, and those of this instance that the outbox has sent.
pub(super) async fn vouched<'b, C: Context>(
    connection: &mut PgConnection,
    namespace: &Namespace,
    mut arrived: Vec<Arrived<'b, C>>,
    outcomes: &mut [Outcome],
) -> Result<Vec<Arrived<'b, C>>, WorkError> {
    if broken(mechanism::OWN_SOURCE) {
        return Ok(arrived);
    }
    let own = namespace.source();
    let claimed = arrived.iter().map(|command| &command.identity);
    let ids: Vec<Uuid> = claimed.filter(|identity| identity.source == own).filter_map(sent_id).collect();
    let sent = look_up(connection, namespace, C::NAME, ids).await?;
    let decided = decided_long_ago(connection, &own, &sent, &arrived).await?;
    let mut stuck = Stuck::default();
    arrived.retain(|command| {
        if decided.contains(&command.identity.id) && command.identity.source == own {
            return true;
        }
        let outcome = match forgery(namespace, &own, &sent, command) {
            None if !stuck.contains(command.record) => return true,
            None => Outcome::Waits,
            Some(fault) => stuck.failed(command.record, fault),
        };
        if let Some(known) = outcomes.get_mut(command.place) {
            *known = outcome;
        }
        false
    });
    Ok(arrived)
}

/// Commands of this instance that were decided and whose outbox rows retention has removed: the ledger has their fingerprints.
async fn decided_long_ago<C: Context>(
    connection: &mut PgConnection,
    own: &str,
    sent: &Sent,
    arrived: &[Arrived<'_, C>],
) -> Result<HashSet<String>, WorkError> {
    let is_gone = |identity: &&Identity| {
        identity.source == own && sent_id(identity).is_some_and(|id| !sent.contains_key(&id))
    };
    let gone: Vec<&String> = arrived
        .iter()
        .map(|command| &command.identity)
        .filter(is_gone)
        .map(|identity| &identity.id)
        .collect();
    if gone.is_empty() {
        return Ok(HashSet::new());
    }
    Ok(command::decided(connection, own, gone).await?.into_iter().collect())
}

/// The identity in the receipt of a dead-lettered command. A forged command of this instance gets the identity of its place, so that
/// its receipt is not taken for that of the real command.
pub(super) async fn identity_of_dead(
    connection: &mut PgConnection,
    namespace: &Namespace,
    context: &str,
    record: &Record,
) -> Result<Identity, WorkError> {
    let Ok(identity) = Identity::of(record) else { return Ok(Identity::of_place(record)) };
    if identity.source != namespace.source() {
        return Ok(match is_of_a_place(namespace, &identity) {
            true => Identity::of_place(record),
            false => identity,
        });
    }
    let sent = look_up(connection, namespace, context, sent_id(&identity).into_iter().collect()).await?;
    let is_sent = sent_id(&identity).is_some_and(|id| is_the_one_sent(sent.get(&id), record));
    Ok(if is_sent { identity } else { Identity::of_place(record) })
}

fn forgery<C: Context>(
    namespace: &Namespace,
    own: &str,
    sent: &Sent,
    Arrived { record, identity, .. }: &Arrived<'_, C>,
) -> Option<Fault> {
    if identity.source != own {
        let named = record.headers_named(crate::envelope::SOURCE).next().is_some();
        let claimed = named && is_of_a_place(namespace, identity);
        return claimed.then(|| forged("its ce_source is what commands without one have"));
    }
    let Some(id) = sent_id(identity) else {
        return Some(forged(
            "its ce_source is this instance's, and its ce_id is none that this instance gives",
        ));
    };
    match sent.get(&id) {
        // A committed row may reach Kafka shortly before other transactions see it: a retry may succeed.
        None => {
            Some(Fault::new(FORGED, "its ce_source is this instance's, whose outbox has no such command"))
        }
        hash if is_the_one_sent(hash, record) => None,
        Some(_) => {
            Some(forged("its ce_source is this instance's, whose outbox has another command of this id"))
        }
    }
}

const FORGED: &str = "source-forged";

fn forged(why: &str) -> Fault {
    Fault::hopeless(FORGED, why)
}

/// Whether an identity is one that Millrace makes for a command without identity: those are predictable, too.
fn is_of_a_place(namespace: &Namespace, identity: &Identity) -> bool {
    let topic = identity.source.strip_prefix(OF_TOPIC);
    topic.and_then(|topic| namespace.carried_by(topic)).is_some()
}

fn is_the_one_sent(hash: Option<&Vec<u8>>, record: &Record) -> bool {
    let bytes = record.value.as_deref().unwrap_or_default();
    hash.is_some_and(|hash| hash.as_slice() == Sha256::digest(bytes).as_slice())
}

/// The id in the outbox's spelling: the ledger would take another spelling of the same UUID for another command.
fn sent_id(identity: &Identity) -> Option<Uuid> {
    let id = Uuid::parse_str(&identity.id).ok()?;
    (id.hyphenated().to_string() == identity.id).then_some(id)
}

async fn look_up(
    connection: &mut PgConnection,
    namespace: &Namespace,
    context: &str,
    ids: Vec<Uuid>,
) -> Result<Sent, WorkError> {
    if ids.is_empty() {
        return Ok(Sent::new());
    }
    let rows =
        timed("outbox sent", outbox::sent(connection, ids, namespace.topic(Kind::Command, context))).await?;
    Ok(rows.into_iter().collect())
}
