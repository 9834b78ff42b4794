//! The table `dead_letter`: records that were given up, with the reason and the place of their bytes.

mod letters;
mod prune;

use std::collections::{BTreeMap, HashSet};

use sqlx::PgConnection;

pub(crate) use letters::STATEMENTS as STATEMENTS_OF_LETTERS;
pub use letters::{
    Column, Filter, First, Letter, counts, discarded_events, distinct, fitting, letters_of, one,
};
pub(crate) use prune::STATEMENTS as STATEMENTS_OF_PRUNE;
pub use prune::{CopiesOf, Gone, first_copies, prunable, prune};

use crate::columns::bind_columns;
use crate::consumer_offset::Partition;
use crate::statements::statements;
use crate::{Group, Place};

/// The code of a dead letter that is not about a record: Elasticsearch refused a document.
pub const DOCUMENT_REFUSED: &str = "document-refused";

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
    MARK = "UPDATE dead_letter AS l SET status = $2, settled_at = now() FROM dead_letter AS asked
         WHERE asked.id = $1 AND asked.status = 'dead' AND l.status = 'dead'
           AND (l.id = asked.id OR l.grp = asked.grp AND l.generation = asked.generation AND l.topic = asked.topic
                AND l.partition = asked.partition AND l.\"offset\" = asked.\"offset\"
                AND l.code <> $3 AND asked.code <> $3)";
    DISCARD_ALL = "UPDATE dead_letter SET status = 'discarded', settled_at = now() WHERE grp = $1 AND generation = $2 AND status = 'dead'";
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
/// The database's, as of every function here.
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
/// The database's.
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
/// The database's.
pub async fn settle(connection: &mut PgConnection, group: &Group, places: &[&Place]) -> sqlx::Result<u64> {
    if places.is_empty() {
        return Ok(0);
    }
    let settle = sqlx::query(SETTLE).bind(&group.id).bind(group.generation);
    let settle = bind_columns!(settle, places, place => place.topic.as_str(), place.partition, place.offset);
    Ok(settle.bind(DOCUMENT_REFUSED).execute(connection).await?.rows_affected())
}

/// Those of some places (topic, partition, offset) whose last dead letter is open or discarded.
///
/// # Errors
/// The database's.
pub async fn ended(
    connection: &mut PgConnection,
    group: &Group,
    places: &[(&str, i32, i64)],
) -> sqlx::Result<Vec<(String, i32, i64)>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ranges = ranges(places);
    let ended = sqlx::query_as(ENDED).bind(&group.id).bind(group.generation);
    let ended = bind_columns!(ended, ranges, ((topic, partition), (first, last)) =>
        *topic, *partition, *first, *last
    );
    let mut ended: Vec<(String, i32, i64)> = ended.bind(DOCUMENT_REFUSED).fetch_all(connection).await?;
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
/// The database's.
pub async fn shift_offsets(connection: &mut PgConnection, at: Partition<'_>, by: i64) -> sqlx::Result<()> {
    at.bound(SHIFT_OFFSETS).bind(by).execute(connection).await.map(|_| ())
}

/// Sets the status of a dead letter, and of any other of the same record; false when it was not open.
///
/// # Errors
/// The database's.
pub async fn mark(connection: &mut PgConnection, id: i64, status: &str) -> sqlx::Result<bool> {
    let marked = sqlx::query(MARK).bind(id).bind(status).bind(DOCUMENT_REFUSED).execute(connection).await?;
    Ok(marked.rows_affected() > 0)
}

/// Discards all open dead letters of a generation.
///
/// # Errors
/// The database's.
pub async fn discard_all(connection: &mut PgConnection, group: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query(DISCARD_ALL).bind(group).bind(generation).execute(connection).await.map(|_| ())
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
