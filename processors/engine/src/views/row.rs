//! Views of rows: loads the rows that a batch touches, folds the events, and writes each row once.

mod store;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_domain::search::spellings;
use millrace_domain::{Recorded, View};
use millrace_store::Group;
use millrace_store::names::table as table_name;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use self::table::Table;
use super::Shared;
use super::columns::Fields;
use super::intake;
use crate::database::Pool;
use crate::elastic::Document;
use crate::error::WorkError;
use crate::failpoints::{broken, mechanism};
use crate::metrics::timed;
use crate::reason::Reason;
use crate::record::Record;
use crate::role::{Folded, Role, Sequenced};
use crate::sequence::{Decoded, Intake, Placed};

/// A row and its metadata.
#[derive(Clone)]
struct Versioned<R> {
    row: R,
    /// The `ctid`; `None` when the row does not exist yet.
    ctid: Option<String>,
    /// The stored values of the columns; empty when the row does not exist.
    stored: Vec<Value>,
    /// The number of events that were folded into the row; writes do not count.
    version: i64,
    /// The latest time of its events, so that it does not depend on when, or in which order, they were folded.
    updated_at: DateTime<Utc>,
}

impl<R: Default> Default for Versioned<R> {
    fn default() -> Self {
        Self {
            row: R::default(),
            ctid: None,
            stored: Vec::new(),
            version: 0,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }
}

/// A row to be written.
struct Ready<'r> {
    key: &'r str,
    ctid: Option<&'r str>,
    stored: &'r [Value],
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

/// Rows by key; boxed, since a row is large and the map moves its entries.
type Rows<R> = BTreeMap<String, Box<Versioned<R>>>;

/// Folds events into the table of one generation of the view `V`.
pub struct RowRole<V> {
    shared: Shared,
    group: Group,
    index: Option<String>,
    table: RwLock<Option<Arc<Table>>>,
    view: std::marker::PhantomData<fn() -> V>,
}

impl<V: View> RowRole<V> {
    /// The role that builds a generation of the view.
    pub fn new(shared: Shared, generation: i32) -> Self {
        let group = shared.group(V::NAME, generation);
        let index =
            V::MAPPING.filter(|_| shared.publish).map(|_| shared.namespace.index(V::NAME, generation));
        Self { shared, group, index, table: RwLock::default(), view: std::marker::PhantomData }
    }

    async fn table(&self, connection: &mut PgConnection) -> Result<Arc<Table>, WorkError> {
        if let Some(table) = &*self.table.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(table.clone());
        }
        let name = table_name(V::NAME, self.group.generation);
        let table = Arc::new(Table::of::<V>(connection, name).await?);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(table.clone());
        Ok(table)
    }

    /// Inserts the rows that do not exist, and removes their keys from `keys`. Existing rows are locked only afterwards: a batch that
    /// waits for another batch's new row holds no row lock, so there is no deadlock.
    async fn create(
        &self,
        connection: &mut PgConnection,
        intake: &mut Intake,
        keys: &mut BTreeSet<String>,
    ) -> Result<Vec<Document>, WorkError> {
        let absent = self.table(connection).await?.absent(connection, keys).await?;
        let rows = folded::<V>(Rows::new(), &intake.events, &absent);
        let stored = self.store(connection, intake, &rows).await?;
        keys.retain(|key| !absent.contains(key) || stored.taken.contains(key));
        Ok(stored.documents)
    }

    /// Writes all other rows. Rows that several streams touch are locked in the order of their keys.
    async fn change(
        &self,
        connection: &mut PgConnection,
        intake: &mut Intake,
        keys: &BTreeSet<String>,
    ) -> Result<Vec<Document>, WorkError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (table, wanted) = (self.table(connection).await?, texts(keys));
        let rows = match V::SHARED {
            true => timed("view lock", table.lock::<V>(connection, &wanted)).await?,
            false => timed("view look", table.look::<V>(connection, &wanted)).await?,
        };
        let rows = folded::<V>(rows, &intake.events, keys);
        self.store(connection, intake, &rows).await?.all()
    }
}

