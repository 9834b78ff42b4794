//! The queries of readers.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinSet;

use super::load;
use crate::cli::Reading;
use crate::instance::Instance;
use crate::latency::probe::microseconds;
use crate::load::intended;

/// Concurrent queries of Postgres.
const PEOPLE: u32 = 8;

/// A kind of query.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// All about one customer, in SQL.
    Customer,
    /// Products by words of their names, in Elasticsearch.
    Catalog,
    /// The last entries of an account, in SQL.
    Statement,
}

/// The answers to a kind of query.
pub(super) struct Answered {
    pub(super) question: Question,
    /// In microseconds; without those of the warm-up.
    pub(super) latency: Histogram<u64>,
    /// The number of empty answers.
    pub(super) empty: u64,
}

impl Question {
    pub(super) const ALL: [Self; 3] = [Self::Customer, Self::Catalog, Self::Statement];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Customer => "a customer by id (SQL)",
            Self::Catalog => "20 products by words of their names (Elasticsearch)",
            Self::Statement => "the last 50 entries of an account (SQL)",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Customer => {
                "SELECT count(*) FROM (SELECT * FROM customers WHERE customer_id = $1) AS found"
            }
            Self::Catalog => "",
            Self::Statement => {
                "SELECT count(*) FROM (SELECT * FROM account_statement WHERE account_id = $1 ORDER BY entry DESC LIMIT 50) AS found"
            }
        }
    }
}

/// Queries at the rate of the options, independently of earlier queries.
pub(super) async fn ask(instance: Instance, question: Question, options: Reading) -> Result<Answered> {
    let instance = Arc::new(instance);
    let database = people(&instance)?;
    let mut asked = JoinSet::new();
    let (quiet, all) =
        (options.questions * options.warm_up, options.questions * (options.warm_up + options.seconds));
    let began = Instant::now();
    for number in 0..all {
        let intended = intended(began, number, options.questions);
        tokio::time::sleep_until(intended.into()).await;
        let (instance, database) = (instance.clone(), database.clone());
        asked.spawn(async move {
            let found = answer(&instance, &database, question, u64::from(number)).await?;
            anyhow::Ok((number >= quiet, microseconds(intended.elapsed()), found))
        });
    }
    let mut answered = Answered { question, latency: Histogram::new(3)?, empty: 0 };
    while let Some(answer) = asked.join_next().await {
        if let (true, latency, found) = answer?? {
            answered.latency.record(latency)?;
            answered.empty += u64::from(found == 0);
        }
    }
    Ok(answered)
}

/// Connections for readers.
fn people(instance: &Instance) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(instance.stack.read_database_url())?;
    let options = options.options([("search_path", &instance.name)]);
    Ok(PgPoolOptions::new().max_connections(PEOPLE).connect_lazy_with(options))
}

/// The number of results.
async fn answer(instance: &Instance, database: &PgPool, question: Question, number: u64) -> Result<u64> {
    let key = match question {
        Question::Customer => load::customer(number),
        Question::Statement => load::account(number),
        Question::Catalog => return catalog(instance, number).await,
    };
    let found: i64 = sqlx::query_scalar(question.sql()).bind(key).fetch_one(database).await?;
    Ok(u64::try_from(found)?)
}

async fn catalog(instance: &Instance, number: u64) -> Result<u64> {
    let query = json!({"size": 20, "query": {"match": {"name": load::product_name(number)}}});
    let path = format!("{}/_search?filter_path=hits.hits._id", instance.alias("products"));
    let found = instance.stack.elasticsearch(Method::POST, &path, Some(&query)).await?;
    let hits = found.pointer("/hits/hits").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(hits as u64)
}
