//! The documents of a published view against its rows.
//!
//! Documents follow rows: one that is behind is looked at again when all that was applied is published.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_runtime::{Document, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::finding::{Finding, What};
use crate::config::Config;
use crate::failure::Failure;
use crate::http::Http;
use crate::keys;
use crate::layout::Side;
use crate::postgres::Database;
use crate::replay::compare::Twin;
use crate::replay::session::{self, begin};

/// Ids of documents that are looked up at a time.
const IDS_PAGE: usize = 5_000;
/// Rows whose documents are looked at again, at most.
const SUSPECTS_MAX: usize = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Elasticsearch remembers the version of what was deleted until a refresh after its clock's next tick.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(3);

/// One generation of a published view.
pub(super) struct Documents<'d> {
    pub(super) config: &'d Config,
    pub(super) read: &'d Database,
    pub(super) elastic: &'d Http,
    pub(super) role: Arc<dyn Role>,
    pub(super) name: &'d str,
    /// Its index.
    pub(super) index: String,
    /// Its table, and the column of its key.
    pub(super) table: String,
    pub(super) column: &'d str,
    /// Only the row with this key.
    pub(super) key: Option<&'d str>,
    /// How long publishing may be behind.
    pub(super) patience: Duration,
}

/// What the documents are like.
pub(super) struct Checked {
    /// Rows whose documents were compared.
    pub(super) count: i64,
    pub(super) findings: Vec<Finding>,
}

/// A document as it is stored.
struct Held {
    version: i64,
    source: Value,
}

