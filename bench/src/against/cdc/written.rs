//! Rows of the outbox, as the commands stage writes them, without deciding anything.

use anyhow::{Context as _, Result};
use millrace_schemas::Message as _;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::instance::Instance;
use crate::load::{self, Step, customers};
use crate::preload::Encoder;
use crate::stack::database;

/// Rows of a transaction when many are written.
const TRANSACTION_ROWS: u64 = 1_000;
const INSERT: &str = "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, version, correlation_id,
                                          causation_id, command_id, occurred_at)
     SELECT r.id, 'customers', r.stream, $1, r.payload, $2, 1, r.stream, r.stream, r.stream, to_timestamp(r.at / 1e6)
     FROM UNNEST($3::uuid[], $4::text[], $5::bytea[], $6::bigint[]) AS r(id, stream, payload, at)";

/// Where rows are written, each of a new stream.
pub(super) struct Outbox<'i> {
    connection: PgConnection,
    encoder: Encoder<'i>,
    topic: String,
    written: u64,
}

impl<'i> Outbox<'i> {
    /// Opens a separate connection.
    pub(super) async fn open(instance: &'i Instance) -> Result<Self> {
        let encoder = Encoder::new(&instance.stack).learn("CustomerRegistered").await?;
        let mut connection = database(instance.stack.write_database_url()).await?;
        let path = format!("SET search_path TO \"{}\"", instance.name);
        sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut connection).await?;
        Ok(Self { connection, encoder, topic: instance.topic("evt", "customers"), written: 0 })
    }

    /// Commits this many rows; returns the id of the last.
    pub(super) async fn write(&mut self, rows: u64) -> Result<String> {
        let (mut left, mut last) = (rows, None);
        while left > 0 {
            let now = left.min(TRANSACTION_ROWS);
            last = self.transaction(now).await?;
            left -= now;
        }
        Ok(last.context("nothing was written")?.to_string())
    }

    async fn transaction(&mut self, rows: u64) -> Result<Option<Uuid>> {
        let steps = (self.written..self.written + rows).map(|stream| Step { stream, version: 1 });
        let (mut ids, mut streams, mut payloads, mut times) = (vec![], vec![], vec![], vec![]);
        for step in steps {
            let event = customers::event(step);
            ids.push(load::event_id(event.key(), step.version));
            payloads.push(self.encoder.encode(&event)?);
            streams.push(event.key().to_owned());
            times.push(load::time(step).1);
        }
        let last = ids.last().copied();
        let full_name = customers::event(Step { stream: 0, version: 1 }).full_name();
        let insert = sqlx::query(INSERT).bind(full_name).bind(&self.topic).bind(ids).bind(streams);
        insert.bind(payloads).bind(times).execute(&mut self.connection).await?;
        self.written += rows;
        Ok(last)
    }
}
