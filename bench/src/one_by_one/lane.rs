//! One connection and the commands of its keys, one transaction after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use millrace_domain::contexts::customers::{Customer, Customers};
use millrace_domain::{Context as _, Emitted, References, Rejection, Streams};
use millrace_schemas::customers::Event;
use millrace_schemas::{AvroRecord as _, CommandRejected, Message as _, encode_record, frame};
use millrace_testkit::Stack;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgTransaction};
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use super::Shared;
use super::order::Order;
use crate::stack::database;

/// A connection of its own.
pub(super) struct Lane {
    shared: Arc<Shared>,
    connection: PgConnection,
    /// Its own row of offsets for each partition: lanes that shared one would wait for each other's commit.
    group: String,
}

/// What a decision leads to.
struct Decided {
    state: Option<Customer>,
    version: i64,
    /// Record type, payload and version of each record on its way.
    outgoing: Vec<(&'static str, Vec<u8>, Option<i64>)>,
    rejection: Option<Rejection>,
}

impl Lane {
    /// Connects, and notes that nothing is done yet.
    pub(super) async fn open(
        stack: &Stack,
        shared: Arc<Shared>,
        number: u32,
        partitions: i32,
    ) -> Result<Self> {
        let mut connection = database(stack.write_database_url()).await?;
        let path = format!("SET search_path TO \"{}\"", shared.namespace);
        sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut connection).await?;
        let group = format!("{}.one-by-one.{number}", shared.namespace);
        sqlx::query(
            "INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published)
             SELECT $1, 1, $2, partition, 1, 0, 0 FROM generate_series(0, $3 - 1) AS partition",
        )
        .bind(&group)
        .bind(format!("{}.cmd.customers.v1", shared.namespace))
        .bind(partitions)
        .execute(&mut connection)
        .await?;
        Ok(Self { shared, connection, group })
    }

