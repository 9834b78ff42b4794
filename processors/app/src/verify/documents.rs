//! The documents of a published view against its rows.
//!
//! Documents follow rows: one that is behind is looked at again when all that was applied is published.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_runtime::Document;
use sqlx::{AssertSqlSafe, PgConnection};

use super::finding::Finding;
use super::horizon::Stand;
use super::index::{Checked, Index, Source};
use crate::config::Config;
use crate::failure::Failure;
use crate::keys;
use crate::layout::Side;
use crate::postgres::Database;
use crate::replay::session::{self, begin};

/// Rows whose documents are looked at again, at most.
const SUSPECTS_MAX: usize = 10_000;

/// The documents of one generation of a published view.
pub(super) struct Documents<'d> {
    pub(super) config: &'d Config,
    pub(super) read: &'d Database,
    pub(super) index: Index<'d>,
    /// The view's table, and the column of its key.
    pub(super) table: String,
    pub(super) column: &'d str,
    /// Only the row with this key.
    pub(super) key: Option<&'d str>,
}

impl Documents<'_> {
    /// Compares every row's document with the row, then looks for documents without a row.
    pub(super) async fn check(&self) -> Result<Checked, Failure> {
        let fail = |error| self.read.failure(error);
        let mut snapshot = session::open(self.read).await.map_err(fail)?;
        begin(&mut snapshot, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(fail)?;
        let stand = self.stand(&mut snapshot).await.map_err(fail)?;
        let (count, suspects) = self.suspects(&mut snapshot).await?;
        drop(snapshot);
        let mut findings = Vec::new();
        if !suspects.is_empty() {
            self.index.published(&stand).await?;
            findings = self.judge(&suspects).await?;
        }
        if self.key.is_none() {
            findings.extend(self.strangers().await?);
        }
        Ok(Checked { count, findings })
    }

    async fn stand(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Stand>> {
        let stand =
            "SELECT topic, partition, applied FROM consumer_offset WHERE grp = $1 AND generation = $2";
        let group = self.index.role.group();
        sqlx::query_as(stand).bind(&group.id).bind(group.generation).fetch_all(connection).await
    }

    /// How many rows there are, and those whose document is not the same: key and version.
    async fn suspects(&self, snapshot: &mut PgConnection) -> Result<(i64, BTreeMap<String, i64>), Failure> {
        let (mut count, mut suspects, mut after) = (0, BTreeMap::new(), String::new());
        loop {
            let keys = keys::after(snapshot, (&self.table, self.column), &after, self.key).await;
            let keys = keys.map_err(|error| self.read.failure(error))?;
            let Some(last) = keys.last() else { return Ok((count, suspects)) };
            after.clone_from(last);
            let rows = self.rows(snapshot, &keys).await?;
            let held = self.index.reader.held(&keys).await?;
            let same = |row: &Document| held.get(&row.id).is_some_and(|held| held.is(row));
            suspects.extend(rows.iter().filter(|row| !same(row)).map(|row| (row.id.clone(), row.version)));
            count += i64::try_from(keys.len()).unwrap_or(i64::MAX);
            if suspects.len() > SUSPECTS_MAX {
                return Ok((count, suspects));
            }
        }
    }

    async fn rows(&self, connection: &mut PgConnection, keys: &[String]) -> Result<Vec<Document>, Failure> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let rows = self.index.role.documents_of(connection, &keys).await;
        rows.map_err(|error| Failure::of_work(self.config, Side::Read, error))
    }

    /// Looks at suspects again: documents first, then rows, so that no document can be ahead of its row.
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
    async fn strangers(&self) -> Result<Vec<Finding>, Failure> {
        let (mut all, mut findings) = (self.index.reader.ids().await?, Vec::new());
        while let Some(ids) = all.page().await? {
            let strangers = self.without_row(&ids).await.map_err(|error| self.read.failure(error))?;
            if !strangers.is_empty() {
                let held = self.index.reader.held(&strangers).await?.into_iter();
                findings.extend(held.map(|(id, held)| self.index.finding(id, Some(held), None)));
            }
        }
        all.close().await?;
        Ok(findings)
    }

    async fn without_row(&self, ids: &[String]) -> sqlx::Result<Vec<String>> {
        let Self { table, column, .. } = self;
        let without = format!(
            "SELECT id FROM UNNEST($1::text[]) AS document(id)
             WHERE NOT EXISTS (SELECT FROM \"{table}\" WHERE \"{column}\" = id AND version > 0)"
        );
        sqlx::query_scalar(AssertSqlSafe(without)).bind(ids).fetch_all(&self.read.pool).await
    }
}

#[async_trait]
impl Source for Documents<'_> {
    async fn expected(&self, id: &str) -> Result<Option<Document>, Failure> {
        let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
        Ok(self.rows(&mut connection, &[id.to_owned()]).await?.pop())
    }
}
