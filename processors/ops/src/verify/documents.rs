//! Compares the documents of a published view with its rows.
//!
//! Documents follow rows: a document that is behind is compared again when everything that was applied is published.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_engine::{Document, WorkError};
use millrace_store::consumer_offset;
use sqlx::{AssertSqlSafe, PgConnection};

use super::finding::Finding;
use super::index::{Checked, Index, Source};
use super::only::{CUSTOMER, Only};
use crate::config::Config;
use crate::failure::Failure;
use crate::index_reader::Ids;
use crate::keys;
use crate::layout::Side;
use crate::outage;
use crate::postgres::Database;

/// Rows whose documents are compared again, at most.
const SUSPECTS_MAX: usize = 10_000;

/// The documents of one generation of a published view.
pub(super) struct Documents<'d> {
    pub(super) config: &'d Config,
    pub(super) read: &'d Database,
    pub(super) index: Index<'d>,
    /// The view's table, and the column of its key.
    pub(super) table: String,
    pub(super) column: &'d str,
    pub(super) which: Which<'d>,
}

/// The documents to compare.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'d> {
    All,
    /// Those of some rows.
    Of(&'d Only),
    /// Those of the keys in a table; and those that were written by a range of operations, which are checked for a row.
    Noted(&'d str, (i64, i64)),
}

impl Documents<'_> {
    /// Compares every row's document with the row, then searches for documents without a row.
    pub(super) async fn check(&self) -> Result<Checked, Failure> {
        let (count, suspects) = self.suspects().await?;
        let mut findings = Vec::new();
        if !suspects.is_empty() {
            // The offsets at which everything that was read is applied.
            let stand = consumer_offset::stands(&self.read.pool, self.index.role.group()).await;
            let stand = stand.map_err(|error| self.read.failure(error))?;
            self.index.published(&stand).await?;
            findings = self.judge(&suspects).await?;
        }
        findings.extend(match self.which {
            Which::All => self.without_rows(self.index.reader.ids().await?).await?,
            Which::Of(Only::Key(key)) => self.unexpected(std::slice::from_ref(key)).await?,
            Which::Of(Only::Customer(id)) => {
                self.without_rows(self.index.reader.ids_with(CUSTOMER, id).await?).await?
            }
            Which::Noted(_, (from, to)) => {
                self.without_rows(self.index.reader.ids_between(from, to).await?).await?
            }
        });
        Ok(Checked { count, findings })
    }

    /// The number of rows, and those whose document differs: key and version.
    async fn suspects(&self) -> Result<(i64, BTreeMap<String, i64>), Failure> {
        let (mut count, mut suspects, mut after) = (0, BTreeMap::new(), String::new());
        loop {
            // Page by page: no snapshot is held while Elasticsearch answers.
            let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
            let keys = self.keys(&mut connection, &after).await.map_err(|error| self.read.failure(error))?;
            let Some(last) = keys.last() else { return Ok((count, suspects)) };
            after.clone_from(last);
            let rows = self.rows(&mut connection, &keys).await?;
            let held = self.index.reader.held(&keys).await?;
            let same = |row: &Document| held.get(&row.id).is_some_and(|held| held.is(row));
            suspects.extend(rows.iter().filter(|row| !same(row)).map(|row| (row.id.clone(), row.version)));
            count += i64::try_from(keys.len()).unwrap_or(i64::MAX);
            if suspects.len() > SUSPECTS_MAX {
                return Ok((count, suspects));
            }
        }
    }

    async fn keys(&self, connection: &mut PgConnection, after: &str) -> sqlx::Result<Vec<String>> {
        let rows = (self.table.as_str(), self.column);
        match self.which {
            Which::All => keys::after(connection, rows, after, None).await,
            Which::Of(only) => {
                let only = Some((only.column(self.column), only.id()));
                keys::after(connection, rows, after, only).await
            }
            Which::Noted(table, _) => keys::noted_after(connection, (table, self.column), after).await,
        }
    }

    /// The rows of these keys as documents. An unreadable row is left out: the comparison of rows finds it, and it must not hide
    /// other findings.
    async fn rows(&self, connection: &mut PgConnection, keys: &[String]) -> Result<Vec<Document>, Failure> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let (mut documents, mut parts) = (Vec::new(), vec![keys.as_slice()]);
        while let Some(part) = parts.pop() {
            match self.index.role.documents_of(connection, part).await {
                Ok(some) => documents.extend(some),
                Err(WorkError::Refused(_)) if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left, right]);
                }
                Err(WorkError::Refused(why)) => tracing::debug!(%why, "a row has no document"),
                Err(error) => return Err(outage::failure(self.config, Side::Read, error)),
            }
        }
        Ok(documents)
    }

    /// Compares suspects again: reads documents first, then rows, so that no document can be ahead of its row.
    async fn judge(&self, suspects: &BTreeMap<String, i64>) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let keys: Vec<String> = suspects.keys().cloned().collect();
        for keys in keys.chunks(usize::try_from(keys::PAGE).unwrap_or(usize::MAX)) {
            let mut held = self.index.reader.held(keys).await?;
            let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
            for row in self.rows(&mut connection, keys).await? {
                let document = held.remove(&row.id);
                let seen = suspects.get(&row.id).copied().unwrap_or_default();
                let right = document
                    .as_ref()
                    .is_some_and(|held| held.is(&row) || (seen..row.version).contains(&held.version));
                if !right {
                    findings.push(self.index.finding(row.id.clone(), document, Some(row)));
                }
            }
        }
        Ok(findings)
    }

    /// Documents that have no row.
    async fn without_rows(&self, mut all: Ids<'_>) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        while let Some(ids) = all.page().await? {
            findings.extend(self.unexpected(&ids).await?);
        }
        all.close().await?;
        Ok(findings)
    }

    /// Those of some documents that have no row.
    async fn unexpected(&self, ids: &[String]) -> Result<Vec<Finding>, Failure> {
        let unexpected = self.without_row(ids).await.map_err(|error| self.read.failure(error))?;
        if unexpected.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.index.reader.held(&unexpected).await?.into_iter();
        Ok(held.map(|(id, held)| self.index.finding(id, Some(held), None)).collect())
    }

    async fn without_row(&self, ids: &[String]) -> sqlx::Result<Vec<String>> {
        let Self { table, column, .. } = self;
        let without = format!(
            "SELECT id FROM UNNEST($1::text[]) AS document(id)
             WHERE NOT EXISTS (SELECT FROM \"{table}\" WHERE \"{column}\" = id AND version > 0)"
        );
        // A text of Postgres cannot contain NUL, so no row has such a key.
        let (odd, ids): (Vec<String>, Vec<String>) = ids.iter().cloned().partition(|id| id.contains('\0'));
        let without = sqlx::query_scalar(AssertSqlSafe(without)).bind(ids).fetch_all(&self.read.pool).await?;
        Ok(odd.into_iter().chain(without).collect())
    }
}

#[async_trait]
impl Source for Documents<'_> {
    async fn expected(&self, id: &str) -> Result<Option<Document>, Failure> {
        let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
        // Unlike above, an unreadable row counts as existing.
        let row = self.index.role.documents_of(&mut connection, &[id]).await;
        Ok(row.map_err(|error| outage::failure(self.config, Side::Read, error))?.pop())
    }
}