/// The rows of these keys after folding the events that touch them.
fn folded<V: View>(mut rows: Rows<V::Row>, events: &[Placed], keys: &BTreeSet<String>) -> Rows<V::Row> {
    for (_, recorded) in events {
        for key in V::keys(recorded).into_iter().filter(|key| keys.contains(key)) {
            rows.entry(key.clone()).or_default().fold::<V>(&key, recorded);
        }
    }
    rows
}

fn texts(keys: &BTreeSet<String>) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

/// A row with its version and time: what Postgres stores and Elasticsearch gets.
fn fields<R: Serialize>(key: &str, versioned: &Versioned<R>) -> Result<Fields, WorkError> {
    let Versioned { row, version, updated_at, .. } = versioned;
    let value = |value: Result<Value, serde_json::Error>| value.map_err(|error| unwritable(key, error));
    let Value::Object(mut fields) = value(serde_json::to_value(row))? else {
        return Err(unwritable(key, "it has no fields"));
    };
    fields.insert("version".to_owned(), Value::from(*version));
    fields.insert("updated_at".to_owned(), value(serde_json::to_value(updated_at))?);
    Ok(fields)
}

/// What Elasticsearch gets: the row, and the texts by which it is found.
fn document<V: View>(key: &str, version: i64, fields: &Fields) -> Result<Document, WorkError> {
    let body = match V::SEARCH {
        [] => serde_json::to_string(fields),
        columns => {
            let search = spellings(fields, columns);
            serde_json::to_string(&Searched { fields, search })
        }
    };
    let body = body.map_err(|error| unwritable(key, error))?;
    Ok(Document { id: key.to_owned(), version, stream: None, body })
}

/// A document with the texts by which it is found.
#[derive(Serialize)]
struct Searched<'f> {
    #[serde(flatten)]
    fields: &'f Fields,
    search: Vec<String>,
}

fn unwritable(key: &str, why: impl Into<Box<dyn Error + Send + Sync>>) -> WorkError {
    WorkError::Refused(Reason::because(format_args!("the row `{key}` cannot be written"), why))
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

    fn sequenced(&self) -> Option<&dyn Sequenced> {
        Some(self)
    }

    async fn fold(&self, connection: &mut PgConnection, batch: &[&Record]) -> Result<Folded, WorkError> {
        let intake = intake::take(connection, &self.shared, &self.group, batch).await?;
        self.fold_checked(connection, intake).await
    }

    async fn documents(
        &self,
        connection: &mut PgConnection,
        batch: &[&Record],
    ) -> Result<Vec<Document>, WorkError> {
        let decoded = intake::decode_all(connection, &self.shared, batch).await?;
        let keys = keys::<V>(decoded.iter().map(|(_, event)| event));
        self.documents_of(connection, &texts(&keys)).await
    }

    async fn documents_of(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
    ) -> Result<Vec<Document>, WorkError> {
        let rows = self.table(connection).await?.look::<V>(connection, keys).await?;
        let there = rows.iter().filter(|(_, row)| row.version > 0);
        there.map(|(key, row)| document::<V>(key, row.version, &fields(key, row)?)).collect()
    }

    async fn skip(&self, connection: &mut PgConnection, record: &Record) -> Result<(), WorkError> {
        intake::skip(connection, &self.shared, &self.group, record).await
    }

    /// Forgets the table's columns, whose types may have changed.
    fn forget(&self) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[async_trait]
impl<V: View> Sequenced for RowRole<V> {
    async fn decode(&self, batch: &[&Record]) -> Result<Decoded<'_>, WorkError> {
        intake::decoded(&self.shared, &self.group, batch).await
    }

    async fn fold_checked(
        &self,
        connection: &mut PgConnection,
        mut intake: Intake,
    ) -> Result<Folded, WorkError> {
        let mut keys = keys::<V>(intake.events.iter().map(|(_, event)| event));
        let mut documents = Vec::new();
        // A single key needs no order of locks: its row is locked, or inserted if it does not exist.
        if V::SHARED && keys.len() > 1 {
            documents = self.create(connection, &mut intake, &mut keys).await?;
        }
        documents.extend(self.change(connection, &mut intake, &keys).await?);
        Ok(Folded { outcomes: intake.outcomes, documents, ..Folded::default() })
    }
}
