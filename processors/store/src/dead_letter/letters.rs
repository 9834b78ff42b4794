//! Letters, read: which there are, and what was done about them.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};

use crate::statements::statements;
use crate::timestamp::Nearest;

macro_rules! fitting {
    ($order:literal) => {
        concat!(
            "SELECT * FROM dead_letter
    WHERE ($1::text IS NULL OR grp IN ($1, $2)) AND ($3::text IS NULL OR topic = $3)
      AND ($4::bytea[] IS NULL OR key = ANY($4)) AND ($5::text IS NULL OR code = $5)
      AND ($6::timestamptz IS NULL OR failed_at >= $6) AND ($7::text IS NULL OR status = $7) ORDER BY ",
            $order,
            " LIMIT $8"
        )
    };
}

macro_rules! distinct {
    ($column:literal) => {
        concat!("SELECT DISTINCT ", $column, " FROM dead_letter WHERE ", $column, " IS NOT NULL")
    };
}

statements! {
    NEWEST_FITTING = fitting!("failed_at DESC, id DESC");
    OLDEST_FITTING = fitting!("failed_at, id");
    ONE = "SELECT * FROM dead_letter WHERE id = $1";
    GROUPS = distinct!("convert_to(grp, 'UTF8')");
    TOPICS = distinct!("convert_to(topic, 'UTF8')");
    CODES = distinct!("convert_to(code, 'UTF8')");
    KEYS = distinct!("key");
    LETTERS_OF = "SELECT 'w' || l.id, l.status, a.who, a.why
         FROM dead_letter AS l LEFT JOIN LATERAL (
             SELECT who, why FROM audit
             WHERE subject = 'w' || l.id AND action IN ('redrive', 'discard') ORDER BY id DESC LIMIT 1
         ) AS a ON l.status <> 'dead'
         WHERE l.grp = $1 AND l.topic = $2 AND l.partition = $3 AND l.\"offset\" = $4 ORDER BY l.id";
    DISCARDED_EVENTS = "SELECT topic, key, version FROM dead_letter
             WHERE grp = $1 AND generation = $2 AND status = 'discarded' AND version IS NOT NULL AND key IS NOT NULL
               AND code <> ALL ($3)";
    COUNTS = "SELECT grp, code, count(*), max(failed_at) FROM dead_letter WHERE status = 'dead' GROUP BY 1, 2 ORDER BY 1, 2";
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its id.
    pub id: i64,
    /// When it was written.
    pub failed_at: DateTime<Utc>,
    /// The group that could not apply the record.
    pub group: String,
    /// The generation of the group.
    pub generation: i32,
    /// The record's topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its ordering key.
    pub key: Option<Vec<u8>>,
    /// The type in its header.
    pub record_type: Option<String>,
    /// The error code.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The number of attempts.
    pub attempts: i32,
    /// `dead`, `redriven` or `discarded`.
    pub status: String,
    /// An event's version, or a document's.
    pub version: Option<i64>,
    /// The stream of the event that a refused document of a log is made of.
    pub stream: Option<String>,
    /// Partition and offset of its copy on the dead letter topic.
    pub copy: Option<(i32, i64)>,
}

fn letter(row: &PgRow) -> sqlx::Result<Letter> {
    let copy: (Option<i32>, Option<i64>) = (row.try_get("copy_partition")?, row.try_get("copy_offset")?);
    Ok(Letter {
        id: row.try_get("id")?,
        failed_at: row.try_get::<Nearest, _>("failed_at")?.0,
        group: row.try_get("grp")?,
        generation: row.try_get("generation")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        offset: row.try_get("offset")?,
        key: row.try_get("key")?,
        record_type: row.try_get("record_type")?,
        code: row.try_get("code")?,
        message: row.try_get("message")?,
        attempts: row.try_get("attempts")?,
        status: row.try_get("status")?,
        version: row.try_get("version")?,
        stream: row.try_get("stream")?,
        copy: copy.0.zip(copy.1),
    })
}

/// A filter of dead letters; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'f> {
    /// Of a group, which may have either of two names.
    pub group: Option<[&'f str; 2]>,
    /// Of a topic.
    pub topic: Option<&'f str>,
    /// Of one of these keys.
    pub keys: Option<&'f [&'f [u8]]>,
    /// With a code.
    pub code: Option<&'f str>,
    /// Written since.
    pub since: Option<DateTime<Utc>>,
    /// With this status.
    pub status: Option<&'f str>,
}

/// The order of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

/// The first dead letters that match the filter.
///
/// # Errors
/// The database's.
pub async fn fitting(
    executor: impl PgExecutor<'_>,
    filter: &Filter<'_>,
    first: First,
    limit: i64,
) -> sqlx::Result<Vec<Letter>> {
    let fitting = match first {
        First::Newest => NEWEST_FITTING,
        First::Oldest => OLDEST_FITTING,
    };
    let rows = sqlx::query(fitting)
        .bind(filter.group.map(|[name, _]| name))
        .bind(filter.group.map(|[_, other]| other))
        .bind(filter.topic)
        .bind(filter.keys)
        .bind(filter.code)
        .bind(filter.since)
        .bind(filter.status)
        .bind(limit)
        .fetch_all(executor)
        .await?;
    rows.iter().map(letter).collect()
}

/// The dead letter with this id.
///
/// # Errors
/// The database's.
pub async fn one(executor: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<Letter>> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(executor).await?;
    row.map(|row| letter(&row)).transpose()
}

/// The columns by which letters can be filtered.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// The group.
    Group,
    /// The topic.
    Topic,
    /// The code.
    Code,
    /// The key.
    Key,
}

/// All values of a column, as bytes, of dead letters of any status.
///
/// # Errors
/// The database's.
pub async fn distinct(executor: impl PgExecutor<'_>, column: Column) -> sqlx::Result<Vec<Vec<u8>>> {
    let distinct = match column {
        Column::Group => GROUPS,
        Column::Topic => TOPICS,
        Column::Code => CODES,
        Column::Key => KEYS,
    };
    sqlx::query_scalar(distinct).fetch_all(executor).await
}

/// The dead letters of a record, the oldest first: id, status, and who settled it and why.
///
/// # Errors
/// The database's.
pub async fn letters_of(
    executor: impl PgExecutor<'_>,
    group: &str,
    (topic, partition, offset): (Option<&str>, Option<i32>, Option<i64>),
) -> sqlx::Result<Vec<(String, String, Option<String>, Option<String>)>> {
    let letters = sqlx::query_as(LETTERS_OF).bind(group).bind(topic).bind(partition).bind(offset);
    letters.fetch_all(executor).await
}

/// Topic, key and version of the events of a generation that were given up, except letters with one of some codes.
///
/// # Errors
/// The database's.
pub async fn discarded_events(
    connection: &mut PgConnection,
    (group, generation): (&str, i32),
    but_for: &[&str],
) -> sqlx::Result<Vec<(String, Vec<u8>, i64)>> {
    sqlx::query_as(DISCARDED_EVENTS).bind(group).bind(generation).bind(but_for).fetch_all(connection).await
}

/// Open dead letters by group and code: their number, and when the last was written.
///
/// # Errors
/// The database's.
pub async fn counts(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, String, i64, Nearest)>> {
    sqlx::query_as(COUNTS).fetch_all(executor).await
}
