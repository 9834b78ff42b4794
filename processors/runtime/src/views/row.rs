//! Views of rows: load the rows that a batch touches, fold, write each once.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_domain::{Recorded, View};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};
use tokio::sync::OnceCell;

use super::columns::{Columns, Fields};
use super::{Shared, intake};
use crate::database::Pool;
use crate::error::WorkError;
use crate::moments::{broken, mechanism};
use crate::names::table;
use crate::publisher::Document;
use crate::record::Record;
use crate::role::{Folded, Group, Role};

/// A row and what the runtime knows about it.
#[derive(Clone)]
struct Versioned<R> {
    row: R,
    /// Where it lies; `None` when there is none yet.
    ctid: Option<String>,
    /// What lies there, as JSON; empty for a placeholder.
    stored: String,
    /// Counts the events that were folded into the row, never how often it was written.
    version: i64,
    /// The newest of its events' times, so that it does not depend on when or in which order they were folded.
    updated_at: DateTime<Utc>,
}

impl<R: Default> Default for Versioned<R> {
    fn default() -> Self {
        Self {
            row: R::default(),
            ctid: None,
            stored: String::new(),
            version: 0,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }
}

/// A row that is ready to be written.
struct Ready<'r> {
    key: &'r str,
    ctid: Option<&'r str>,
    stored: &'r str,
    version: i64,
    fields: Fields,
}

impl<R: Serialize> Versioned<R> {
    fn ready<'r>(&'r self, key: &'r str) -> Result<Ready<'r>, WorkError> {
        let fields = fields(key, self)?;
        Ok(Ready { key, ctid: self.ctid.as_deref(), stored: &self.stored, version: self.version, fields })
    }
}

impl<R: Default> Versioned<R> {
    /// The row after an event that touches it.
    fn fold<V: View<Row = R>>(&mut self, key: &str, recorded: &Recorded) {
        self.row = V::evolve(std::mem::take(&mut self.row), key, recorded);
        if broken(mechanism::FOLD) {
            self.row = V::evolve(std::mem::take(&mut self.row), key, recorded);
        }
        self.version += 1;
        self.updated_at = self.updated_at.max(recorded.occurred_at);
    }
}

/// Folds events into the table of one generation of the view `V`.
pub struct RowRole<V> {
    shared: Shared,
    group: Group,
    index: Option<String>,
    statements: Statements,
    writes: OnceCell<Writes>,
    view: std::marker::PhantomData<fn() -> V>,
}

/// The statements that read the view's own table.
struct Statements {
    look: String,
    load: String,
    placeholders: String,
}

impl<V: View> RowRole<V> {
    /// The role that builds a generation of the view.
    pub fn new(shared: Shared, generation: i32) -> Self {
        let group = shared.group(V::NAME, generation);
        let index =
            V::MAPPING.filter(|_| shared.publish).map(|_| shared.namespace.index(V::NAME, generation));
        let statements = statements::<V>(generation);
        Self { shared, group, index, statements, writes: OnceCell::new(), view: std::marker::PhantomData }
    }

    /// Loads rows. Those that several streams touch are locked in the order of their keys, and only when a placeholder
    /// stands for each that was absent: who waits for another's new row has locked no row, so no two batches wait for
    /// each other.
    async fn load(
        &self,
        connection: &mut PgConnection,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Versioned<V::Row>>, WorkError> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if V::SHARED {
            let placeholders = sqlx::query(AssertSqlSafe(self.statements.placeholders.as_str())).bind(&keys);
            placeholders.execute(&mut *connection).await?;
        }
        self.look(connection, &self.statements.load, &keys).await
    }

    async fn look(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        keys: &[&str],
    ) -> Result<BTreeMap<String, Versioned<V::Row>>, WorkError> {
        let rows: Vec<Found> =
            sqlx::query_as(AssertSqlSafe(statement)).bind(keys).fetch_all(connection).await?;
        rows.into_iter().map(read::<V>).collect()
    }

