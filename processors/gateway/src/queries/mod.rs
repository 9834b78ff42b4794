//! Queries of the read side: [`table`] has them all. The gateway sees the SQL views as a reader, and the indices of their documents.

mod answer;
mod asked;
mod cursor;
mod documents;
mod least_version;
pub(crate) mod parameter;
pub(crate) mod route;
mod rows;
mod search;
mod segment;
mod sql;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use elasticsearch::Elasticsearch;
use millrace_engine::Elastic;
use millrace_engine::access::Renewed;
use millrace_engine::metrics::QUERY_SECONDS;
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::layout;
use millrace_store::database::reader_pool;
use millrace_store::names::Namespace;
use serde_json::Value as Json;
use sqlx::PgPool;
use tokio::sync::Semaphore;

pub(crate) use asked::Asked;
pub(crate) use least_version::{LeastVersion, MIN_VERSION, Reached};
use route::{Route, Source};
pub(crate) use segment::SegmentRequest;

/// Connections to the read side, and the limits of queries.
pub(crate) struct Queries {
    pool: PgPool,
    elastic: Renewed<Elasticsearch>,
    namespace: Namespace,
    timeout: Duration,
    /// The read models that this instance has, with the contexts that each folds.
    views: Vec<(&'static str, Vec<&'static str>)>,
    room: Semaphore,
    waiting: Semaphore,
}

/// Requests that wait for a version, at most: each asks Postgres again and again.
pub(crate) const WAITING_MAX: usize = 32;

/// What a query found.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When it was read.
    as_of: DateTime<Utc>,
    /// The version of the stream that the path names.
    version: Option<i64>,
    items: Vec<Json>,
    next: Option<String>,
    /// Further members.
    more: Vec<(&'static str, Json)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Too many queries are under way.
    #[error("too many queries are under way")]
    Full,
    /// It took longer than `gateway.query_timeout`.
    #[error("the query took too long")]
    TooSlow,
    /// The answer would be too large.
    #[error("the answer is too large")]
    TooLarge,
    /// The cursor is one of another list.
    #[error("the cursor is one of another list")]
    OtherCursor,
    /// Elasticsearch cannot search for this text.
    #[error("the text cannot be searched for: {0}")]
    OtherText(String),
    /// There is no such segment.
    #[error("there is no such segment")]
    NoSegment,
    /// Rules that are none.
    #[error("the rules are none")]
    Rules(String, String),
    /// The read side does not answer.
    #[error("the read side does not answer: {0}")]
    Database(#[source] sqlx::Error),
    /// Elasticsearch does not answer.
    #[error("Elasticsearch does not answer: {0}")]
    Search(#[source] elasticsearch::Error),
    /// Elasticsearch answers with this status.
    #[error("Elasticsearch answers {0}")]
    Status(u16),
    /// An answer cannot be read.
    #[error("an answer cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
}

impl Queries {
    /// Connects when first used; `None` when it is not configured.
    ///
    /// # Errors
    /// [`Failure::Usage`], which names the setting.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Failure> {
        let gateway = &config.gateway;
        let Some(url) = &gateway.reader_url else { return Ok(None) };
        let (timeout, namespace) = (gateway.query_timeout, config.namespace.clone());
        let pool = reader_pool(url.reveal(), &namespace, timeout, gateway.reader_connections_max);
        let pool = pool
            .map_err(|_| Failure::usage(format!("gateway.reader_url: {url} is not the URL of a database")))?;
        let elasticsearch = &config.elasticsearch;
        let elastic = Elastic::client(elasticsearch.url.reveal(), elasticsearch.files(), timeout)
            .map_err(|error| Failure::usage("elasticsearch").caused_by(error))?;
        let models = layout::read_models(config).into_iter();
        let views = models.map(|model| (model.name, model.contexts)).collect();
        let (room, waiting) = (Semaphore::new(gateway.queries_max), Semaphore::new(WAITING_MAX));
        Ok(Some(Self { pool, elastic, namespace, timeout, views, room, waiting }))
    }

    /// Whether the instance has all views of a route.
    pub(crate) fn has(&self, route: &Route) -> bool {
        route.views().iter().all(|view| self.has_view(view))
    }

    /// Whether the instance has a view.
    pub(crate) fn has_view(&self, view: &str) -> bool {
        self.views.iter().any(|(name, _)| *name == view)
    }

    /// The answer of a query.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn answer(&self, route: &Route, asked: &Asked) -> Result<Answer, Unanswered> {
        let began = Instant::now();
        let answer = self.in_time(async {
            match &route.source {
                Source::Rows(rows) => rows.answer(&self.pool, asked).await,
                Source::Documents(documents) => self.found(documents, asked).await,
                Source::Segment => self.of_segment(asked).await,
            }
        });
        let answer = answer.await;
        if !matches!(answer, Err(Unanswered::Full)) {
            QUERY_SECONDS.with_label_values(&[route.path]).observe(began.elapsed().as_secs_f64());
        }
        answer
    }

    /// While there is room, and within the timeout: a broken connection may never report an error.
    async fn in_time<T>(
        &self,
        answered: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let _place = self.room.try_acquire().map_err(|_| Unanswered::Full)?;
        // The database's own timeout comes first.
        let within = self.timeout + Duration::from_millis(500);
        tokio::time::timeout(within, answered).await.unwrap_or(Err(Unanswered::TooSlow))
    }
}
