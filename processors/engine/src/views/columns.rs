//! Writing rows to a table: as one array of texts for each column, which Postgres reads in half the time of JSON.

use std::collections::HashMap;

use millrace_store::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::{Map, Value};
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{Column as _, PgConnection, Postgres, Row as _, Type};

use crate::error::WorkError;

/// A row by the names of its columns.
pub(super) type Fields = Map<String, Value>;

/// The columns of a statement.
pub(super) struct Columns(Vec<Column>);

#[derive(Clone)]
struct Column {
    name: String,
    /// The type in SQL.
    kind: String,
}

impl Columns {
    /// The columns of these names, with their types in the table.
    pub(super) async fn of(
        connection: &mut PgConnection,
        table: &str,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Self, WorkError> {
        let types: Vec<(String, String)> = sqlx::query_as(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
             WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped",
        )
        .bind(table)
        .fetch_all(connection)
        .await?;
        let mut types: HashMap<String, String> = types.into_iter().collect();
        let column = |name: String| match types.remove(&name) {
            Some(kind) => Ok(Column { name, kind }),
            None => Err(WorkError::other_shape(format!("the table {table} has no column `{name}`"))),
        };
        names.into_iter().map(column).collect::<Result<_, _>>().map(Self)
    }

    /// The columns of these names, and those that a row has changed: the others are neither sent nor written. A row that was not
    /// [`read`](Self::read) before has changed all of them.
    pub(super) fn changed(&self, always: &[&str], rows: &[(&[Value], &Fields)]) -> Self {
        let mut changed: Vec<bool> = self.0.iter().map(|c| always.contains(&c.name.as_str())).collect();
        for (before, now) in rows {
            for (place, (changed, column)) in changed.iter_mut().zip(&self.0).enumerate() {
                *changed = *changed || before.get(place) != now.get(&column.name);
            }
        }
        let kept = self.0.iter().zip(changed).filter(|(_, changed)| *changed);
        Self(kept.map(|(column, _)| column.clone()).collect())
    }

    /// The expressions of a `SELECT` for [`read`](Self::read).
    pub(super) fn selected(&self) -> String {
        self.listed(Column::selected)
    }

    /// The values of a row that was [`selected`](Self::selected), as JSON values of the row's fields: Postgres sends columns in half
    /// the time of a row as JSON.
    pub(super) fn read(&self, row: &PgRow) -> sqlx::Result<Vec<Value>> {
        self.0.iter().map(|column| column.read(row)).collect()
    }

    /// Whether a row that was [`selected`](Self::selected) still has the types of these columns.
    pub(super) fn fit(&self, row: &PgRow) -> bool {
        let is = |column: &Column| row.try_column(column.name.as_str()).map(|is| column.fits(is.type_info()));
        self.0.iter().all(|column| is(column).unwrap_or(true))
    }

    /// The row with these values.
    pub(super) fn row<R: DeserializeOwned>(&self, values: &[Value]) -> serde_json::Result<R> {
        let names = self.0.iter().map(|column| column.name.as_str());
        R::deserialize(MapDeserializer::new(names.zip(values)))
    }

    /// The names of the columns, quoted.
    pub(super) fn names(&self) -> String {
        self.listed(|column| format!("\"{}\"", column.name))
    }

    /// The values in [`rows`](Self::rows), cast to the types of the columns.
    pub(super) fn values(&self) -> String {
        self.listed(|column| format!("CAST(new.\"{}\" AS {})", column.name, column.kind))
    }

    /// The `SET` list of an `UPDATE`.
    pub(super) fn sets(&self) -> String {
        self.listed(|Column { name, kind }| format!("\"{name}\" = CAST(new.\"{name}\" AS {kind})"))
    }

    /// The first parameters, which [`bind`](Self::bind) binds, as the rows `new`; `with_places` also the `ctid`s (`at`), which are the
    /// next parameter.
    pub(super) fn rows(&self, with_places: bool) -> String {
        let arrays = (1..=self.0.len()).map(|number| format!("${number}::text[]"));
        let places = format!("${}::text[]::tid[]", self.0.len() + 1);
        let arrays: Vec<String> = arrays.chain(with_places.then_some(places)).collect();
        let at = if with_places { ", at" } else { "" };
        format!("UNNEST({}) AS new({}{at})", arrays.join(", "), self.names())
    }

    /// Binds rows as an array of texts for each column.
    pub(super) fn bind<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
        rows: &[&Fields],
    ) -> Query<'q, Postgres, PgArguments> {
        self.0.iter().fold(query, |query, column| {
            query.bind(rows.iter().map(|row| column.text(row)).collect::<Vec<_>>())
        })
    }

    fn listed(&self, each: impl Fn(&Column) -> String) -> String {
        self.0.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

// Types as `format_type` spells them.
const TEXT: &str = "text";
const BIGINT: &str = "bigint";
const INTEGER: &str = "integer";
const BOOLEAN: &str = "boolean";
const JSONB: &str = "jsonb";
const TIMESTAMP: &str = "timestamp with time zone";

/// A timestamp as in the JSON of a row.
fn timestamp(time: Option<Timestamp>) -> sqlx::Result<Value> {
    serde_json::to_value(time.map(|Timestamp(time)| time)).map_err(|error| sqlx::Error::Decode(error.into()))
}

impl Column {
    fn selected(&self) -> String {
        let Self { name, kind } = self;
        match kind.as_str() {
            TEXT | BIGINT | INTEGER | BOOLEAN | TIMESTAMP | JSONB => format!("\"{name}\""),
            _ => format!("to_jsonb(\"{name}\") AS \"{name}\""),
        }
    }

    /// Whether [`read`](Self::read) supports this type.
    fn fits(&self, type_: &PgTypeInfo) -> bool {
        match self.kind.as_str() {
            TEXT => <String as Type<Postgres>>::compatible(type_),
            BIGINT => <i64 as Type<Postgres>>::compatible(type_),
            INTEGER => <i32 as Type<Postgres>>::compatible(type_),
            BOOLEAN => <bool as Type<Postgres>>::compatible(type_),
            TIMESTAMP => <Timestamp as Type<Postgres>>::compatible(type_),
            _ => true,
        }
    }

    fn read(&self, row: &PgRow) -> sqlx::Result<Value> {
        let name = self.name.as_str();
        Ok(match self.kind.as_str() {
            TEXT => Value::from(row.try_get::<Option<String>, _>(name)?),
            BIGINT => Value::from(row.try_get::<Option<i64>, _>(name)?),
            INTEGER => Value::from(row.try_get::<Option<i32>, _>(name)?),
            BOOLEAN => Value::from(row.try_get::<Option<bool>, _>(name)?),
            TIMESTAMP => timestamp(row.try_get(name)?)?,
            _ => row.try_get::<Option<Value>, _>(name)?.unwrap_or_default(),
        })
    }

    /// The value in a row, as text of the column's type.
    fn text(&self, row: &Fields) -> Option<String> {
        match row.get(&self.name)? {
            Value::Null => None,
            Value::String(text) if !self.kind.starts_with("json") => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns() -> Columns {
        let column = |(name, kind): (&str, &str)| Column { name: name.to_owned(), kind: kind.to_owned() };
        Columns([("id", "text"), ("lines", "jsonb"), ("at", "timestamp with time zone")].map(column).into())
    }

    #[test]
    fn statements_name_each_column_and_its_type() {
        let columns = columns();
        assert_eq!(columns.names(), r#""id", "lines", "at""#);
        assert!(columns.values().ends_with(r#"CAST(new."at" AS timestamp with time zone)"#));
        assert!(columns.sets().starts_with(r#""id" = CAST(new."id" AS text), "#));
        assert!(columns.rows(false).starts_with("UNNEST($1::text[], $2::text[], $3::text[]) AS new("));
        assert_eq!(columns.selected(), r#""id", "lines", "at""#);
        assert!(columns.rows(true).contains("$4::text[]::tid[]) AS new("));
    }

    #[test]
    fn what_no_row_has_changed_is_not_written() {
        let fields = |json: serde_json::Value| json.as_object().unwrap().clone();
        let values = |fields: &Fields| fields.values().cloned().collect::<Vec<_>>();
        let same = fields(json!({"id": "a", "lines": [1], "at": null}));
        let other = fields(json!({"id": "b", "lines": [2], "at": null}));
        let changed = fields(json!({"id": "b", "lines": [1], "at": null}));
        let names = |rows: &[(&[Value], &Fields)]| columns().changed(&["id"], rows).names();
        let unchanged = (&values(&same)[..], &same);
        assert_eq!(names(&[unchanged]), r#""id""#);
        assert_eq!(names(&[unchanged, (&values(&changed), &other)]), r#""id", "lines""#);
        assert_eq!(names(&[(&[], &same)]), columns().names(), "there was no row");
    }

    #[test]
    fn a_value_is_the_text_that_its_column_reads() {
        let row = json!({"id": "a \"b\"", "lines": [{"n": 1}], "at": null});
        let texts =
            columns().0.iter().map(|column| column.text(row.as_object().unwrap())).collect::<Vec<_>>();
        assert_eq!(texts, [Some("a \"b\"".to_owned()), Some(r#"[{"n":1}]"#.to_owned()), None]);
        let json = json!({"lines": "text"});
        assert_eq!(columns().0[1].text(json.as_object().unwrap()).as_deref(), Some("\"text\""));
    }
}