    /// Fewer rows than sent means that somebody else wrote one of them.
    async fn store_some(
        &self,
        connection: &mut PgConnection,
        writes: &Writes,
        rows: &[Ready<'_>],
    ) -> Result<Vec<Document>, WorkError> {
        let (known, new): (Vec<&Ready<'_>>, Vec<&Ready<'_>>) =
            rows.iter().partition(|row| row.ctid.is_some());
        writes.update(&mut *connection, &known).await?;
        writes.insert(connection, &new).await?;
        if self.index.is_none() {
            return Ok(Vec::new());
        }
        rows.iter().map(|row| document(row.key, row.version, &row.fields)).collect()
    }

    async fn writes(&self, connection: &mut PgConnection) -> Result<&Writes, WorkError> {
        let table = table(V::NAME, self.group.generation);
        self.writes.get_or_try_init(|| Writes::of::<V>(connection, table)).await
    }
}

/// The statements that write rows.
struct Writes {
    table: String,
    key: &'static str,
    columns: Columns,
    insert: String,
}

impl Writes {
    /// What they are depends on the table's types.
    async fn of<V: View>(connection: &mut PgConnection, table: String) -> Result<Self, WorkError> {
        let own = fields(V::KEY, &Versioned::<V::Row>::default())?;
        let columns = Columns::of(connection, &table, own.into_iter().map(|(name, _)| name)).await?;
        let insert = format!(
            "INSERT INTO \"{table}\" ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING",
            columns.names(),
            columns.values(),
            columns.rows(false)
        );
        Ok(Self { table, key: V::KEY, columns, insert })
    }

