//! Views of rows: load the rows that a batch touches, fold, write each once.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_domain::{Recorded, View};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Shared, intake};
use crate::database::Pool;
use crate::error::WorkError;
use crate::moments::{broken, mechanism};
use crate::names::table;
use crate::publisher::Document;
use crate::record::Record;
use crate::role::{Folded, Group, Role};

/// A row and what the runtime knows about it.
struct Versioned<R> {
    row: R,
    /// Where it lies; `None` when there is none yet.
    ctid: Option<String>,
    /// Counts the events that were folded into the row, never how often it was written.
    version: i64,
    /// The newest of its events' times, so that it does not depend on when or in which order they were folded.
    updated_at: DateTime<Utc>,
}

impl<R: Default> Default for Versioned<R> {
    fn default() -> Self {
        Self { row: R::default(), ctid: None, version: 0, updated_at: DateTime::UNIX_EPOCH }
    }
}

/// Folds events into the table of one generation of the view `V`.
pub struct RowRole<V> {
    shared: Shared,
    group: Group,
    index: Option<String>,
    statements: Statements,
    view: std::marker::PhantomData<fn() -> V>,
}

/// The statements over the view's own table.
struct Statements {
    look: String,
    load: String,
    placeholders: String,
    insert: String,
    update: String,
}

impl<V: View> RowRole<V> {
    /// The role that builds a generation of the view.
    pub fn new(shared: Shared, generation: i32) -> Self {
        let group = shared.group(V::NAME, generation);
        let index =
            V::MAPPING.filter(|_| shared.publish).map(|_| shared.namespace.index(V::NAME, generation));
        let statements = statements::<V>(generation);
        Self { shared, group, index, statements, view: std::marker::PhantomData }
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

    /// Writes rows and returns them as documents. Fewer rows than sent means that somebody else wrote one of them.
    async fn store(
        &self,
        connection: &mut PgConnection,
        rows: &BTreeMap<String, Versioned<V::Row>>,
    ) -> Result<Vec<Document>, WorkError> {
        let documents = rows.iter().map(|(key, row)| document(key, row)).collect::<Result<Vec<_>, _>>()?;
        let (mut known, mut new, mut ctids) = (Vec::new(), Vec::new(), Vec::new());
        for (document, row) in documents.iter().zip(rows.values()) {
            match &row.ctid {
                Some(ctid) => {
                    known.push(document.body.as_str());
                    ctids.push(ctid.as_str());
                }
                None => new.push(document.body.as_str()),
            }
        }
        self.write(connection, &self.statements.update, &known, Some(&ctids)).await?;
        self.write(connection, &self.statements.insert, &new, None).await?;
        Ok(if self.index.is_some() { documents } else { Vec::new() })
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        bodies: &[&str],
        ctids: Option<&[&str]>,
    ) -> Result<(), WorkError> {
        if bodies.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(AssertSqlSafe(statement)).bind(format!("[{}]", bodies.join(",")));
        let query = ctids.into_iter().fold(query, |query, ctids| query.bind(ctids));
        if query.execute(connection).await?.rows_affected() == bodies.len() as u64 {
            return Ok(());
        }
        Err(WorkError::Contended(format!("a row of {} was written by another worker", V::NAME)))
    }
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
        Ok(row) => Ok((key, Versioned { row, ctid, version, updated_at })),
        Err(error) => {
            Err(WorkError::Refused(format!("the row `{key}` of {} cannot be read: {error}", V::NAME)))
        }
    }
}

fn statements<V: View>(generation: i32) -> Statements {
    let (table, key) = (table(V::NAME, generation), V::KEY);
    let columns = columns(&V::Row::default());
    let sets: Vec<String> = columns.iter().map(|column| format!("\"{column}\" = new.\"{column}\"")).collect();
    let lock = if V::SHARED { format!("ORDER BY \"{key}\" COLLATE \"C\" FOR UPDATE") } else { String::new() };
    let look = format!(
        "SELECT \"{key}\", version, updated_at, ctid::text, row_to_json(t)::text FROM \"{table}\" AS t
         WHERE \"{key}\" = ANY($1)"
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
        insert: format!(
            "INSERT INTO \"{table}\" SELECT * FROM json_populate_recordset(null::\"{table}\", $1::json)
             ON CONFLICT DO NOTHING"
        ),
        // By where the rows lie: a join over the keys would be planned by what is known of a table that may just have
        // been filled. The version guards against a row that somebody moved in between.
        update: format!(
            "UPDATE \"{table}\" AS t SET {}, version = new.version, updated_at = new.updated_at
             FROM ROWS FROM (json_populate_recordset(null::\"{table}\", $1::json), unnest($2::text[]::tid[])) AS new
             WHERE t.ctid = new.unnest AND t.\"{key}\" = new.\"{key}\" AND new.version > t.version",
            sets.join(", ")
        ),
    }
}

/// The names of a serialised struct's fields.
fn columns(row: &impl serde::Serialize) -> Vec<String> {
    match serde_json::to_value(row) {
        Ok(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A row as JSON, with its version and time: what Postgres stores and Elasticsearch gets.
fn document<R: serde::Serialize>(key: &str, versioned: &Versioned<R>) -> Result<Document, WorkError> {
    let Versioned { row, version, updated_at, .. } = versioned;
    let refuse =
        |error: serde_json::Error| WorkError::Refused(format!("the row `{key}` cannot be written: {error}"));
    let mut body = serde_json::to_string(row).map_err(refuse)?;
    body.pop();
    let updated_at = serde_json::to_string(updated_at).map_err(refuse)?;
    body.push_str(&format!(",\"version\":{version},\"updated_at\":{updated_at}}}"));
    Ok(Document { id: key.to_owned(), version: *version, body })
}

fn keys<V: View>(events: &[Recorded]) -> BTreeSet<String> {
    events.iter().flat_map(V::keys).collect()
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
        let intake = intake::take(connection, &self.shared.registry, &self.group, batch).await?;
        let mut rows = self.load(connection, &keys::<V>(&intake.events)).await?;
        for recorded in &intake.events {
            for key in V::keys(recorded) {
                let folded = rows.entry(key.clone()).or_default();
                folded.row = V::evolve(std::mem::take(&mut folded.row), &key, recorded);
                if broken(mechanism::FOLD) {
                    folded.row = V::evolve(std::mem::take(&mut folded.row), &key, recorded);
                }
                folded.version += 1;
                folded.updated_at = folded.updated_at.max(recorded.occurred_at);
            }
        }
        let mut documents = self.store(connection, &rows).await?;
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
        let events: Vec<Recorded> = decoded.into_iter().map(|(_, event)| event).collect();
        let keys = keys::<V>(&events);
        self.documents_of(connection, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn documents_of(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
    ) -> Result<Vec<Document>, WorkError> {
        let rows = self.look(connection, &self.statements.look, keys).await?;
        rows.iter().filter(|(_, row)| row.version > 0).map(|(key, row)| document(key, row)).collect()
    }

    async fn skip(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        intake::skip(connection, &self.shared.namespace, &self.group, record).await
    }

    fn forget(&self) {}
}
