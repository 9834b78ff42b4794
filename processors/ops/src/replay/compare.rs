//! Compares two generations of a view: hashes of their rows by bucket, then the fields of rows that differ.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::layout::Table;
use crate::verify::only::Only;

const BUCKETS: i32 = 1_024;
const ROWS_SHOWN: i64 = 20;

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The generation that served.
    pub serving: i32,
    /// The one that was built.
    pub building: i32,
    /// What was compared.
    #[serde(default)]
    pub what: Compared,
    /// The number that each has.
    pub rows: [i64; 2],
    /// The number that differ, or exist only in one of them.
    pub differing: i64,
    /// The fields of the first of them.
    pub fields: Vec<Difference>,
}

/// What is compared of two generations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ComparedThings")]
#[serde(rename_all = "lowercase")]
pub enum Compared {
    /// The rows of a view's table.
    #[default]
    Rows,
    /// The documents of a log, which has no table.
    Documents,
    /// The rows of the built generation with its events, since the rows of the other have another key.
    Events,
}

impl Compared {
    fn noun(self) -> &'static str {
        match self {
            Self::Rows | Self::Events => "rows",
            Self::Documents => "documents",
        }
    }
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The row's key, or the document's id.
    pub key: String,
    /// The column; `(row)` when only one generation has it.
    pub field: String,
    /// In the generation that served.
    pub serving: Value,
    /// In the one that was built.
    pub building: Value,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn equal(&self) -> bool {
        self.differing == 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { serving, building, differing, rows: [before, after], .. } = self;
        let what = self.what.noun();
        if self.what == Compared::Events {
            let are = if self.equal() { "equal" } else { "different" };
            return write!(
                f,
                "{are}: {differing} of {after} rows in generation {building} are not as their events say"
            );
        }
        if self.equal() {
            return write!(f, "equal: {after} {what} in generations {serving} and {building}");
        }
        write!(
            f,
            "different: {differing} of {before} {what} (generation {serving}) and {after} (generation {building})"
        )
    }
}

/// Both tables and their key, in SQL.
pub(crate) struct Tables<'t> {
    pub(crate) serving: (i32, String),
    pub(crate) building: (i32, String),
    pub(crate) table: &'t Table,
    /// What is compared of a row, in SQL.
    pub(crate) columns: String,
    /// Which of the two may have rows that the other does not have.
    pub(crate) one_sided: OneSided,
}

/// Which of two generations reads topics that the other does not read: rows and documents that only it has are not differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OneSided {
    pub(super) serving: bool,
    pub(super) building: bool,
}

impl OneSided {
    /// Whether the two read different topics.
    pub(super) fn any(self) -> bool {
        self.serving || self.building
    }

    /// Whether a row that only one of the two has is not a difference.
    pub(super) fn allows(self, serving: bool, building: bool) -> bool {
        self.serving && serving && !building || self.building && building && !serving
    }
}

/// Every column of a row.
pub(crate) const ALL: &str = "*";

/// Columns that both tables have, in the order of the built table.
const COMMON: &str = "
    SELECT b.attname::text, s.atttypid = b.atttypid FROM pg_attribute AS b
    JOIN pg_attribute AS s USING (attname)
    WHERE b.attrelid = to_regclass(quote_ident($2)) AND s.attrelid = to_regclass(quote_ident($1))
      AND b.attnum > 0 AND NOT b.attisdropped AND NOT s.attisdropped AND b.attname <> ALL($3)
    ORDER BY b.attnum";

/// The columns that two generations have in common, except those whose meaning has changed. Columns whose type has changed are
/// compared as texts.
pub(super) async fn common(
    connection: &mut PgConnection,
    (serving, building): (&str, &str),
    changed: &[&str],
) -> sqlx::Result<String> {
    let columns = sqlx::query_as(COMMON).bind(serving).bind(building).bind(changed);
    let columns: Vec<(String, bool)> = columns.fetch_all(connection).await?;
    let column = |(name, same): &(String, bool)| match same {
        true => format!("\"{name}\""),
        false => format!("\"{name}\"::text AS \"{name}\""),
    };
    Ok(columns.iter().map(column).collect::<Vec<_>>().join(", "))
}

const KEY: &str = "
    SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_index AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
    WHERE i.indisprimary AND i.indrelid = to_regclass(quote_ident($1))";

/// Whether the rows of a table have the key that this build's have.
pub(super) async fn has_key(connection: &mut PgConnection, table: &str, key: &[&str]) -> sqlx::Result<bool> {
    let found: Vec<String> = sqlx::query_scalar(KEY).bind(table).fetch_one(connection).await?;
    Ok(found.len() == key.len() && key.iter().all(|column| found.iter().any(|found| found == column)))
}

/// The rows of one key in two tables.
#[derive(Debug, Clone)]
pub struct Counterparts {
    /// The key.
    pub key: String,
    /// In the serving table; `None` when it does not exist.
    pub serving: Option<Value>,
    /// In the table that was built.
    pub building: Option<Value>,
}

/// The differences between two tables.
pub(crate) struct Differing {
    /// Rows of each.
    pub(crate) rows: [i64; 2],
    /// Rows that differ.
    pub(crate) count: i64,
    /// The first of them.
    pub(crate) first: Vec<Counterparts>,
}

/// Compares these columns of all rows, in the transaction of `connection`.
pub(super) async fn compare(connection: &mut PgConnection, tables: &Tables<'_>) -> sqlx::Result<Comparison> {
    let Differing { rows, count: differing, first } = differing(connection, tables, None, ROWS_SHOWN).await?;
    let (serving, building) = (tables.serving.0, tables.building.0);
    let fields = first.into_iter().flat_map(differences).collect();
    Ok(Comparison { serving, building, what: Compared::Rows, rows, differing, fields })
}

