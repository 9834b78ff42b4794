//! The table `dead_letter`: records that were given up, with the reason and the place of their bytes.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};

use crate::consumer_offset::Partition;
use crate::place::columns;
use crate::prune::Aged;
use crate::statements::statements;
use crate::timestamp::Nearest;
use crate::{Group, Place};

/// The code of a dead letter that is not about a record: Elasticsearch refused a document.
pub const DOCUMENT_REFUSED: &str = "document-refused";

macro_rules! fitting {
    ($order:literal) => {
        concat!(
            "SELECT * FROM dead_letter
    WHERE ($1::text IS NULL OR grp IN ($1, $2)) AND ($3::text IS NULL OR topic = $3)
      AND ($4::bytea IS NULL OR key = $4) AND ($5::text IS NULL OR code = $5)
      AND ($6::timestamptz IS NULL OR failed_at >= $6) AND ($7::text IS NULL OR status = $7) ORDER BY ",
            $order,
            " LIMIT $8"
        )
    };
}

/// Dead letters that were settled longer ago than their retention. A discarded one is needed to skip its record: on the write
/// side (`$2`) until the group is past it and the mark covers it, on the read side as long as its generation has a gap in a
/// stream because of it.
macro_rules! prunable {
    () => {
        "FROM dead_letter AS l
         WHERE l.status <> 'dead' AND coalesce(l.settled_at, l.failed_at) < $1
           AND (l.status = 'redriven' OR CASE WHEN $2
                THEN EXISTS (SELECT FROM consumer_offset AS o
                             WHERE o.grp = l.grp AND o.generation = l.generation AND o.topic = l.topic
                               AND o.partition = l.partition AND o.applied > l.\"offset\")
                ELSE l.version IS NULL OR l.key IS NULL OR NOT EXISTS (
                    SELECT FROM consumer_offset AS o WHERE o.grp = l.grp AND o.generation = l.generation) END)"
    };
}

macro_rules! distinct {
    ($column:literal) => {
        concat!("SELECT DISTINCT ", $column, " FROM dead_letter WHERE ", $column, " IS NOT NULL")
    };
}

statements! {
    INSERT = "INSERT INTO dead_letter
             (grp, generation, topic, partition, \"offset\", key, record_type, code, message, attempts,
              copy_partition, copy_offset, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    INSERT_DOCUMENT = "INSERT INTO dead_letter (grp, generation, topic, partition, \"offset\", key, record_type, code, message,
                                  attempts, version, stream)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11)";
    SETTLE = "UPDATE dead_letter AS letter SET status = 'redriven', settled_at = now()
         FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS done(topic, partition, \"offset\")
         WHERE letter.topic = done.topic AND letter.partition = done.partition AND letter.\"offset\" = done.\"offset\"
           AND letter.grp = $1 AND letter.generation = $2 AND letter.status = 'dead' AND letter.code <> $6";
    /// Reads the letters between the first and the last record of each partition, usually none, instead of looking up each
    /// record. Uses their index (enforced by OFFSET 0): a join would be planned with the number of letters of a group.
    ENDED = "SELECT l.topic, l.partition, l.\"offset\"
         FROM UNNEST($3::text[], $4::int[], $5::bigint[], $6::bigint[]) AS r(topic, partition, first, last)
         CROSS JOIN LATERAL (
             SELECT * FROM dead_letter
             WHERE grp = $1 AND generation = $2 AND topic = r.topic AND partition = r.partition
               AND \"offset\" BETWEEN r.first AND r.last AND code <> $7 OFFSET 0) AS l
         GROUP BY l.topic, l.partition, l.\"offset\"
         HAVING (array_agg(l.status ORDER BY l.id DESC))[1] IN ('dead', 'discarded')";
    SHIFT_OFFSETS = "UPDATE dead_letter SET \"offset\" = \"offset\" + $5
             WHERE grp = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND \"offset\" >= 0
               AND status IN ('dead', 'discarded')";
    NEWEST_FITTING = fitting!("failed_at DESC, id DESC");
    OLDEST_FITTING = fitting!("failed_at, id");
    ONE = "SELECT * FROM dead_letter WHERE id = $1";
    MARK = "UPDATE dead_letter AS l SET status = $2, settled_at = now() FROM dead_letter AS asked
         WHERE asked.id = $1 AND asked.status = 'dead' AND l.status = 'dead'
           AND (l.id = asked.id OR l.grp = asked.grp AND l.generation = asked.generation AND l.topic = asked.topic
                AND l.partition = asked.partition AND l.\"offset\" = asked.\"offset\"
                AND l.code <> $3 AND asked.code <> $3)";
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
    DISCARD_ALL = "UPDATE dead_letter SET status = 'discarded', settled_at = now() WHERE grp = $1 AND generation = $2 AND status = 'dead'";
    DISCARDED_EVENTS = "SELECT topic, key, version FROM dead_letter
             WHERE grp = $1 AND generation = $2 AND status = 'discarded' AND version IS NOT NULL AND key IS NOT NULL
               AND code <> ALL ($3)";
    PRUNABLE = concat!("SELECT count(*), min(l.failed_at) ", prunable!());
    PRUNE = concat!("DELETE FROM dead_letter WHERE id IN (
             SELECT l.id ", prunable!(), " ORDER BY coalesce(l.settled_at, l.failed_at) LIMIT $3 FOR UPDATE OF l SKIP LOCKED)
         RETURNING grp, topic, partition, \"offset\", status");
    COUNTS = "SELECT grp, code, count(*), max(failed_at) FROM dead_letter WHERE status = 'dead' GROUP BY 1, 2 ORDER BY 1, 2";
}

/// A record that was given up.
#[derive(Debug, Clone, Copy)]
pub struct New<'l> {
    /// Its topic.
    pub topic: &'l str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its ordering key, if it has one.
    pub key: Option<&'l [u8]>,
    /// The type in its header.
    pub record_type: Option<&'l str>,
    /// The error code.
    pub code: &'l str,
    /// The error message.
    pub message: &'l str,
    /// The number of attempts.
    pub attempts: i32,
    /// Partition and offset of its copy on the dead letter topic.
    pub copy: Option<(i32, i64)>,
    /// An event's version.
    pub version: Option<i64>,
}

