//! Rows without their payloads: what caused what.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::statements::statements;
use crate::timestamp::Nearest;

/// A query of the columns of a [`Head`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, aggregatetype, aggregateid, type, topic, version, causation_id, coalesce(written_at, occurred_at) ",
            $rest
        )
    };
}

statements! {
    CAUSED_BY = select!("FROM unnest($1::text[]) AS cause(cause)
         CROSS JOIN LATERAL (SELECT * FROM outbox WHERE causation_id = cause
             AND NOT (version IS NULL AND starts_with(topic, current_schema() || '.out.')) LIMIT $2) AS caused LIMIT $2");
    HEADS_OF_STREAM = select!("FROM outbox WHERE aggregatetype = $1 AND aggregateid = $2 AND version IS NOT NULL
         ORDER BY version DESC LIMIT $3");
    HEAD = select!("FROM outbox WHERE id = $1 LIMIT 1");
}

/// A row without its payload.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its id.
    pub id: Uuid,
    /// The context.
    pub context: String,
    /// The stream.
    pub stream: String,
    /// The full name of its type.
    pub record_type: String,
    /// The topic.
    pub topic: String,
    /// An event's version in its stream.
    pub version: Option<i64>,
    /// The id of the command, event or timer that led to it.
    pub causation_id: Option<String>,
    /// When its transaction began; of a row that an earlier build wrote, the time of the record.
    pub written_at: DateTime<Utc>,
}

type Found = (Uuid, String, String, String, String, Option<i64>, Option<String>, Nearest);

fn head((id, context, stream, record_type, topic, version, causation_id, written_at): Found) -> Head {
    let written_at = written_at.0;
    Head { id, context, stream, record_type, topic, version, causation_id, written_at }
}

/// The rows that were caused by commands, events or timers with these ids, without outcomes, at most `most`, in no order.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn caused_by(executor: impl PgExecutor<'_>, ids: &[String], most: i64) -> sqlx::Result<Vec<Head>> {
    let rows = sqlx::query_as(CAUSED_BY).bind(ids).bind(most).fetch_all(executor).await?;
    Ok(rows.into_iter().map(head).collect())
}

/// The last `most` events of a stream, the newest first.
///
/// # Errors
/// Database errors.
pub async fn heads_of_stream(
    executor: impl PgExecutor<'_>,
    (context, stream): (&str, &str),
    most: i64,
) -> sqlx::Result<Vec<Head>> {
    let rows = sqlx::query_as(HEADS_OF_STREAM).bind(context).bind(stream).bind(most);
    Ok(rows.fetch_all(executor).await?.into_iter().map(head).collect())
}

/// The row with this id.
///
/// # Errors
/// Database errors.
pub async fn head_of(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Head>> {
    Ok(sqlx::query_as(HEAD).bind(id).fetch_optional(executor).await?.map(head))
}
