//! The ledger of dead letters.

use chrono::{DateTime, Utc};
use millrace_runtime::DOCUMENT_REFUSED;
use millrace_store::timestamp::Nearest;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::cli::Filters;
use super::id::Id;
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;

/// A row of the ledger.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Letter {
    pub(super) id: Id,
    pub(super) failed_at: DateTime<Utc>,
    pub(super) group: String,
    pub(super) generation: i32,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<String>,
    #[serde(rename = "type")]
    pub(super) type_: Option<String>,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) attempts: i32,
    pub(super) status: String,
    /// An event's place in its stream; the version of a refused document.
    pub(super) version: Option<i64>,
    /// The stream of the event that a refused document of a log is made of.
    pub(super) stream: Option<String>,
    /// Where its bytes lie on the dead letter topic; a refused document has none.
    pub(super) copy: Option<CopyAt>,
}

/// A place on a dead letter topic.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct CopyAt {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// Which of the letters that fit come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Newest,
    Oldest,
}

impl Letter {
    /// Whether Elasticsearch refused a document, and no record failed.
    pub(super) fn is_of_a_document(&self) -> bool {
        self.code == DOCUMENT_REFUSED
    }

    fn of(side: Side, row: &PgRow) -> sqlx::Result<Self> {
        let copy: (Option<i32>, Option<i64>) = (row.try_get("copy_partition")?, row.try_get("copy_offset")?);
        Ok(Self {
            id: Id { side, row: row.try_get("id")? },
            failed_at: row.try_get::<Nearest, _>("failed_at")?.0,
            group: row.try_get("grp")?,
            generation: row.try_get("generation")?,
            topic: row.try_get("topic")?,
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
            key: row.try_get::<Option<Vec<u8>>, _>("key")?.map(|key| text(&key)),
            type_: row.try_get("record_type")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            attempts: row.try_get("attempts")?,
            status: row.try_get("status")?,
            version: row.try_get("version")?,
            stream: row.try_get("stream")?,
            copy: copy.0.zip(copy.1).map(|(partition, offset)| CopyAt { partition, offset }),
        })
    }
}

const FITTING: &str = "SELECT * FROM dead_letter
    WHERE ($1::text IS NULL OR grp IN ($1, $2)) AND ($3::text IS NULL OR topic = $3)
      AND ($4::bytea IS NULL OR key = $4) AND ($5::text IS NULL OR code = $5)
      AND ($6::timestamptz IS NULL OR failed_at >= $6) AND ($7::text IS NULL OR status = $7)";

/// Both ledgers.
pub(super) struct Ledgers<'c> {
    config: &'c Config,
    write: Database,
    read: Database,
}

impl<'c> Ledgers<'c> {
    pub(super) fn of(config: &'c Config) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        Ok(Self { config, write, read })
    }

    pub(super) fn side(&self, side: Side) -> &Database {
        match side {
            Side::Write => &self.write,
            Side::Read => &self.read,
        }
    }

    /// The first `limit` letters that fit, of both sides together.
    pub(super) async fn fitting(
        &self,
        filters: &Filters,
        status: Option<&str>,
        first: First,
        limit: i64,
    ) -> Result<Vec<Letter>, Failure> {
        let mut found = Vec::new();
        for database in [&self.write, &self.read] {
            let letters = self.of_side(database, filters, status, first, limit).await;
            found.extend(letters.map_err(|error| database.failure(error))?);
        }
        found.sort_by_key(|letter: &Letter| (letter.failed_at, letter.id.row));
        if first == First::Newest {
            found.reverse();
        }
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn of_side(
        &self,
        database: &Database,
        filters: &Filters,
        status: Option<&str>,
        first: First,
        limit: i64,
    ) -> sqlx::Result<Vec<Letter>> {
        let order = match first {
            First::Newest => "failed_at DESC, id DESC",
            First::Oldest => "failed_at, id",
        };
        let rows = sqlx::query(AssertSqlSafe(format!("{FITTING} ORDER BY {order} LIMIT $8")))
            .bind(filters.group.as_deref())
            .bind(filters.group.as_deref().map(|role| self.config.namespace.group(role)))
            .bind(filters.topic.as_deref())
            .bind(filters.key.as_deref().map(str::as_bytes))
            .bind(filters.code.as_deref())
            .bind(filters.since)
            .bind(status)
            .bind(limit)
            .fetch_all(&database.pool)
            .await?;
        rows.iter().map(|row| Letter::of(database.side, row)).collect()
    }

    /// One letter.
    pub(super) async fn one(&self, id: Id) -> Result<Letter, Failure> {
        let database = self.side(id.side);
        let row = sqlx::query("SELECT * FROM dead_letter WHERE id = $1").bind(id.row);
        let row = row.fetch_optional(&database.pool).await.map_err(|error| database.failure(error))?;
        let missing =
            || Failure::NotFound(format!("there is no dead letter {id}: `millrace dlq list --status all`"));
        Letter::of(id.side, &row.ok_or_else(missing)?).map_err(|error| database.failure(error))
    }
}

/// Says that a letter is dealt with, and with it any other of the same record; false when it was before.
pub(super) async fn mark(connection: &mut PgConnection, letter: &Letter, status: &str) -> sqlx::Result<bool> {
    let marked = sqlx::query(
        "UPDATE dead_letter AS l SET status = $2 FROM dead_letter AS asked
         WHERE asked.id = $1 AND asked.status = 'dead' AND l.status = 'dead'
           AND (l.id = asked.id OR l.grp = asked.grp AND l.generation = asked.generation AND l.topic = asked.topic
                AND l.partition = asked.partition AND l.\"offset\" = asked.\"offset\"
                AND l.code <> $3 AND asked.code <> $3)",
    );
    let marked = marked.bind(letter.id.row).bind(status).bind(DOCUMENT_REFUSED).execute(connection).await?;
    Ok(marked.rows_affected() > 0)
}

/// Bytes as people read them: text, or hexadecimal when they are not.
pub(super) fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| hex(bytes, usize::MAX), str::to_owned)
}

/// Bytes in hexadecimal, at most this many.
pub(super) fn hex(bytes: &[u8], most: usize) -> String {
    let digits: String = bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect();
    let rest = bytes.len().saturating_sub(most);
    if rest == 0 { format!("0x{digits}") } else { format!("0x{digits}… and {rest} bytes more") }
}

#[cfg(test)]
pub(super) fn example() -> Letter {
    Letter {
        id: Id { side: Side::Write, row: 12 },
        failed_at: DateTime::UNIX_EPOCH,
        group: "shop.commands".to_owned(),
        generation: 1,
        topic: "shop.cmd.orders.v1".to_owned(),
        partition: 2,
        offset: 42,
        key: Some("10248".to_owned()),
        type_: Some("millrace.orders.PlaceOrder".to_owned()),
        code: "reference-not-found".to_owned(),
        message: "no customer\n`ann`".to_owned(),
        attempts: 4,
        status: "dead".to_owned(),
        version: None,
        stream: None,
        copy: Some(CopyAt { partition: 0, offset: 3 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        assert_eq!(text("ä".as_bytes()), "ä");
        assert_eq!(text(&[0xff, 0x00]), "0xff00");
        assert_eq!(hex(&[1, 2, 3], 2), "0x0102… and 1 bytes more");
    }
}