    /// Writes the columns that any of the rows has changed.
    async fn update(&self, connection: &mut PgConnection, rows: &[&Ready<'_>]) -> Result<(), WorkError> {
        let changes: Vec<(&str, &Fields)> = rows.iter().map(|row| (row.stored, &row.fields)).collect();
        let columns = self.columns.changed(&[self.key, "version"], &changes);
        let (fields, places): (Vec<&Fields>, Vec<&str>) =
            rows.iter().filter_map(|row| Some((&row.fields, row.ctid?))).unzip();
        let query = columns.bind(sqlx::query(AssertSqlSafe(self.updates(&columns))), &fields);
        written(connection, query.bind(places), rows.len()).await
    }

    /// By where the rows lie: a join over the keys would be planned by what is known of a table that may just have been
    /// filled. The version guards against a row that somebody moved in between.
    fn updates(&self, columns: &Columns) -> String {
        let Self { table, key, .. } = self;
        format!(
            "UPDATE \"{table}\" AS t SET {} FROM {}
             WHERE t.ctid = new.at AND t.\"{key}\" = new.\"{key}\" AND new.version::bigint > t.version",
            columns.sets(),
            columns.rows(true)
        )
    }

    async fn insert(&self, connection: &mut PgConnection, rows: &[&Ready<'_>]) -> Result<(), WorkError> {
        let fields: Vec<&Fields> = rows.iter().map(|row| &row.fields).collect();
        let query = self.columns.bind(sqlx::query(AssertSqlSafe(self.insert.as_str())), &fields);
        written(connection, query, rows.len()).await
    }
}

async fn written(
    connection: &mut PgConnection,
    query: Query<'_, Postgres, PgArguments>,
    rows: usize,
) -> Result<(), WorkError> {
    if rows == 0 || query.execute(connection).await?.rows_affected() == rows as u64 {
        return Ok(());
    }
    Err(WorkError::Contended("a row of the view was written by another worker".to_owned()))
}

/// Key, version, time, place, and the row as JSON.
type Found = (String, i64, DateTime<Utc>, String, String);

fn read<V: View>(
    (key, version, updated_at, ctid, json): Found,
) -> Result<(String, Versioned<V::Row>), WorkError> {
    let ctid = Some(ctid);
    if version == 0 {
        return Ok((key, Versioned { ctid, ..Versioned::default() }));
    }
    match serde_json::from_str(&json) {
        Ok(row) => Ok((key, Versioned { row, ctid, stored: json, version, updated_at })),
        Err(error) => {
            Err(WorkError::Refused(format!("the row `{key}` of {} cannot be read: {error}", V::NAME)))
        }
    }
}

fn statements<V: View>(generation: i32) -> Statements {
    let (table, key) = (table(V::NAME, generation), V::KEY);
    let lock = if V::SHARED { format!("ORDER BY \"{key}\" COLLATE \"C\" FOR UPDATE") } else { String::new() };
    // Nothing is read from a placeholder.
    let look = format!(
        "SELECT \"{key}\", version, updated_at, ctid::text,
             CASE WHEN version > 0 THEN row_to_json(t)::text ELSE '' END
         FROM \"{table}\" AS t WHERE \"{key}\" = ANY($1)"
    );
    Statements {
        load: format!("{look} {lock}"),
        look,
        placeholders: format!(
            "INSERT INTO \"{table}\" (\"{key}\", version, updated_at)
             SELECT wanted, 0, to_timestamp(0) FROM UNNEST($1::text[]) AS wanted
             WHERE NOT EXISTS (SELECT FROM \"{table}\" WHERE \"{key}\" = wanted) ORDER BY wanted COLLATE \"C\"
             ON CONFLICT DO NOTHING"
        ),
    }
}

/// A row with its version and time: what Postgres stores and Elasticsearch gets.
fn fields<R: Serialize>(key: &str, versioned: &Versioned<R>) -> Result<Fields, WorkError> {
    let Versioned { row, version, updated_at, .. } = versioned;
    let refuse = |why: &dyn Display| WorkError::Refused(format!("the row `{key}` cannot be written: {why}"));
    let value = |value: Result<Value, serde_json::Error>| value.map_err(|error| refuse(&error));
    let Value::Object(mut fields) = value(serde_json::to_value(row))? else {
        return Err(refuse(&"it has no fields"));
    };
    fields.insert("version".to_owned(), Value::from(*version));
    fields.insert("updated_at".to_owned(), value(serde_json::to_value(updated_at))?);
    Ok(fields)
}

fn document(key: &str, version: i64, fields: &Fields) -> Result<Document, WorkError> {
    let body = serde_json::to_string(fields);
    let body =
        body.map_err(|error| WorkError::Refused(format!("the row `{key}` cannot be written: {error}")))?;
    Ok(Document { id: key.to_owned(), version, body })
}

fn keys<'e, V: View>(events: impl Iterator<Item = &'e Recorded>) -> BTreeSet<String> {
    events.flat_map(V::keys).collect()
}

#[async_trait]
impl<V: View> Role for RowRole<V> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn database(&self) -> &Pool {
        &self.shared.pool
    }

    fn index(&self) -> Option<&str> {
        self.index.as_deref()
    }

    fn versioned(&self) -> bool {
        true
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let mut intake = intake::take(connection, &self.shared.registry, &self.group, batch).await?;
        let mut rows =
            self.load(connection, &keys::<V>(intake.events.iter().map(|(_, event)| event))).await?;
        for (_, recorded) in &intake.events {
            for key in V::keys(recorded) {
                rows.entry(key.clone()).or_default().fold::<V>(&key, recorded);
            }
        }
        let mut documents = self.store(connection, &mut intake, &rows).await?;
        if broken(mechanism::ROW_VERSION) {
            let offset = batch.last().map_or(0, |last| last.offset + 1);
            documents.iter_mut().for_each(|document| document.version = offset);
        }
        Ok(Folded { outcomes: intake.outcomes, documents, remember: None })
    }

    async fn documents(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
    ) -> Result<Vec<Document>, WorkError> {
        let (decoded, _) = intake::decode(&self.shared.registry, batch).await?;
        let keys = keys::<V>(decoded.iter().map(|(_, event)| event));
        self.documents_of(connection, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn documents_of(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
    ) -> Result<Vec<Document>, WorkError> {
        let rows = self.look(connection, &self.statements.look, keys).await?;
        let there = rows.iter().filter(|(_, row)| row.version > 0);
        there.map(|(key, row)| document(key, row.version, &fields(key, row)?)).collect()
    }

    async fn skip(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        intake::skip(connection, &self.shared.namespace, &self.group, record).await
    }

    fn forget(&self) {}
}
