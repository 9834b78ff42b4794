//! Skipping a row that Kafka refuses, so that the connector continues.

use std::time::Duration;

use bytes::Bytes;
use millrace_engine::{Copier as _, Producer, Record, WorkError, envelope};
use millrace_store::outbox;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::Connection as _;
use uuid::Uuid;

use super::record;
use crate::audit::Operator;
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::layout::Side;
use crate::listener::Listener;
use crate::outage;
use crate::postgres::Database;
use crate::replay::session;
use crate::roles::producer;
use crate::setup::{ConnectorState, leniently};
use crate::verify::horizon;

/// The result for the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// Its topic accepted it from this producer.
    Emitted,
    /// Its topic has a record without value in its place.
    Skipped,
}

/// The row, and the connector's error. Changes nothing.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such row, [`Failure::Refused`] when the connector has not failed.
pub async fn look(config: &Config, id: Uuid) -> Result<(Row, String), Failure> {
    let (write, connect) = (Database::of(config, Side::Write)?, Http::connect(&config.connect)?);
    let row = Row::find(config, &write, id).await?;
    let reason = why_it_stands(config, &connect, &row).await?;
    Ok((row, reason))
}

/// Skips a row; the connector then has `patience` to carry the rows after it.
///
/// # Errors
/// As [`look`], and [`Failure::Refused`] when the connector does not get past it, or its topic takes no record in its place.
pub async fn skip(
    config: &Config,
    id: Uuid,
    operator: &Operator,
    patience: Duration,
    listener: &dyn Listener,
) -> Result<(Row, Did), Failure> {
    let (row, _) = look(config, id).await?;
    let (write, connect) = (Database::of(config, Side::Write)?, Http::connect(&config.connect)?);
    let producer = producer(config)?;
    let emitted = !row.is_skipped() && row.emit(config, &producer, listener).await?;
    let row = row.sign(&write, operator, emitted).await?;
    let passes = horizon::carried(config, &write, patience);
    leniently(&connect, &config.namespace.outbox(), passes).await?;
    if emitted {
        return Ok((row, Did::Emitted));
    }
    // After the rows before it. The decision is recorded already, so if this is interrupted, `millrace verify --repair` writes
    // the record.
    if !row.emit(config, &producer, listener).await? {
        return Err(Failure::refused(format!("{} takes no record without value either", row.record.topic)));
    }
    Ok((row, Did::Skipped))
}

/// The connector's error. A row that was skipped before may be skipped again, such as after a crash.
async fn why_it_stands(config: &Config, connect: &Http, row: &Row) -> Result<String, Failure> {
    let name = config.namespace.outbox();
    match ConnectorState::find(connect, &name).await? {
        Some(state) if state.failed() => Ok(state.trace.unwrap_or_default()),
        _ if row.is_skipped() => Ok("it has not failed".to_owned()),
        _ => Err(Failure::refused(format!("the connector `{name}` has not failed: there is no row to skip"))),
    }
}

/// A row of the outbox, and the record that its topic must have.
pub struct Row {
    /// Its id.
    pub id: Uuid,
    record: Record,
}

/// What tells a row of the outbox from others.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OutboxRow")]
pub struct Shown {
    /// Its id.
    pub id: Uuid,
    /// The topic of its record.
    pub topic: String,
    /// The Kafka key of its record.
    pub key: Option<String>,
    /// The version of an event.
    pub version: Option<i64>,
    /// The size of the record's value in bytes; `None` of one that has none, since it was skipped.
    pub bytes: Option<usize>,
}

impl Row {
    /// May take long, since events have no index on the id.
    async fn find(config: &Config, write: &Database, id: Uuid) -> Result<Self, Failure> {
        let fail = |error| write.failure(error);
        let mut connection = session::open(write).await.map_err(fail)?;
        let row = outbox::one(&mut connection, id).await.map_err(fail)?;
        connection.close().await.map_err(fail)?;
        let row = row.ok_or_else(|| Failure::NotFound(format!("the outbox has no row {id}")))?;
        Ok(Self { id, record: record(&config.namespace, row) })
    }

    fn is_skipped(&self) -> bool {
        self.record.value.is_none()
    }

    /// Writes the record to its topic; false when Kafka refuses it.
    async fn emit(
        &self,
        config: &Config,
        producer: &Producer,
        listener: &dyn Listener,
    ) -> Result<bool, Failure> {
        match producer.copy(&self.record, &self.record.topic, &[]).await {
            Ok(_) => Ok(true),
            Err(WorkError::NotTaken(reason)) => {
                listener.say(&format!("{}: {reason}", self.record.topic));
                Ok(false)
            }
            Err(error) => Err(outage::failure(config, Side::Write, error)),
        }
    }

    /// Records the decision, and returns the row with the record that its topic must then have.
    async fn sign(mut self, write: &Database, operator: &Operator, emitted: bool) -> Result<Self, Failure> {
        let fail = |error| write.failure(error);
        let mut transaction = write.pool.begin().await.map_err(fail)?;
        if !emitted {
            outbox::skip(&mut transaction, self.id).await.map_err(fail)?;
        }
        let action = if emitted { "outbox emit" } else { "outbox skip" };
        let signed =
            operator.sign(&mut transaction, action, &self.id.to_string(), &json!(self.shown())).await;
        signed.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        self.record.value = self.record.value.filter(|_| emitted);
        Ok(self)
    }

    /// What tells it from others, for people and for the audit.
    pub fn shown(&self) -> Shown {
        let Record { topic, value, .. } = &self.record;
        Shown {
            id: self.id,
            topic: topic.to_string(),
            key: self.record.key_text().map(Into::into),
            version: envelope::version(&self.record),
            bytes: value.as_ref().map(Bytes::len),
        }
    }
}
