//! Compares the rows of a view with its events: folded again, and computed by the view's check SQL.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::audited::{AUDITED, Audited};
use super::finding::Finding;
use super::only::Only;
use super::what::What;
use crate::failure::Failure;
use crate::layout::Table;
use crate::outbox::refold::Refold;
use crate::postgres::Database;
use crate::replay::compare::{ALL, Counterparts, Differing, OneSided, Tables, differing, key_of};
use crate::replay::session;

/// Differing rows that are listed, at most; further ones are counted.
pub(super) const SHOWN_MAX: i64 = 1_000;

/// The result of a comparison of rows.
pub(super) struct Rows {
    /// The number of rows that were compared, and of events that were folded into them.
    pub(super) count: i64,
    pub(super) events: u64,
    /// Whether a stream could not be folded to its end; then folded rows may lack events.
    pub(super) stuck: bool,
    /// Rows that differ from the folded ones, as found and as expected: up to [`SHOWN_MAX`].
    pub(super) drifted: Vec<Counterparts>,
    /// The number of further wrong rows that are not in `findings`.
    pub(super) more: i64,
    pub(super) findings: Vec<Finding>,
}

/// The rows to compare.
pub(super) struct Looked<'l> {
    pub(super) name: &'l str,
    pub(super) table: &'l Table,
    pub(super) serving: (i32, String),
    /// Only these rows.
    pub(super) only: Option<&'l Only>,
}

/// Folds up to the progress of the serving generation, and compares in one snapshot.
pub(super) async fn check(
    read: &Database,
    refold: &mut Refold<'_>,
    connection: &mut PgConnection,
    (looked, audited): (&Looked<'_>, &Audited),
) -> Result<Rows, Failure> {
    let fail = |error| read.failure(error);
    audited.create(connection).await.map_err(fail)?;
    refold.follow(connection).await?;
    audited.analyse(connection).await.map_err(fail)?;
    let mut snapshot = session::snapshot(connection).await.map_err(fail)?;
    refold.finish(&mut snapshot).await?;
    session::between_reads().await;
    let building = (AUDITED, audited.rows.clone());
    let (serving, columns) = (looked.serving.clone(), ALL.to_owned());
    let one_sided = OneSided::default();
    let tables = Tables { serving, building, table: looked.table, columns, one_sided };
    let Differing { rows: [count, _], count: differing, first, .. } =
        differing(&mut snapshot, &tables, looked.only, SHOWN_MAX).await.map_err(fail)?;
    let (computed, computed_count) = computed_by_sql(&mut snapshot, audited, looked).await.map_err(fail)?;
    let (count, events) = match looked.only {
        None => (count, refold.events),
        Some(only) => counted(&mut snapshot, audited, looked, only).await.map_err(fail)?,
    };
    snapshot.commit().await.map_err(fail)?;
    let finding = |what| move |pair: Counterparts| Finding::of(what, looked.name, pair);
    let mut findings: Vec<Finding> = first.iter().cloned().map(finding(What::Row)).collect();
    // A row that both comparisons find is listed once.
    let known = |pair: &Counterparts| first.iter().any(|row| row.key == pair.key);
    let shown = i64::try_from(first.len() + computed.len()).unwrap_or(i64::MAX);
    findings.extend(computed.into_iter().filter(|pair| !known(pair)).map(finding(What::Fold)));
    findings.extend(refold.stuck.iter().map(|((context, stream), why)| {
        Finding::unfolded(looked.name, (context, stream), why, [None, None])
    }));
    let (more, stuck) = (differing + computed_count - shown, !refold.stuck.is_empty());
    Ok(Rows { count, events, stuck, drifted: first, more, findings })
}

/// The number of some rows, and of the events that were folded into them: their versions.
async fn counted(
    connection: &mut PgConnection,
    audited: &Audited,
    Looked { table, serving, .. }: &Looked<'_>,
    only: &Only,
) -> sqlx::Result<(i64, u64)> {
    let key = key_of(table);
    let column = only.column(&key);
    let sql = format!(
        "SELECT (SELECT count(*) FROM \"{}\" WHERE {column} = $1 AND version > 0),
                (SELECT coalesce(sum(version), 0)::bigint FROM \"{}\" WHERE {column} = $1)",
        serving.1, audited.rows
    );
    let (rows, events): (i64, i64) =
        sqlx::query_as(AssertSqlSafe(sql)).bind(only.id()).fetch_one(connection).await?;
    Ok((rows, u64::try_from(events).unwrap_or_default()))
}

/// Rows that differ from those that the check SQL computes, and their number.
async fn computed_by_sql(
    connection: &mut PgConnection,
    audited: &Audited,
    Looked { table, serving, only, .. }: &Looked<'_>,
) -> sqlx::Result<(Vec<Counterparts>, i64)> {
    let check = table.check.replace("{events}", &format!("\"{}\"", audited.events));
    let sql = comparison(&key_of(table), &serving.1, &check, *only);
    let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(only.map(Only::id)).bind(SHOWN_MAX);
    let rows: Vec<(String, Option<Value>, Option<Value>, i64)> = rows.fetch_all(connection).await?;
    let count = rows.first().map_or(0, |row| row.3);
    let pair = |(key, serving, building, _)| Counterparts { key, serving, building };
    Ok((rows.into_iter().map(pair).collect(), count))
}

/// Compares only the columns that the check SQL computes. If an event is missing, it may compute a row without a key.
fn comparison(key: &str, rows: &str, check: &str, only: Option<&Only>) -> String {
    let restriction = Only::restriction(only, "$1", ["expected.fields", "found.fields"]);
    format!(
        "SELECT key, computed.fields, expected.fields, count(*) OVER ()
         FROM (SELECT {key} AS key, to_jsonb(e) AS fields FROM ({check}) AS e) AS expected
         FULL JOIN (SELECT {key} AS key, to_jsonb(t) AS fields FROM \"{rows}\" AS t WHERE version > 0) AS found USING (key)
         CROSS JOIN LATERAL (
             SELECT CASE WHEN expected.fields IS NULL OR found.fields IS NULL THEN found.fields ELSE
                 (SELECT jsonb_object_agg(name, found.fields -> name) FROM jsonb_object_keys(expected.fields) AS name)
             END AS fields
         ) AS computed
         WHERE computed.fields IS DISTINCT FROM expected.fields AND key IS NOT NULL AND {restriction}
         ORDER BY key LIMIT $2"
    )
}
