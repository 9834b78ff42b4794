//! A command as it arrived: what it asks, who it is, where it lies.

use chrono::{DateTime, Utc};
use millrace_domain::Context;
use millrace_schemas::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::envelope;
use crate::error::{Fault, WorkError};
use crate::record::Record;
use crate::registry::Registry;
use crate::role::Outcome;

/// The root of all derived ids.
const DERIVED: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8000_0000_0000_0001);

/// What makes two records the same command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who sent it: `ce_source`, else `kafka:` and the topic.
    pub source: String,
    /// `ce_id`, else where and when it lies there.
    pub id: String,
}

/// The ledger's index cannot hold much longer texts.
const IDENTITY_BYTES_MAX: usize = 512;

impl Identity {
    /// `ce_source` and `ce_id`; a record without them is told by where it lies and when it was stamped.
    ///
    /// # Errors
    /// When the ledger could not keep them.
    pub fn of(record: &Record) -> Result<Self, Fault> {
        match (record.header(envelope::SOURCE), record.header(envelope::ID)) {
            (Some(source), Some(id)) if [source, id].into_iter().all(can_be_kept) => {
                Ok(Self { source: source.to_owned(), id: id.to_owned() })
            }
            (Some(_), Some(_)) => Err(Fault::hopeless(
                "identity-invalid",
                format!("ce_source and ce_id must have 1 to {IDENTITY_BYTES_MAX} bytes and no NUL character"),
            )),
            _ => Ok(Self::of_place(record)),
        }
    }

    /// Where a record lies and when it was stamped.
    pub(super) fn of_place(record: &Record) -> Self {
        let Record { partition, offset, timestamp_ms, .. } = record;
        Self {
            source: format!("kafka:{}", record.topic),
            id: format!("{partition}-{offset}-{}", timestamp_ms.unwrap_or_default()),
        }
    }

    /// The id of what this command leads to, the same at every try.
    pub(super) fn derive(&self, name: &str) -> Uuid {
        let command = Uuid::new_v5(&DERIVED, format!("{}\0{}", self.source, self.id).as_bytes());
        Uuid::new_v5(&command, name.as_bytes())
    }
}

fn can_be_kept(text: &str) -> bool {
    (1..=IDENTITY_BYTES_MAX).contains(&text.len()) && !text.contains('\0')
}

/// A decoded command.
pub(super) struct Arrived<'b, C: Context> {
    /// Its place in the batch.
    pub(super) place: usize,
    pub(super) record: &'b Record,
    pub(super) identity: Identity,
    pub(super) fingerprint: Vec<u8>,
    pub(super) command: C::Command,
    pub(super) occurred_at: DateTime<Utc>,
}

/// Decodes a batch. Records that are no commands of this context have failed, the others count as applied.
pub(super) async fn decode<'b, C: Context>(
    registry: &Registry,
    batch: &[&'b Record],
) -> Result<(Vec<Arrived<'b, C>>, Vec<Outcome>), WorkError> {
    let (mut arrived, mut outcomes) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (place, record) in batch.iter().copied().enumerate() {
        let opened = registry.open(record.value.as_deref()).await?;
        let decoded = opened.and_then(|(writer, body)| {
            let command = C::Command::decode(&writer, body)?;
            Ok((Identity::of(record)?, command, fingerprint(writer.full_name(), body)))
        });
        outcomes.push(match decoded {
            Ok((identity, command, fingerprint)) => {
                let occurred_at = envelope::occurred_at(record);
                arrived.push(Arrived { place, record, identity, fingerprint, command, occurred_at });
                Outcome::Applied
            }
            Err(fault) => Outcome::Failed(fault),
        });
    }
    Ok((arrived, outcomes))
}

/// Tells two bodies apart under one identity.
fn fingerprint(full_name: &str, body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(full_name.as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().iter().take(16).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;

    #[test]
    fn a_command_without_identity_is_told_by_its_place() {
        let header = |name: &str| Header::new(name, "x");
        let identity = |record: &Record| Identity::of(record).map(|Identity { id, source }| (id, source));
        let mut record = Record::at("cmd", 1, 7, None, None, vec![header("ce_id")]);
        record.timestamp_ms = Some(5);
        assert_eq!(identity(&record), Ok(("1-7-5".to_owned(), "kafka:cmd".to_owned())));
        record.headers.push(header("ce_source"));
        assert_eq!(identity(&record), Ok(("x".to_owned(), "x".to_owned())));
    }
}
