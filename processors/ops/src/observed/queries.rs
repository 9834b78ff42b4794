//! Times the queries of readers: in each round one SQL view or index, so that the load stays small.

use std::time::{Duration, Instant};

use elasticsearch::SearchParts;
use millrace_domain::dictionary::sql_views;
use millrace_engine::metrics::QUERY_SECONDS;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::config::Config;
use crate::elastic::Client;
use crate::failure::Failure;
use crate::layout::{self, ReadModel};
use crate::postgres::{Database, execute};
use crate::reached::Kept;

/// After this time a query is given up; it counts with the time that it took.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// Rows or documents of a page.
const PAGE: u32 = 100;
/// What is sent of a page of documents: they may be large.
const SENT: [&str; 3] = ["error", "hits.total", "hits.hits._id"];

/// A query, and the value of its label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Query {
    name: String,
    of: Of,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    /// A statement on an SQL view.
    Sql(String),
    /// A search in the index behind an alias.
    Index(String),
}

/// The queries, and which one is next.
#[derive(Default)]
pub(super) struct Queries {
    all: Vec<Query>,
    next: usize,
    elastic: Kept<Client>,
}

impl Queries {
    pub(super) fn of(config: &Config) -> Self {
        let all = layout::read_models(config).iter().flat_map(|model| of_model(config, model)).collect();
        Self { all, ..Self::default() }
    }

    /// Times the next one. One that is not answered has no time: other metrics show what is away.
    pub(super) async fn time_next(&mut self, config: &Config, read: &Database) {
        let Some(Query { name, of }) = self.all.get(self.next % self.all.len().max(1)).cloned() else {
            return;
        };
        self.next = self.next.wrapping_add(1);
        let took = match of {
            Of::Sql(statement) => {
                // A broken connection may never report an error.
                let took = tokio::time::timeout(2 * GIVEN_UP_AFTER, by_sql(read, statement)).await;
                took.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| read.failure(error))
            }
            Of::Index(alias) => self.by_search(config, &alias).await,
        };
        match took {
            Ok(took) => QUERY_SECONDS.with_label_values(&[&name]).observe(took.as_secs_f64()),
            Err(error) => tracing::debug!(query = name, %error, "the query of readers has no answer"),
        }
    }

    async fn by_search(&mut self, config: &Config, alias: &str) -> Result<Duration, Failure> {
        let client = self.elastic.or_made(|| Client::new(&config.elasticsearch))?;
        let (index, page, began) = ([alias], &json!({"size": PAGE}), Instant::now());
        let search = client.send(|client| async move {
            let search = client.search(SearchParts::Index(&index)).request_cache(false).filter_path(&SENT);
            search.body(page).send().await
        });
        let answer = tokio::time::timeout(GIVEN_UP_AFTER, search).await;
        let took = began.elapsed();
        answer.map_or(Ok(took), |answer| answer?.success().map(|_| took))
    }
}

/// The queries of a view: a page by its key, one of each further SQL view, one of its index.
fn of_model(config: &Config, model: &ReadModel) -> Vec<Query> {
    let sql = |name: &str, order: &str| Query {
        name: format!("view {name}"),
        // As for a reader every column is read and becomes text; the text is not sent, since rows may be large.
        of: Of::Sql(format!(
            "SELECT max(length(page::text)) FROM (SELECT * FROM \"{name}\"{order} LIMIT {PAGE}) AS page"
        )),
    };
    let mut queries = Vec::new();
    if let Some(table) = &model.table {
        queries.push(sql(model.name, &format!(" ORDER BY {}", table.key.join(", "))));
        let further = sql_views(&table.view).into_iter().filter(|view| view.name != "{view}");
        queries.extend(further.map(|view| sql(&view.name, "")));
    }
    let index = config.namespace.index_alias(model.name);
    let has_index = model.mapping.is_some() && config.elasticsearch.publish;
    queries.extend(has_index.then(|| Query { name: format!("index {}", model.name), of: Of::Index(index) }));
    queries
}

/// How long a statement took, or until Postgres gave it up.
async fn by_sql(read: &Database, statement: String) -> sqlx::Result<Duration> {
    let mut transaction = read.pool.begin().await?;
    let limit = format!("SET LOCAL statement_timeout = {}", GIVEN_UP_AFTER.as_millis());
    execute(&mut transaction, limit).await?;
    let began = Instant::now();
    let answer = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(&mut *transaction).await;
    let took = began.elapsed();
    transaction.rollback().await?;
    match answer {
        Err(error) if took < GIVEN_UP_AFTER => Err(error),
        _ => Ok(took),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sql_view_and_index_has_a_query() {
        let queries = Queries::of(&Config::default()).all;
        let of = |name: &str| queries.iter().find(|query| query.name == name).map(|query| query.of.clone());
        let page = |rows: &str| {
            Some(Of::Sql(format!("SELECT max(length(page::text)) FROM ({rows} LIMIT 100) AS page")))
        };
        assert_eq!(of("view orders"), page("SELECT * FROM \"orders\" ORDER BY order_id"));
        assert_eq!(of("view order_lines"), page("SELECT * FROM \"order_lines\""));
        assert_eq!(of("index events"), Some(Of::Index("millrace-events".to_owned())));
        assert_eq!(of("view events"), None, "a log has no rows");
    }
}