/// Where a group stood: topic, partition, next offset.
type Stand = (String, i32, i64);

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
            self.published(&stand).await?;
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
        let group = self.role.group();
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
            let held = self.held(&keys).await?;
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
        let rows = self.role.documents_of(connection, &keys).await;
        rows.map_err(|error| Failure::of_work(self.config, Side::Read, error))
    }

    /// The documents with these ids, as they are now: refreshed or not.
    async fn held(&self, ids: &[String]) -> Result<HashMap<String, Held>, Failure> {
        let path = [self.index.as_str(), "_mget"];
        let answer = self.elastic.send(Method::POST, &path, Some(&json!({"ids": ids}))).await?;
        let mut answer = self.elastic.success(answer, &path)?;
        let documents = answer.get_mut("docs").and_then(Value::as_array_mut).map(std::mem::take);
        Ok(documents.unwrap_or_default().into_iter().filter_map(held).collect())
    }

    /// Waits until what was applied at a stand is published.
    async fn published(&self, stand: &[Stand]) -> Result<(), Failure> {
        let until = Instant::now() + self.patience;
        let group = self.role.group();
        loop {
            let behind = "SELECT count(*) FROM UNNEST($3::text[], $4::int[], $5::bigint[]) AS stand(topic, partition, applied)
                 JOIN consumer_offset AS o USING (topic, partition)
                 WHERE o.grp = $1 AND o.generation = $2 AND o.published < stand.applied";
            let behind: i64 = sqlx::query_scalar(behind)
                .bind(&group.id)
                .bind(group.generation)
                .bind(stand.iter().map(|stand| stand.0.as_str()).collect::<Vec<_>>())
                .bind(stand.iter().map(|stand| stand.1).collect::<Vec<_>>())
                .bind(stand.iter().map(|stand| stand.2).collect::<Vec<_>>())
                .fetch_one(&self.read.pool)
                .await
                .map_err(|error| self.read.failure(error))?;
            if behind == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Failure::refused(format!(
                    "{}: documents of {behind} partitions are not published yet, so they cannot be compared: is `millrace run` running?",
                    self.name
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at suspects again: documents first, then rows, so that no document can be ahead of its row.
    async fn judge(&self, suspects: &BTreeMap<String, i64>) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let keys: Vec<String> = suspects.keys().cloned().collect();
        for keys in keys.chunks(usize::try_from(keys::PAGE).unwrap_or(usize::MAX)) {
            let mut held = self.held(keys).await?;
            let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
            for row in self.rows(&mut connection, keys).await? {
                let document = held.remove(&row.id);
                let seen = suspects.get(&row.id).copied().unwrap_or_default();
                let right = document
                    .as_ref()
                    .is_some_and(|held| held.is(&row) || (seen..row.version).contains(&held.version));
                if !right {
                    findings.push(self.finding(row.id.clone(), document, Some(row)));
                }
            }
        }
        Ok(findings)
    }

    fn finding(&self, key: String, held: Option<Held>, row: Option<Document>) -> Finding {
        let version = held.as_ref().map(|held| held.version);
        let expected = row.as_ref().map(|row| row.version);
        let (serving, building) = (held.map(|held| held.source), row.as_ref().map(body));
        let finding = Finding::of(What::Document, self.name, Twin { key, serving, building });
        // Of a document its own version counts, not the field.
        Finding { versions: [version, expected], ..finding }
    }

    /// Documents that have no row.
    async fn strangers(&self) -> Result<Vec<Finding>, Failure> {
        let opened = self
            .elastic
            .send_query(Method::POST, &[&self.index, "_pit"], &[("keep_alive", "1m")], None)
            .await?;
        let opened = self.elastic.success(opened, &[&self.index, "_pit"])?;
        let mut pit = opened.get("id").cloned().unwrap_or_default();
        let (mut findings, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = self.page(&pit, &after).await?;
            pit = page.get("pit_id").cloned().unwrap_or(pit);
            let hits = page.pointer("/hits/hits").and_then(Value::as_array).cloned().unwrap_or_default();
            let Some(last) = hits.last() else { break };
            after = last.get("sort").cloned().unwrap_or_default();
            let ids: Vec<&str> =
                hits.iter().filter_map(|hit| hit.get("_id").and_then(Value::as_str)).collect();
            let strangers = self.without_row(&ids).await.map_err(|error| self.read.failure(error))?;
            let held = if strangers.is_empty() { HashMap::new() } else { self.held(&strangers).await? };
            findings.extend(held.into_iter().map(|(id, held)| self.finding(id, Some(held), None)));
        }
        let closed = self.elastic.send(Method::DELETE, &["_pit"], Some(&json!({"id": pit}))).await?;
        self.elastic.success(closed, &["_pit"]).map(|_| findings)
    }

    async fn page(&self, pit: &Value, after: &Value) -> Result<Value, Failure> {
        let mut search = json!({
            "size": IDS_PAGE, "_source": false, "track_total_hits": false,
            "pit": {"id": pit, "keep_alive": "1m"}, "sort": [{"_shard_doc": "asc"}],
        });
        if let Some(search) = search.as_object_mut().filter(|_| !after.is_null()) {
            search.insert("search_after".to_owned(), after.clone());
        }
        let page = self.elastic.send(Method::POST, &["_search"], Some(&search)).await?;
        self.elastic.success(page, &["_search"])
    }

    async fn without_row(&self, ids: &[&str]) -> sqlx::Result<Vec<String>> {
        let Self { table, column, .. } = self;
        let without = format!(
            "SELECT id FROM UNNEST($1::text[]) AS document(id)
             WHERE NOT EXISTS (SELECT FROM \"{table}\" WHERE \"{column}\" = id AND version > 0)"
        );
        sqlx::query_scalar(AssertSqlSafe(without)).bind(ids).fetch_all(&self.read.pool).await
    }

    /// Makes a row's document what it should be: as the row is now, or none. False when it cannot be done now.
    pub(super) async fn mend(&self, key: &str) -> Result<bool, Failure> {
        let until = Instant::now() + FORGOTTEN_WITHIN;
        while !self.send(key).await? {
            if Instant::now() > until {
                return Ok(false);
            }
            self.forget(key).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// Sends a row's document over one of the same or an older version; false when a later version is or was there.
    async fn send(&self, key: &str) -> Result<bool, Failure> {
        let path = [self.index.as_str(), "_doc", key];
        let Some(row) = self.row(key).await? else {
            let answer = self.elastic.send(Method::DELETE, &path, None).await?;
            let gone = answer.status == StatusCode::NOT_FOUND;
            return if gone { Ok(true) } else { self.elastic.success(answer, &path).map(|_| true) };
        };
        let version = row.version.to_string();
        let query = [("version", version.as_str()), ("version_type", "external_gte")];
        let answer = self.elastic.send_query(Method::PUT, &path, &query, Some(&body(&row))).await?;
        let later = answer.status == StatusCode::CONFLICT;
        if later { Ok(false) } else { self.elastic.success(answer, &path).map(|_| true) }
    }

    /// Deletes a document that is ahead of its row, exactly as it was seen, and lets go of what was deleted before.
    async fn forget(&self, key: &str) -> Result<(), Failure> {
        let path = [self.index.as_str(), "_doc", key];
        let seen = self.elastic.find(&path).await?.unwrap_or_default();
        let figure = |name| seen.get(name).and_then(Value::as_i64);
        let row = self.row(key).await?.map_or(0, |row| row.version);
        let seen = (figure("_version"), figure("_seq_no"), figure("_primary_term"));
        if let (Some(version), Some(seq_no), Some(term)) = seen
            && version > row
        {
            let (seq_no, term) = (seq_no.to_string(), term.to_string());
            let query = [("if_seq_no", seq_no.as_str()), ("if_primary_term", term.as_str())];
            let answer = self.elastic.send_query(Method::DELETE, &path, &query, None).await?;
            if answer.status != StatusCode::CONFLICT {
                self.elastic.success(answer, &path)?;
            }
        }
        let path = [self.index.as_str(), "_refresh"];
        let answer = self.elastic.send(Method::POST, &path, None).await?;
        self.elastic.success(answer, &path).map(|_| ())
    }

    async fn row(&self, key: &str) -> Result<Option<Document>, Failure> {
        let mut connection = self.read.pool.acquire().await.map_err(|error| self.read.failure(error))?;
        Ok(self.rows(&mut connection, &[key.to_owned()]).await?.pop())
    }
}

impl Held {
    /// Whether this is the document of a row.
    fn is(&self, row: &Document) -> bool {
        self.version == row.version && self.source == body(row)
    }
}

fn held(mut document: Value) -> Option<(String, Held)> {
    let id = document.get("_id")?.as_str()?.to_owned();
    let version = document.get("_version")?.as_i64()?;
    let source = document.get_mut("_source")?.take();
    Some((id, Held { version, source }))
}

fn body(row: &Document) -> Value {
    serde_json::from_str(&row.body).unwrap_or_default()
}
