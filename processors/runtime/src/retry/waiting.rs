//! What waits, for those who ask: which records are tried again and which wait behind them.

use chrono::{DateTime, Utc};
use millrace_store::timestamp::Nearest;
use millrace_store::{Group, Place};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

/// A record that has not had its effect yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `ce_id`, else where it lies.
    pub id: String,
    /// `ce_source`, else its topic.
    pub source: String,
    /// `ce_type`, when it tells one.
    pub record_type: Option<String>,
    /// Where it lies.
    pub place: Place,
    /// The key whose order it keeps.
    pub key: Vec<u8>,
    /// Milliseconds since 1970, as it was stamped.
    pub timestamp_ms: Option<i64>,
    /// When it was tried or put behind another for the first time.
    pub received_at: DateTime<Utc>,
    /// What it waits for.
    pub turn: Turn,
}

/// What a record waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Its next try.
    Retrying {
        /// Tries so far.
        attempts: i32,
        /// When the next one is due.
        due_at: DateTime<Utc>,
        /// Why the last one failed: code and message. None when it was not tried yet.
        reason: Option<(String, String)>,
    },
    /// Another record of its key, which is tried again or is dead.
    Behind {
        /// That record's id; none when a version is missing, which nothing here can name.
        id: Option<String>,
    },
}

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Which<'w> {
    /// Only those with one of these ids.
    pub ids: Option<&'w [&'w str]>,
    /// Only of this topic.
    pub topic: Option<&'w str>,
    /// Only with this key.
    pub key: Option<&'w [u8]>,
    /// Only those that arrived since.
    pub since: Option<DateTime<Utc>>,
    /// At most this many; none: all.
    pub limit: Option<i64>,
}

/// What waits of a group, the newest first.
///
/// # Errors
/// The database's.
pub async fn waiting(pool: &PgPool, group: &Group, which: &Which<'_>) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query(
        "SELECT p.record_id, p.record_source, p.record_type, p.topic, p.partition, p.\"offset\", p.key, p.timestamp,
                p.parked_at, b.attempts, b.due_at, b.code, b.message, head.record_id AS head_id,
                b.status = 'retrying' AND b.partition = p.partition AND b.\"offset\" = p.\"offset\" AS is_head
         FROM parked AS p
         JOIN blocked_key AS b
              ON b.grp = p.grp AND b.generation = p.generation AND b.topic = p.topic AND b.key = p.key
         LEFT JOIN parked AS head
              ON head.grp = b.grp AND head.generation = b.generation AND head.topic = b.topic
              AND head.partition = b.partition AND head.\"offset\" = b.\"offset\"
         WHERE p.grp = $1 AND p.generation = $2 AND p.drained_offset IS NULL
           AND ($3::text[] IS NULL OR p.record_id = ANY($3)) AND ($4::text IS NULL OR p.topic = $4)
           AND ($5::bytea IS NULL OR p.key = $5) AND ($6::timestamptz IS NULL OR p.parked_at >= $6)
         ORDER BY p.parked_at DESC, p.topic, p.partition, p.\"offset\" DESC LIMIT $7",
    )
    .bind(&group.id)
    .bind(group.generation)
    .bind(which.ids)
    .bind(which.topic)
    .bind(which.key)
    .bind(which.since)
    .bind(which.limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(found).collect()
}

fn found(row: &PgRow) -> sqlx::Result<Waiting> {
    let turn = if row.try_get::<Option<bool>, _>("is_head")? == Some(true) {
        let reason: (Option<String>, Option<String>) = (row.try_get("code")?, row.try_get("message")?);
        Turn::Retrying {
            attempts: row.try_get("attempts")?,
            due_at: row.try_get::<Nearest, _>("due_at")?.0,
            reason: reason.0.map(|code| (code, reason.1.unwrap_or_default())),
        }
    } else {
        Turn::Behind { id: row.try_get("head_id")? }
    };
    Ok(Waiting {
        id: row.try_get::<Option<String>, _>("record_id")?.unwrap_or_default(),
        source: row.try_get::<Option<String>, _>("record_source")?.unwrap_or_default(),
        record_type: row.try_get("record_type")?,
        place: Place {
            topic: row.try_get("topic")?,
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
        },
        key: row.try_get("key")?,
        timestamp_ms: row.try_get("timestamp")?,
        received_at: row.try_get::<Nearest, _>("parked_at")?.0,
        turn,
    })
}