/// Writes the dead letter of a record.
///
/// # Errors
/// Database errors, as of every function here.
pub async fn insert(connection: &mut PgConnection, group: &Group, letter: &New<'_>) -> sqlx::Result<()> {
    sqlx::query(INSERT)
        .bind(&group.id)
        .bind(group.generation)
        .bind(letter.topic)
        .bind(letter.partition)
        .bind(letter.offset)
        .bind(letter.key)
        .bind(letter.record_type)
        .bind(letter.code)
        .bind(letter.message)
        .bind(letter.attempts)
        .bind(letter.copy.map(|(partition, _)| partition))
        .bind(letter.copy.map(|(_, offset)| offset))
        .bind(letter.version)
        .execute(connection)
        .await
        .map(|_| ())
}

/// A document that Elasticsearch refuses.
#[derive(Debug, Clone, Copy)]
pub struct NewDocument<'l> {
    /// The index.
    pub index: &'l str,
    /// The document's id.
    pub id: &'l str,
    /// The row's version.
    pub version: i64,
    /// The stream of its event, if it is a log's.
    pub stream: Option<&'l str>,
    /// The error message.
    pub reason: &'l str,
}

/// Writes the dead letter of a document that was published with the records up to `at`.
///
/// # Errors
/// Database errors.
pub async fn insert_document(
    connection: &mut PgConnection,
    group: &Group,
    at: &Place,
    document: &NewDocument<'_>,
) -> sqlx::Result<()> {
    sqlx::query(INSERT_DOCUMENT)
        .bind(&group.id)
        .bind(group.generation)
        .bind(&at.topic)
        .bind(at.partition)
        .bind(at.offset)
        .bind(document.id.as_bytes())
        .bind(document.index)
        .bind(DOCUMENT_REFUSED)
        .bind(document.reason)
        .bind(document.version)
        .bind(document.stream)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Settles the dead letters of records at these places; returns how many.
///
/// # Errors
/// Database errors.
pub async fn settle(connection: &mut PgConnection, group: &Group, places: &[&Place]) -> sqlx::Result<u64> {
    if places.is_empty() {
        return Ok(0);
    }
    let places = places.iter().map(|place| (place.topic.as_str(), place.partition, place.offset));
    let (topics, partitions, offsets) = columns(places);
    let settled = sqlx::query(SETTLE)
        .bind(&group.id)
        .bind(group.generation)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(DOCUMENT_REFUSED)
        .execute(connection)
        .await?;
    Ok(settled.rows_affected())
}

/// Those of some places (topic, partition, offset) whose last dead letter is open or discarded.
///
/// # Errors
/// Database errors.
pub async fn ended(
    connection: &mut PgConnection,
    group: &Group,
    places: &[(&str, i32, i64)],
) -> sqlx::Result<Vec<(String, i32, i64)>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ranges = ranges(places);
    let mut ended: Vec<(String, i32, i64)> = sqlx::query_as(ENDED)
        .bind(&group.id)
        .bind(group.generation)
        .bind(ranges.keys().map(|(topic, _)| *topic).collect::<Vec<_>>())
        .bind(ranges.keys().map(|(_, partition)| *partition).collect::<Vec<_>>())
        .bind(ranges.values().map(|(first, _)| *first).collect::<Vec<_>>())
        .bind(ranges.values().map(|(_, last)| *last).collect::<Vec<_>>())
        .bind(DOCUMENT_REFUSED)
        .fetch_all(connection)
        .await?;
    if !ended.is_empty() {
        let asked: HashSet<&(&str, i32, i64)> = places.iter().collect();
        ended.retain(|(topic, partition, offset)| asked.contains(&(topic.as_str(), *partition, *offset)));
    }
    Ok(ended)
}

