//! The tables `dead_letter` of both sides.

use chrono::{DateTime, Utc};
use millrace_store::dead_letter::{self, Filter, First};

use super::id::Id;
use super::letter::{Letter, Status};
use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;

/// A filter of letters: those that match every given field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// The group, by its role or its full name.
    pub group: Option<String>,
    /// The topic of the record.
    pub topic: Option<String>,
    /// One of these Kafka keys; empty for all.
    pub keys: Vec<String>,
    /// The code of the failure.
    pub code: Option<String>,
    /// Failed at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// The tables `dead_letter` of both sides.
pub(crate) struct Tables<'c> {
    config: &'c Config,
    write: Database,
    read: Database,
}

impl<'c> Tables<'c> {
    pub(crate) fn of(config: &'c Config) -> Result<Self, Failure> {
        let (write, read) = (Database::of(config, Side::Write)?, Database::of(config, Side::Read)?);
        Ok(Self { config, write, read })
    }

    pub(super) fn side(&self, side: Side) -> &Database {
        match side {
            Side::Write => &self.write,
            Side::Read => &self.read,
        }
    }

    /// The first `limit` letters that match, of both sides together.
    pub(crate) async fn fitting(
        &self,
        filters: &Filters,
        status: Option<Status>,
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
        status: Option<Status>,
        first: First,
        limit: i64,
    ) -> sqlx::Result<Vec<Letter>> {
        let group = filters.group.as_deref().map(|role| (role, self.config.namespace.group(role)));
        let keys: Vec<&[u8]> = filters.keys.iter().map(String::as_bytes).collect();
        let filter = Filter {
            group: group.as_ref().map(|(role, group)| [*role, group.as_str()]),
            topic: filters.topic.as_deref(),
            keys: (!keys.is_empty()).then_some(&keys),
            code: filters.code.as_deref(),
            since: filters.since,
            status: status.map(Status::as_str),
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
