//! How many customers a segment has, and some of them.

use chrono::{DateTime, Utc};
use millrace_domain::segments::{self, Channel, Query, Rule};
use millrace_ops::read_side;
use serde_json::{Value as Json, json};
use sqlx::PgConnection;

use super::route::{PAGE, PAGE_MAX};
use super::{Answer, Asked, Queries, Unanswered, sql};
use crate::problem::FieldError;

/// The body of a preview of rules that are not defined yet.
#[derive(Debug)]
pub(crate) struct SegmentRequest {
    rules: Json,
    channel: Channel,
    limit: i64,
}

/// Its fields.
const FIELDS: [&str; 3] = ["rules", "channel", "limit"];

impl SegmentRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// Every field that does not fit. The rules are read later.
    pub(crate) fn read(body: Json) -> Result<Self, Vec<FieldError>> {
        let error = |path: &str, message: String| FieldError { path: path.to_owned(), message };
        let Json::Object(mut fields) = body else {
            return Err(vec![error("", "must be an object".to_owned())]);
        };
        let [rules, channel, limit] = FIELDS.map(|name| fields.remove(name));
        let unknown = |(name, _): (String, Json)| {
            error(&name, format!("is not a field: there are {}", FIELDS.join(", ")))
        };
        let mut errors: Vec<FieldError> = fields.into_iter().map(unknown).collect();
        if rules.is_none() {
            errors.push(error("rules", "is missing".to_owned()));
        }
        let channel = channel.map_or(Some(Channel::Email), |given| given.as_str().and_then(Channel::named));
        if channel.is_none() {
            errors.push(error("channel", "must be email or sms".to_owned()));
        }
        let limit =
            limit.map_or(Some(PAGE), |given| given.as_i64().filter(|limit| (1..=PAGE_MAX).contains(limit)));
        if limit.is_none() {
            errors.push(error("limit", format!("must be a whole number, 1 to {PAGE_MAX}")));
        }
        match (rules, channel, limit) {
            (Some(rules), Some(channel), Some(limit)) if errors.is_empty() => {
                Ok(Self { rules, channel, limit })
            }
            _ => Err(errors),
        }
    }
}

impl Queries {
    /// A segment that is defined.
    pub(super) async fn of_segment(&self, asked: &Asked) -> Result<Answer, Unanswered> {
        let rules = sqlx::query_scalar(sql::SEGMENT).bind(asked.id.as_deref());
        let rules: Option<String> = rules.fetch_optional(&self.pool).await.map_err(Unanswered::Database)?;
        let rules = rules.ok_or(Unanswered::NoSegment)?;
        let channel = asked.text("channel").and_then(Channel::named).unwrap_or(Channel::Email);
        self.audience(&rules, channel, asked.limit()).await
    }

    /// Rules of a caller.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn preview(&self, request: &SegmentRequest) -> Result<Answer, Unanswered> {
        let rules = request.rules.to_string();
        self.in_time(self.audience(&rules, request.channel, request.limit)).await
    }

    async fn audience(&self, rules: &str, channel: Channel, limit: i64) -> Result<Answer, Unanswered> {
        let rule = segments::parse(rules)
            .map_err(|error| Unanswered::Rules(error.place().to_owned(), error.problem().to_owned()))?;
        let as_of = Utc::now();
        let (count, customers) =
            self.taken(&rule, channel, as_of, limit).await.map_err(Unanswered::Database)?;
        Ok(Answer {
            as_of,
            version: None,
            items: customers,
            next: None,
            more: vec![("audience", json!(count))],
        })
    }

    /// Number and customers in one snapshot, so that they agree.
    async fn taken(
        &self,
        rule: &Rule,
        channel: Channel,
        as_of: DateTime<Utc>,
        limit: i64,
    ) -> sqlx::Result<(i64, Vec<Json>)> {
        let mut snapshot = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let count = count(&mut snapshot, rule, channel, as_of).await?;
        let next = Query::Next { after: "", most: limit };
        let some = read_side::customers(segments::audience(rule, channel, as_of, next))?;
        let some =
            some.fetch_all(&mut *snapshot).await?.into_iter().map(|row| json!(read_side::customer(row)));
        Ok((count, some.collect()))
    }
}

async fn count(
    connection: &mut PgConnection,
    rule: &Rule,
    channel: Channel,
    as_of: DateTime<Utc>,
) -> sqlx::Result<i64> {
    let count = read_side::value(segments::audience(rule, channel, as_of, Query::Count))?;
    count.fetch_one(connection).await
}
