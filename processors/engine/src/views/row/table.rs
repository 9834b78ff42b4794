//! The table of a generation of a view: reading and writing its rows.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use millrace_domain::View;
use millrace_store::timestamp::Timestamp;
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _};

use super::{Ready, Rows, Versioned, fields};
use crate::error::WorkError;
use crate::reason::Reason;
use crate::views::columns::{Columns, Fields};

/// An existing row, and its key.
type Found<R> = (String, Box<Versioned<R>>);

/// The statements of a table, which depend on the types of its columns.
pub(super) struct Table {
    name: String,
    key: &'static str,
    columns: Columns,
    absent: String,
    look: String,
    lock: String,
    insert: String,
}

impl Table {
    pub(super) async fn of<V: View>(connection: &mut PgConnection, name: String) -> Result<Self, WorkError> {
        let own = fields(V::KEY, &Versioned::<V::Row>::default())?;
        let columns = Columns::of(connection, &name, own.into_iter().map(|(name, _)| name)).await?;
        let key = V::KEY;
        let look = format!(
            "SELECT {}, ctid::text FROM \"{name}\" AS t WHERE \"{key}\" = ANY($1)",
            columns.selected()
        );
        let insert = format!(
            "INSERT INTO \"{name}\" ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING RETURNING \"{key}\"",
            columns.names(),
            columns.values(),
            columns.rows(false)
        );
        let absent = format!(
            "SELECT wanted FROM UNNEST($1::text[]) AS wanted
             WHERE NOT EXISTS (SELECT FROM \"{name}\" WHERE \"{key}\" = wanted)"
        );
        let lock = format!("{look} ORDER BY \"{key}\" COLLATE \"C\" FOR UPDATE");
        Ok(Self { name, key, columns, absent, look, lock, insert })
    }

    /// The keys without a row.
    pub(super) async fn absent(
        &self,
        connection: &mut PgConnection,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, WorkError> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let absent = sqlx::query_scalar(AssertSqlSafe(self.absent.as_str())).bind(keys);
        Ok(absent.fetch_all(connection).await?.into_iter().collect())
    }

    /// The existing rows of these keys.
    pub(super) async fn look<V: View>(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
    ) -> Result<Rows<V::Row>, WorkError> {
        self.read::<V>(connection, &self.look, keys).await
    }

    /// The existing rows of these keys, locked in the order of the keys until the transaction ends.
    pub(super) async fn lock<V: View>(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
    ) -> Result<Rows<V::Row>, WorkError> {
        self.read::<V>(connection, &self.lock, keys).await
    }

    async fn read<V: View>(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        keys: &[&str],
    ) -> Result<Rows<V::Row>, WorkError> {
        let rows = sqlx::query(AssertSqlSafe(statement)).bind(keys).fetch(connection);
        rows.err_into().and_then(async |row| self.found::<V>(&row)).try_collect().await
    }

    /// Reads a row. When the types of columns have changed, the error is [`WorkError::Outdated`], not `Refused`.
    fn found<V: View>(&self, row: &PgRow) -> Result<Found<V::Row>, WorkError> {
        match self.versioned::<V>(row) {
            Err(WorkError::Refused(_)) if !self.columns.fit(row) => Err(WorkError::Outdated(
                format!("columns of {} have other types than before", self.name).into(),
            )),
            versioned => versioned,
        }
    }

    fn versioned<V: View>(&self, row: &PgRow) -> Result<Found<V::Row>, WorkError> {
        let key: String = row.try_get(V::KEY)?;
        let (version, ctid) = (row.try_get("version")?, Some(row.try_get("ctid")?));
        // A row of version 0 counts as no row, and is not read.
        if version == 0 {
            return Ok((key, Box::new(Versioned { ctid, ..Versioned::default() })));
        }
        let unreadable = |reason: Reason| {
            let text = |said: &str| format!("the row `{key}` of {} cannot be read: {said}", V::NAME);
            WorkError::Refused(reason.with_text(text))
        };
        let of_the_row = |error: sqlx::Error| match WorkError::from(error) {
            WorkError::Refused(reason) => unreadable(reason),
            other => other,
        };
        let stored = self.columns.read(row).map_err(of_the_row)?;
        let own = self.columns.row(&stored).map_err(|error| unreadable(Reason::of(error)))?;
        let Timestamp(updated_at) = row.try_get("updated_at").map_err(of_the_row)?;
        Ok((key, Box::new(Versioned { row: own, ctid, stored, version, updated_at })))
    }

    /// Updates existing rows in the columns that any of them has changed. [`WorkError::Contended`] when another worker has written one
    /// of them.
    pub(super) async fn update(
        &self,
        connection: &mut PgConnection,
        rows: &[&Ready<'_>],
    ) -> Result<(), WorkError> {
        if rows.is_empty() {
            return Ok(());
        }
        let changes: Vec<(&[Value], &Fields)> = rows.iter().map(|row| (row.stored, &row.fields)).collect();
        let columns = self.columns.changed(&[self.key, "version"], &changes);
        let (fields, places): (Vec<&Fields>, Vec<&str>) =
            rows.iter().filter_map(|row| Some((&row.fields, row.ctid?))).unzip();
        let update = self.updates(&columns);
        let query = columns.bind(sqlx::query(AssertSqlSafe(update)), &fields).bind(places);
        if query.execute(connection).await?.rows_affected() == rows.len() as u64 {
            return Ok(());
        }
        Err(contended())
    }

    /// The `UPDATE`, by `ctid`: a join over the keys would be planned with outdated statistics of a table that may just have been
    /// filled. The condition on the version excludes rows that were written in between.
    fn updates(&self, columns: &Columns) -> String {
        let Self { name, key, .. } = self;
        format!(
            "UPDATE \"{name}\" AS t SET {} FROM {}
             WHERE t.ctid = new.at AND t.\"{key}\" = new.\"{key}\" AND new.version::bigint > t.version",
            columns.sets(),
            columns.rows(true)
        )
    }

    /// Inserts new rows; returns the keys of those that no other worker has inserted first. Waits for a worker whose insert is not
    /// committed yet.
    pub(super) async fn insert(
        &self,
        connection: &mut PgConnection,
        rows: &[&Ready<'_>],
    ) -> Result<BTreeSet<String>, WorkError> {
        if rows.is_empty() {
            return Ok(BTreeSet::new());
        }
        let fields: Vec<&Fields> = rows.iter().map(|row| &row.fields).collect();
        let query: Query<'_, Postgres, PgArguments> = sqlx::query(AssertSqlSafe(self.insert.as_str()));
        let inserted = self.columns.bind(query, &fields).fetch_all(connection).await?;
        Ok(inserted.iter().map(|row| row.try_get(self.key)).collect::<sqlx::Result<_>>()?)
    }
}

/// The error when another worker has written a row of the view.
pub(super) fn contended() -> WorkError {
    WorkError::Contended("a row of the view was written by another worker".into())
}
