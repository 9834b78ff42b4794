//! Writing rows of the outbox to their topics again.

use std::slice;

use millrace_engine::{Copier as _, Producer, Record, WorkError};

use super::topics::Lost;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout;
use crate::outage;
use crate::outbox::{events, unversioned};
use crate::postgres::Database;
use crate::schema::Decoder;

/// Events that are read and written at a time.
const EMITTED_AT_ONCE: i64 = 500;

/// Writes rows to their topics again, each with its original id and bytes, those of a stream in order. An unreadable row is left
/// out, since it would become a dead letter in every group. False when there was one, or one that Kafka refuses.
pub(super) async fn emit(
    config: &Config,
    write: &Database,
    producer: &Producer,
    lost: &Lost,
) -> Result<bool, Failure> {
    let (mut decoder, fail) = (Decoder::new(config)?, |error| write.failure(error));
    match lost {
        Lost::Unversioned(context, stream, id) => {
            let place = (context.as_str(), stream.as_str());
            let record = unversioned(&write.pool, &config.namespace, place, *id).await.map_err(fail)?;
            send(config, producer, &mut decoder, record.as_slice()).await
        }
        Lost::Events(spans) => {
            let mut whole = true;
            for mut left in spans.iter().flat_map(|span| span.pieces(EMITTED_AT_ONCE)) {
                while left.above < left.upto {
                    let events = events(&write.pool, &config.namespace, slice::from_ref(&left)).await;
                    let events = events.map_err(fail)?;
                    left.above = events.last().map_or(left.upto, |event| event.version);
                    let records: Vec<Record> = events.into_iter().map(|event| event.record).collect();
                    whole &= send(config, producer, &mut decoder, &records).await?;
                }
            }
            Ok(whole)
        }
    }
}

async fn send(
    config: &Config,
    producer: &Producer,
    decoder: &mut Decoder,
    records: &[Record],
) -> Result<bool, Failure> {
    let mut whole = true;
    for record in records {
        if let Err(why) = send_one(config, producer, decoder, record).await? {
            tracing::warn!(topic = %record.topic, why, "a row of the outbox is not emitted");
            whole = false;
        }
    }
    Ok(whole)
}

/// Why a record cannot be written. A skipped one has no value to be read.
async fn send_one(
    config: &Config,
    producer: &Producer,
    decoder: &mut Decoder,
    record: &Record,
) -> Result<Result<(), String>, Failure> {
    if let Some(value) = &record.value
        && let Err(why) = decoder.json(value).await?
    {
        return Ok(Err(why));
    }
    match producer.copy(record, &record.topic, &[]).await {
        Ok(_) => Ok(Ok(())),
        Err(WorkError::NotTaken(reason)) => Ok(Err(reason.to_string())),
        Err(error) => Err(outage::failure(config, layout::Side::Write, error)),
    }
}