    /// Decides what comes.
    pub(super) async fn work(mut self, mut orders: Receiver<Order>) -> Result<()> {
        while let Some(order) = orders.recv().await {
            self.decide(&order).await?;
            self.shared.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn decide(&mut self, order: &Order) -> Result<()> {
        let received_at = Utc::now();
        let mut transaction = self.connection.begin().await?;
        let (version, state) = load(&mut transaction, &order.key).await?;
        let decided = decide(&self.shared, order, version, state)?;
        if receipt(&mut transaction, order, &decided, received_at).await? {
            store(&mut transaction, order, &decided).await?;
            for (record_type, payload, version) in &decided.outgoing {
                send(&mut transaction, &self.shared, order, record_type, payload, *version).await?;
            }
        }
        advance(&mut transaction, &self.group, order).await?;
        Ok(transaction.commit().await?)
    }
}

fn decide(shared: &Shared, order: &Order, version: i64, state: Option<Customer>) -> Result<Decided> {
    let streams: Streams<Customer> = state.map(|state| (order.key.clone(), state)).into_iter().collect();
    let outcome = Customers::decide(&streams, &References::default(), &order.command);
    let state = streams.get(&order.key).cloned();
    match outcome {
        Ok(events) => happened(shared, version, state, &events),
        Err(rejection) => {
            let payload = payload(shared, CommandRejected::FULL_NAME, &refusal(order, &rejection)?)?;
            let outgoing = vec![(CommandRejected::FULL_NAME, payload, None)];
            Ok(Decided { state, version, outgoing, rejection: Some(rejection) })
        }
    }
}

fn happened(
    shared: &Shared,
    mut version: i64,
    mut state: Option<Customer>,
    events: &[Emitted<Event>],
) -> Result<Decided> {
    let mut outgoing = Vec::with_capacity(events.len());
    for Emitted { event, .. } in events {
        state = Customers::evolve(state, event);
        version += 1;
        let payload = payload(shared, event.full_name(), &event.encode()?)?;
        outgoing.push((event.full_name(), payload, Some(version)));
    }
    Ok(Decided { state, version, outgoing, rejection: None })
}

fn refusal(order: &Order, rejection: &Rejection) -> Result<Vec<u8>> {
    Ok(encode_record(&CommandRejected {
        stream: order.key.clone(),
        command_id: order.id.clone(),
        command_source: order.source.clone(),
        command_type: order.command.full_name().to_owned(),
        code: rejection.code.to_owned(),
        message: rejection.message.clone(),
    })?)
}

fn payload(shared: &Shared, full_name: &str, body: &[u8]) -> Result<Vec<u8>> {
    Ok(frame(*shared.ids.get(full_name).context("a record type without id")?, body))
}

async fn load(transaction: &mut PgTransaction<'_>, stream: &str) -> Result<(i64, Option<Customer>)> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "SELECT version, state::text FROM stream WHERE context = 'customers' AND id = $1 FOR UPDATE",
    )
    .bind(stream)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some((version, state)) = row else { return Ok((0, None)) };
    Ok((version, serde_json::from_str(&state)?))
}

/// Writes the receipt; false when the command was decided before.
async fn receipt(
    transaction: &mut PgTransaction<'_>,
    order: &Order,
    decided: &Decided,
    received_at: DateTime<Utc>,
) -> Result<bool> {
    let versions = decided.outgoing.iter().filter_map(|(_, _, version)| *version).next_back();
    let written = sqlx::query(
        "INSERT INTO command (id, source, fingerprint, type, context, stream, topic, partition, \"offset\",
                              status, code, message, versions, produced_at, received_at)
         VALUES ($1, $2, $3, $4, 'customers', $5, $6, $7, $8, $9, $10, $11, $12::text::json, $13, $14)
         ON CONFLICT (id, source) DO NOTHING",
    )
    .bind(&order.id)
    .bind(&order.source)
    .bind(&order.fingerprint)
    .bind(order.command.full_name())
    .bind(&order.key)
    .bind(&order.topic)
    .bind(order.partition)
    .bind(order.offset)
    .bind(if decided.rejection.is_some() { "rejected" } else { "completed" })
    .bind(decided.rejection.as_ref().map(|rejection| rejection.code))
    .bind(decided.rejection.as_ref().map(|rejection| rejection.message.as_str()))
    .bind(versions.map(|version| serde_json::json!({ &order.key: version }).to_string()))
    .bind(order.produced_at)
    .bind(received_at)
    .execute(&mut **transaction)
    .await?;
    Ok(written.rows_affected() == 1)
}

async fn store(transaction: &mut PgTransaction<'_>, order: &Order, decided: &Decided) -> Result<()> {
    if decided.outgoing.iter().all(|(_, _, version)| version.is_none()) {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO stream (context, id, version, state_version, state) VALUES ('customers', $1, $2, $3, $4::text::json)
         ON CONFLICT (context, id) DO UPDATE
         SET version = excluded.version, state_version = excluded.state_version, state = excluded.state",
    )
    .bind(&order.key)
    .bind(decided.version)
    .bind(Customers::STATE_VERSION)
    .bind(serde_json::to_string(&decided.state)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn send(
    transaction: &mut PgTransaction<'_>,
    shared: &Shared,
    order: &Order,
    record_type: &str,
    payload: &[u8],
    version: Option<i64>,
) -> Result<()> {
    let kind = if version.is_some() { "evt" } else { "rej" };
    sqlx::query(
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic, version, correlation_id, causation_id,
                             command_id, occurred_at)
         VALUES ($1, 'customers', $2, $3, $4, $5, $6, $7, $7, $7, $8)",
    )
    .bind(Uuid::now_v7())
    .bind(&order.key)
    .bind(record_type)
    .bind(payload)
    .bind(format!("{}.{kind}.customers.v1", shared.namespace))
    .bind(version)
    .bind(&order.id)
    .bind(order.occurred_at)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn advance(transaction: &mut PgTransaction<'_>, group: &str, order: &Order) -> Result<()> {
    sqlx::query(
        "UPDATE consumer_offset SET applied = $4, published = $4
         WHERE grp = $1 AND generation = 1 AND topic = $2 AND partition = $3",
    )
    .bind(group)
    .bind(&order.topic)
    .bind(order.partition)
    .bind(order.offset + 1)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
