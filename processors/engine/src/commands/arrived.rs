//! A decoded command with its identity and its place.

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_schemas::{Message as _, WriterSchema};
use millrace_store::Group;

use super::identity::{FIRST_LIFE, Fingerprint, Identity};
use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::metrics;
use crate::outcome::{Outcome, Stuck};
use crate::record::Record;
use crate::registry::Registry;
use crate::spans;

/// A decoded command.
pub(super) struct Arrived<'b, C: Context> {
    /// Its place in the batch.
    pub(super) place: usize,
    pub(super) record: &'b Record,
    pub(super) identity: Identity,
    pub(super) fingerprint: Fingerprint,
    pub(super) command: C::Command,
    pub(super) occurred_at: DateTime<Utc>,
    /// The header `traceparent` of what follows from it.
    pub(super) traceparent: Option<String>,
    /// 1, and one more for each dead letter of this identity.
    pub(super) life: i32,
}

/// Decodes a batch. Records that are not commands of this context fail; later records of a key whose failed record may still be
/// decoded wait; the others count as applied.
pub(super) async fn decode<'b, C: Context>(
    registry: &Registry,
    group: &Group,
    batch: &[&'b Record],
) -> Result<(Vec<Arrived<'b, C>>, Vec<Outcome>), WorkError> {
    let (mut arrived, mut outcomes) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    let mut stuck = Stuck::default();
    for (place, record) in batch.iter().copied().enumerate() {
        let opened = registry.open(record.value.as_deref()).await?;
        outcomes.push(match opened.and_then(|(writer, body)| one((group, place), record, &writer, body)) {
            Ok(_) if stuck.contains(record) => Outcome::Waits,
            Ok(command) => {
                arrived.push(command);
                Outcome::Applied
            }
            Err(fault) => stuck.failed(record, fault),
        });
    }
    Ok((arrived, outcomes))
}

fn one<'b, C: Context>(
    (group, place): (&Group, usize),
    record: &'b Record,
    writer: &WriterSchema,
    body: &[u8],
) -> Result<Arrived<'b, C>, Fault> {
    let command = C::Command::decode(writer, body)?;
    if set_own_ordering_key(record, command.key()) {
        metrics::FOREIGN_KEYS.with_label_values(&[C::NAME]).inc();
    }
    envelope::conversation(record)?;
    let identity = Identity::of(record)?;
    let canonical = command.encode()?;
    let fingerprint = Fingerprint::of((writer.full_name(), body), (command.full_name(), &canonical));
    let occurred_at = envelope::occurred_at(record)?;
    let traceparent = spans::continued(group, record);
    Ok(Arrived { place, record, identity, fingerprint, command, occurred_at, traceparent, life: FIRST_LIFE })
}

/// A command keeps the order of its key field, whatever its Kafka key: producers may send no key, another key, or use another
/// partitioner. Returns whether the Kafka key is another one.
fn set_own_ordering_key(record: &Record, key: &str) -> bool {
    let other = record.key.as_deref() != Some(key.as_bytes());
    if other {
        record.set_ordering_key(key.as_bytes().to_vec());
    }
    other
}

/// Sets the ordering keys of records, without deciding anything.
pub(super) async fn assign_ordering_keys<C: Context>(
    registry: &Registry,
    batch: &[&Record],
) -> Result<(), WorkError> {
    for record in batch.iter().filter(|record| record.ordering_key.get().is_none()) {
        let opened = registry.open(record.value.as_deref()).await?;
        let command = opened.and_then(|(writer, body)| Ok(C::Command::decode(&writer, body)?));
        if let Ok(command) = command {
            set_own_ordering_key(record, command.key());
        }
    }
    Ok(())
}