/// The first and the last offset of each partition.
fn ranges<'p>(places: &[(&'p str, i32, i64)]) -> BTreeMap<(&'p str, i32), (i64, i64)> {
    let mut ranges = BTreeMap::new();
    for (topic, partition, offset) in places {
        let (first, last) = ranges.entry((*topic, *partition)).or_insert((*offset, *offset));
        (*first, *last) = ((*first).min(*offset), (*last).max(*offset));
    }
    ranges
}

/// Adds `by` to the offsets of open and discarded dead letters; for records of a deleted topic the result is below zero.
///
/// # Errors
/// Database errors.
pub async fn shift_offsets(connection: &mut PgConnection, at: Partition<'_>, by: i64) -> sqlx::Result<()> {
    at.bound(SHIFT_OFFSETS).bind(by).execute(connection).await.map(|_| ())
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
    /// Of a key.
    pub key: Option<&'f [u8]>,
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
/// Database errors.
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
        .bind(filter.key)
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
/// Database errors.
pub async fn one(executor: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<Letter>> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(executor).await?;
    row.map(|row| letter(&row)).transpose()
}

/// Sets the status of a dead letter, and of any other of the same record; false when it was not open.
///
/// # Errors
/// Database errors.
pub async fn mark(connection: &mut PgConnection, id: i64, status: &str) -> sqlx::Result<bool> {
    let marked = sqlx::query(MARK).bind(id).bind(status).bind(DOCUMENT_REFUSED).execute(connection).await?;
    Ok(marked.rows_affected() > 0)
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
/// Database errors.
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
/// Database errors.
pub async fn letters_of(
    executor: impl PgExecutor<'_>,
    group: &str,
    (topic, partition, offset): (Option<&str>, Option<i32>, Option<i64>),
) -> sqlx::Result<Vec<(String, String, Option<String>, Option<String>)>> {
    let letters = sqlx::query_as(LETTERS_OF).bind(group).bind(topic).bind(partition).bind(offset);
    letters.fetch_all(executor).await
}

/// Discards all open dead letters of a generation.
///
/// # Errors
/// Database errors.
pub async fn discard_all(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(DISCARD_ALL).bind(group).bind(generation).execute(connection).await.map(|_| ())
}

/// Topic, key and version of the events of a generation that were given up, except letters with one of some codes.
///
/// # Errors
/// Database errors.
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
/// Database errors.
pub async fn counts(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, String, i64, Nearest)>> {
    sqlx::query_as(COUNTS).fetch_all(executor).await
}

/// The number and age of the dead letters that retention would remove. `ledger`: on the write side, where a discarded letter is
/// needed to skip its record.
///
/// # Errors
/// Database errors.
pub async fn prunable(
    executor: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    ledger: bool,
) -> sqlx::Result<Aged> {
    sqlx::query_as(PRUNABLE).bind(before).bind(ledger).fetch_one(executor).await.map(Aged::of)
}

/// A removed dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The group.
    pub group: String,
    /// The record.
    pub place: Place,
    /// Whether it was discarded.
    pub discarded: bool,
}

/// Removes a batch of them, those that were settled first.
///
/// # Errors
/// Database errors.
pub async fn prune(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    ledger: bool,
    most: i64,
) -> sqlx::Result<Vec<Gone>> {
    let gone = sqlx::query_as(PRUNE).bind(before).bind(ledger).bind(most).fetch_all(connection);
    let gone: Vec<(String, String, i32, i64, String)> = gone.await?;
    let letter = |(group, topic, partition, offset, status)| Gone {
        group,
        place: Place { topic, partition, offset },
        discarded: status == "discarded",
    };
    Ok(gone.into_iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_looked_for_between_the_first_and_the_last_record_of_each_partition() {
        let places = [("a", 0, 7), ("a", 0, 5), ("a", 1, 2), ("b", 0, 1), ("a", 0, 6)];
        let ranges: Vec<_> = ranges(&places).into_iter().collect();
        assert_eq!(ranges, [(("a", 0), (5, 7)), (("a", 1), (2, 2)), (("b", 0), (1, 1))]);
    }
}
