//! The ledger of dead letters.

use chrono::{DateTime, Utc};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout::Side;
use millrace_ops::postgres::Database;
use millrace_store::dead_letter::{self, DOCUMENT_REFUSED, Filter, First};
use serde::Serialize;

use super::cli::Filters;
use super::id::Id;

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

impl Letter {
    /// Whether Elasticsearch refused a document, and no record failed.
    pub(super) fn is_of_a_document(&self) -> bool {
        self.code == DOCUMENT_REFUSED
    }

    fn of(side: Side, row: dead_letter::Letter) -> Self {
        Self {
            id: Id { side, row: row.id },
            failed_at: row.failed_at,
            group: row.group,
            generation: row.generation,
            topic: row.topic,
            partition: row.partition,
            offset: row.offset,
            key: row.key.as_deref().map(text),
            type_: row.record_type,
            code: row.code,
            message: row.message,
            attempts: row.attempts,
            status: row.status,
            version: row.version,
            stream: row.stream,
            copy: row.copy.map(|(partition, offset)| CopyAt { partition, offset }),
        }
    }
}

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
        let group = filters.group.as_deref().map(|role| (role, self.config.namespace.group(role)));
        let filter = Filter {
            group: group.as_ref().map(|(role, group)| [*role, group.as_str()]),
            topic: filters.topic.as_deref(),
            key: filters.key.as_deref().map(str::as_bytes),
            code: filters.code.as_deref(),
            since: filters.since,
            status,
        };
        let letters = dead_letter::fitting(&database.pool, &filter, first, limit).await?;
        Ok(letters.into_iter().map(|row| Letter::of(database.side, row)).collect())
    }

    /// One letter.
    pub(super) async fn one(&self, id: Id) -> Result<Letter, Failure> {
        let database = self.side(id.side);
        let row = dead_letter::one(&database.pool, id.row).await.map_err(|error| database.failure(error))?;
        let missing =
            || Failure::NotFound(format!("there is no dead letter {id}: `millrace dlq list --status all`"));
        Ok(Letter::of(id.side, row.ok_or_else(missing)?))
    }
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
