//! Answers from the SQL views.

use chrono::{DateTime, Utc};
use millrace_store::freshness;
use serde_json::Value as Json;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, AssertSqlSafe, PgPool};

use super::parameter::{Kind, Value};
use super::route::{PAGE, Rows, Shape};
use super::{Answer, Asked, Unanswered, cursor};

/// Bytes of the items of an answer, at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Time of the answer, version of the stream, and the items as JSON; none when they are too large.
type Row = (DateTime<Utc>, Option<i64>, Option<String>);

impl Rows {
    /// The statement whose only row is the whole answer, so that all of it is of one snapshot.
    pub(crate) fn statement(&self) -> String {
        let version = match (self.stream, self.views) {
            (Some(context), [view, ..]) => freshness::of_first_parameter(view, context),
            _ => "NULL::bigint".to_owned(),
        };
        format!(
            "SELECT now(), {version}, CASE WHEN octet_length(items) <= {ANSWER_BYTES_MAX} THEN items END \
             FROM (SELECT coalesce(json_agg(item), '[]')::text AS items FROM ({}) AS item) AS page",
            self.sql
        )
    }

    /// Its answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn answer(&self, pool: &PgPool, asked: &Asked) -> Result<Answer, Unanswered> {
        let arguments = self.arguments(asked)?;
        let found = sqlx::query_as_with(AssertSqlSafe(self.statement()), arguments).fetch_one(pool).await;
        let (as_of, version, items): Row = found.map_err(Unanswered::Database)?;
        let items = items.ok_or(Unanswered::TooLarge)?;
        let mut items: Vec<Json> = serde_json::from_str(&items).map_err(Unanswered::Unreadable)?;
        let next = match self.shape {
            Shape::One => None,
            Shape::List(by) => next(&mut items, asked.limit(), by),
        };
        Ok(Answer { as_of, version, items, next, more: Vec::new() })
    }

    fn arguments(&self, asked: &Asked) -> Result<PgArguments, Unanswered> {
        let mut arguments = PgArguments::default();
        if let Some(id) = &asked.id {
            add(&mut arguments, Kind::Text, Some(Value::Text(id.clone())))?;
        }
        for (parameter, value) in asked.of_route() {
            add(&mut arguments, parameter.kind, value.clone())?;
        }
        if let Shape::List(by) = self.shape {
            for (key, (_, kind)) in keys(asked.after(), by)?.into_iter().zip(by) {
                add(&mut arguments, *kind, key)?;
            }
            add(&mut arguments, COUNT, Some(Value::Integer(asked.limit() + 1)))?;
        }
        Ok(arguments)
    }
}

const COUNT: Kind = Kind::Integer { min: 1, max: PAGE };

/// Adds a value of a type, or null.
fn add(arguments: &mut PgArguments, kind: Kind, value: Option<Value>) -> Result<(), Unanswered> {
    let added = match (kind, value) {
        (_, Some(Value::Text(text))) => arguments.add(text),
        (_, Some(Value::Integer(number))) => arguments.add(number),
        (_, Some(Value::Flag(flag))) => arguments.add(flag),
        (_, Some(Value::Time(time))) => arguments.add(time),
        (_, Some(Value::Date(date))) => arguments.add(date),
        (Kind::Text | Kind::OneOf(_) | Kind::Cursor, None) => arguments.add(None::<String>),
        (Kind::Integer { .. }, None) => arguments.add(None::<i64>),
        (Kind::Flag, None) => arguments.add(None::<bool>),
        (Kind::Time, None) => arguments.add(None::<DateTime<Utc>>),
        (Kind::Date, None) => arguments.add(None::<chrono::NaiveDate>),
    };
    added.map_err(|error| Unanswered::Database(sqlx::Error::Encode(error)))
}

/// The sort values of the item before the page, or nulls.
fn keys(after: Option<&str>, by: &[(&str, Kind)]) -> Result<Vec<Option<Value>>, Unanswered> {
    let Some(after) = after else { return Ok(vec![None; by.len()]) };
    let values = cursor::values(after);
    if values.len() != by.len() {
        return Err(Unanswered::OtherCursor);
    }
    let key = |(value, (_, kind)): (Json, &(&str, Kind))| key(*kind, &value).map(Some);
    values.into_iter().zip(by).map(key).collect::<Option<_>>().ok_or(Unanswered::OtherCursor)
}

/// A sort value, which may be an empty text.
fn key(kind: Kind, value: &Json) -> Option<Value> {
    match (kind, value) {
        (Kind::Text, Json::String(text)) => (!text.contains('\0')).then(|| Value::Text(text.clone())),
        (Kind::Time | Kind::Date, Json::String(text)) => kind.read(text).ok(),
        (Kind::Integer { .. }, Json::Number(number)) => kind.read(&number.to_string()).ok(),
        _ => None,
    }
}

/// Takes away the item that shows that there is a further page, and returns where that begins.
fn next(items: &mut Vec<Json>, limit: i64, by: &[(&str, Kind)]) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if items.len() <= limit {
        return None;
    }
    items.truncate(limit);
    let last = items.last()?;
    let values: Vec<Json> =
        by.iter().map(|(column, _)| last.get(*column).cloned().unwrap_or_default()).collect();
    Some(cursor::behind(&values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BY: &[(&str, Kind)] = &[("day", Kind::Date), ("category", Kind::Text)];

    #[test]
    fn a_page_ends_with_a_cursor_when_there_is_more() {
        let item = |category: &str| json!({"day": "2026-01-31", "category": category, "units": 1});
        let mut items = vec![item(""), item("tea")];
        assert_eq!(next(&mut items, 2, BY), None);
        let cursor = next(&mut items, 1, BY).unwrap();
        assert_eq!(items.len(), 1);
        let keys = keys(Some(&cursor), BY).unwrap();
        assert_eq!(keys[1], Some(Value::Text(String::new())));
        assert!(matches!(keys[0], Some(Value::Date(_))));
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        for other in
            [json!(["2026-01-31"]), json!([7, "tea"]), json!(["soon", "tea"]), json!(["2026-01-31", "a\0"])]
        {
            let cursor = cursor::behind(other.as_array().unwrap());
            assert!(matches!(keys(Some(&cursor), BY), Err(Unanswered::OtherCursor)), "{other}");
        }
        assert_eq!(keys(None, BY).unwrap(), [None, None]);
    }
}
