//! Deciding a command without effect: on a snapshot that is only read, so that it holds no lock of a row and writes none, by the code
//! that decides commands of Kafka.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::Utc;
use millrace_domain::Context;
use millrace_schemas::{definition, json, unframe};
use serde_json::Value;

use super::ledger::Status;
use super::outcomes::Answers;
use super::{Commands, arrived, decide, streams};
use crate::error::{Fault, WorkError};
use crate::outbox::OutboxRow;
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::record::Record;

/// What would become of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// These events would be written, in this order.
    Events(Vec<WouldBe>),
    /// The business refuses it.
    Rejected {
        /// The refusal's code.
        code: String,
        /// Its message.
        message: String,
    },
    /// It cannot be decided now: a stream that it refers to is missing, or the record has another fault.
    Faulty(Fault),
}

/// An event that would be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WouldBe {
    /// The full name of its type.
    pub record_type: &'static str,
    /// The stream that it would belong to.
    pub stream: String,
    /// Its version there.
    pub version: Option<i64>,
    /// Its fields.
    pub data: Value,
}

/// Decides commands of one context without effect.
#[async_trait]
pub trait Decider: Send + Sync {
    /// What would become of a command with this key and framed value.
    ///
    /// # Errors
    /// [`WorkError`] when it is not known, such as while a component is away.
    async fn decide_dry(&self, key: &str, value: &[u8]) -> Result<Verdict, WorkError>;
}

#[async_trait]
impl<C: Context> Decider for Commands<C> {
    async fn decide_dry(&self, key: &str, value: &[u8]) -> Result<Verdict, WorkError> {
        let record = Record::at(
            "",
            0,
            0,
            Some(key.as_bytes().to_vec().into()),
            Some(value.to_vec().into()),
            Vec::new(),
        );
        self.shared.pool.in_time(self.decided_dry(&record)).await
    }
}

impl<C: Context> Commands<C> {
    async fn decided_dry(&self, record: &Record) -> Result<Verdict, WorkError> {
        let (shared, ids) = (&self.shared, self.schema_ids().await?);
        let (arrived, mut outcomes) =
            arrived::decode::<C>(&shared.registry, &shared.group, &[record]).await?;
        let named: BTreeSet<String> = arrived.iter().flat_map(|one| C::streams(&one.command)).collect();
        let mut snapshot = shared.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut locks = streams::load::<C>(&mut snapshot, shared, named).await?;
        let (references, _) = streams::references::<C>(&mut snapshot, shared, &arrived).await?;
        snapshot.rollback().await?;
        let answers = Answers { ids, outcomes: false, decided_at: Utc::now() };
        let decided = decide::all::<C>(&arrived, &mut locks, &references, &answers, &mut outcomes);
        if let Some(Outcome::Failed(fault)) = outcomes.into_iter().next() {
            return Ok(Verdict::Faulty(fault));
        }
        match decided.receipts.into_iter().find(|receipt| receipt.status == Status::Rejected) {
            Some(receipt) => Ok(Verdict::Rejected {
                code: receipt.code.unwrap_or_default().to_owned(),
                message: receipt.message.unwrap_or_default(),
            }),
            None => decided.outbox.into_iter().map(would_be).collect::<Result<_, _>>().map(Verdict::Events),
        }
    }
}

fn would_be(
    OutboxRow { record_type, stream, version, payload, .. }: OutboxRow,
) -> Result<WouldBe, WorkError> {
    let refused = |error| WorkError::Refused(Reason::because("an event cannot be shown", error));
    let (_, body) = unframe(&payload).map_err(refused)?;
    let schema = definition(record_type).map_or("", |definition| definition.avsc);
    let data = json::decode_json(schema, body).map_err(refused)?;
    Ok(WouldBe { record_type, stream, version, data })
}