/// As [`compare`], with the first `most` of the rows that differ: all of them, or only some.
pub(crate) async fn differing(
    connection: &mut PgConnection,
    tables: &Tables<'_>,
    only: Option<&Only>,
    most: i64,
) -> sqlx::Result<Differing> {
    let buckets: Vec<(i64, i64, i64, bool)> =
        sqlx::query_as(AssertSqlSafe(tables.buckets())).fetch_all(&mut *connection).await?;
    let differing: Vec<i64> = buckets.iter().filter(|bucket| !bucket.3).map(|bucket| bucket.0).collect();
    let rows = [buckets.iter().map(|bucket| bucket.1).sum(), buckets.iter().map(|bucket| bucket.2).sum()];
    let found: Vec<(String, Option<Value>, Option<Value>, i64)> = match differing.as_slice() {
        [] => Vec::new(),
        buckets => {
            let rows = sqlx::query_as(AssertSqlSafe(tables.rows(only))).bind(buckets);
            let rows = rows.bind(only.map(Only::id)).bind(most);
            rows.fetch_all(connection).await?
        }
    };
    let count = found.first().map_or(0, |row| row.3);
    let first = found.into_iter().map(|(key, serving, building, _)| Counterparts { key, serving, building });
    Ok(Differing { rows, count, first: first.collect() })
}

impl Tables<'_> {
    /// Each bucket with its rows on both sides and whether their hashes are the same. A sum does not depend on the order
    /// of rows, and every field is in it, the version too.
    fn buckets(&self) -> String {
        let side = |table: &str| {
            format!(
                "(SELECT {} AS bucket, count(*) AS rows, sum(hashtextextended(to_jsonb(t)::text, 0)) AS hash
                  FROM {} AS t GROUP BY 1)",
                self.bucket(),
                self.compared(table)
            )
        };
        format!(
            "SELECT bucket, coalesce(s.rows, 0), coalesce(b.rows, 0), s.rows IS NOT DISTINCT FROM b.rows
                    AND s.hash IS NOT DISTINCT FROM b.hash
             FROM {} AS s FULL JOIN {} AS b USING (bucket)",
            side(&self.serving.1),
            side(&self.building.1)
        )
    }

    /// The first differing rows of some buckets, and their number.
    fn rows(&self, only: Option<&Only>) -> String {
        let OneSided { serving, building } = self.one_sided;
        let side = |table: &str| {
            format!(
                "(SELECT {} AS key, to_jsonb(t) AS fields FROM {} AS t WHERE {} = ANY($1))",
                self.key(),
                self.compared(table),
                self.bucket()
            )
        };
        format!(
            "SELECT key, s.fields, b.fields, count(*) OVER () FROM {} AS s FULL JOIN {} AS b USING (key)
             WHERE s.fields IS DISTINCT FROM b.fields AND {}
                   AND NOT ({serving} AND b.fields IS NULL) AND NOT ({building} AND s.fields IS NULL) ORDER BY key LIMIT $3",
            side(&self.serving.1),
            side(&self.building.1),
            Only::restriction(only, "$2", ["s.fields", "b.fields"])
        )
    }

    /// The rows of a table that are compared.
    fn compared(&self, table: &str) -> String {
        format!("(SELECT {} FROM \"{table}\" WHERE version > 0)", self.columns)
    }

    fn bucket(&self) -> String {
        format!("(hashtextextended({}, 0) & {})", self.key(), BUCKETS - 1)
    }

    fn key(&self) -> String {
        key_of(self.table)
    }
}

/// The key of a row as text, in SQL.
pub(crate) fn key_of(table: &Table) -> String {
    match table.key.as_slice() {
        [column] => format!("\"{column}\"::text"),
        columns => {
            let columns: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
            format!("jsonb_build_array({})::text", columns.join(", "))
        }
    }
}

pub(crate) fn differences(
    Counterparts { key, serving: before, building: after }: Counterparts,
) -> Vec<Difference> {
    let difference = |field: &str, serving: Value, building: Value| Difference {
        key: key.clone(),
        field: field.to_owned(),
        serving,
        building,
    };
    let presence = |row: &Option<Value>| Value::from(if row.is_some() { "there" } else { "missing" });
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (&before, &after) else {
        return vec![difference("(row)", presence(&before), presence(&after))];
    };
    let added = new.keys().filter(|field| !old.contains_key(*field));
    let of = |row: &serde_json::Map<String, Value>, field: &str| row.get(field).cloned().unwrap_or_default();
    let fields = old.keys().chain(added).filter(|field| old.get(*field) != new.get(*field));
    fields.map(|field| difference(field, of(old, field), of(new, field))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(before: Option<Value>, after: Option<Value>) -> Vec<String> {
        differences(Counterparts { key: "1".to_owned(), serving: before, building: after })
            .into_iter()
            .map(|d| format!("{} {} {}", d.field, d.serving, d.building))
            .collect()
    }

    #[test]
    fn differences_name_each_field_and_rows_that_only_one_generation_has() {
        let before = json!({"a": 1, "b": 2, "gone": 3});
        assert_eq!(
            named(Some(before.clone()), Some(json!({"a": 1, "b": 5, "new": 4}))),
            ["b 2 5", "gone 3 null", "new null 4"]
        );
        assert_eq!(named(Some(before), None), ["(row) \"there\" \"missing\""]);
    }
}
