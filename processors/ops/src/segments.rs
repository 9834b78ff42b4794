//! How many customers a segment has now, and some of them.

use chrono::{DateTime, Utc};
use millrace_domain::effects::audience::Customer;
pub use millrace_domain::segments::Channel;
use millrace_domain::segments::{self, Query, Rule};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Side;
use crate::postgres::Database;
use crate::read_side;

/// The requested preview.
#[derive(Debug, Clone)]
pub struct Request {
    /// The rules that customers must match.
    pub rules: Rules,
    /// The channel: customers without an address for it are left out.
    pub channel: Channel,
    /// The time from which days are counted back; `None` for now.
    pub as_of: Option<DateTime<Utc>>,
    /// Return at most this many.
    pub limit: i64,
}

/// The rules of a segment.
#[derive(Debug, Clone)]
pub enum Rules {
    /// Those of a defined segment, by its id.
    Segment(String),
    /// Rules as JSON.
    Json(String),
}

/// The customers who match the rules.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Audience {
    /// Their number.
    #[serde(rename = "audience")]
    pub count: i64,
    /// The first of them.
    pub customers: Vec<Recipient>,
}

/// A customer who would get the message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recipient {
    /// The customer.
    pub customer_id: String,
    /// Company or person.
    pub name: String,
    /// The person to talk to.
    pub contact_name: Option<String>,
    /// The address for messages.
    pub address: String,
}

impl From<Customer> for Recipient {
    fn from(Customer { customer_id, name, contact_name, address }: Customer) -> Self {
        Self { customer_id, name, contact_name, address }
    }
}

/// The recipients of a campaign that would be launched now.
///
/// # Errors
/// [`Failure::NotFound`] when there is no such segment, [`Failure::Usage`] when the rules cannot be read; when the database
/// does not answer.
pub async fn preview(config: &Config, request: &Request) -> Result<Audience, Failure> {
    let read = Database::of(config, Side::Read)?;
    let rules = match &request.rules {
        Rules::Json(rules) => rules.clone(),
        Rules::Segment(segment_id) => defined(&read, segment_id).await?,
    };
    let rule =
        segments::parse(&rules).map_err(|error| Failure::usage(error.to_string()).with_source(error))?;
    audience(&read, &rule, request).await.map_err(|error| read.failure(error))
}

async fn defined(read: &Database, segment_id: &str) -> Result<String, Failure> {
    let rules = sqlx::query_scalar("SELECT rules FROM segments WHERE segment_id = $1").bind(segment_id);
    let rules: Option<String> =
        rules.fetch_optional(&read.pool).await.map_err(|error| read.failure(error))?;
    rules.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no segment `{segment_id}`; one that was just defined is there once the view has it"
        ))
    })
}

/// Number and customers in one snapshot, so that they agree.
async fn audience(read: &Database, rule: &Rule, request: &Request) -> Result<Audience, sqlx::Error> {
    let (channel, as_of) = (request.channel, request.as_of.unwrap_or_else(Utc::now));
    let next = Query::Next { after: "", most: request.limit };
    let mut snapshot = read.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let count = read_side::value(segments::audience(rule, channel, as_of, Query::Count))?;
    let count = count.fetch_one(&mut *snapshot).await?;
    let some = read_side::customers(segments::audience(rule, channel, as_of, next))?;
    let some = some.fetch_all(&mut *snapshot).await?;
    let customers = some.into_iter().map(|row| read_side::customer(row).into()).collect();
    Ok(Audience { count, customers })
}
