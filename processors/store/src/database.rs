//! Connections to the two databases.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::names::Namespace;

/// Settings for workers: every statement must use an index. A table that grows faster than it is analysed looks small to the
/// planner, which would then read, hash or join all of it for every batch. The plans do not depend on parameters, so generic
/// plans are made once for each connection: planning the statements of a small batch takes longer than executing them.
const BY_INDEX: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];
/// Settings for operators' commands: queries are planned with current statistics and parameters.
const AS_IT_IS: [(&str, &str); 1] = [("plan_cache_mode", "force_custom_plan")];

/// A setting by which a session is recognised as opened with our options; no role or database sets it.
const OPENED: (&str, &str) = ("millrace.opened", "as_asked");

/// The timeout for opening a connection, and for its answer when it is returned to the pool.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tested before it is used; testing it each time would cost a round trip.
const IDLE_UNASKED: Duration = Duration::from_secs(1);

/// Marks connections that were opened before a point in time as outdated; they are not used again.
#[derive(Debug, Clone, Default)]
pub struct Outdated(Arc<Mutex<Option<Instant>>>);

impl Outdated {
    /// Marks all connections that are open now.
    pub fn all_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is(&self, age: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| age >= since.elapsed())
    }
}

/// A pool whose connections use the namespace's schema and abort a transaction that exceeds `transaction_timeout`, so that a
/// frozen process cannot hold locks for longer than its membership in the group. Connects when first used.
///
/// # Errors
/// When the URL is not a Postgres URL.
pub fn pool(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
    connections_max: u32,
) -> Result<PgPool, sqlx::Error> {
    let options = options(url, namespace, transaction_timeout)?.options(AS_IT_IS);
    let pool = kept(connections_max).after_release(|connection, _| {
        Box::pin(async move {
            // With a custom plan for each execution, a statement gains little by staying prepared, and it may become outdated.
            let forgotten = async {
                connection.ping().await?;
                connection.clear_cached_statements().await
            };
            answered(forgotten).await
        })
    });
    Ok(pool.connect_lazy_with(options))
}

/// As [`pool`], for workers: statements use indexes, and connections that are marked as outdated are closed.
///
/// # Errors
/// As [`pool`].
pub fn worker_pool(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
    connections_max: u32,
) -> Result<(PgPool, Outdated), sqlx::Error> {
    let options = options(url, namespace, transaction_timeout)?.options(BY_INDEX);
    let outdated = Outdated::default();
    let pool = kept(connections_max)
        .before_acquire({
            let outdated = outdated.clone();
            move |connection, known| {
                let outdated = outdated.is(known.age);
                Box::pin(async move { Ok(!outdated && lives(connection, known.idle_for).await?) })
            }
        })
        .after_release(|connection, _| Box::pin(answered(connection.ping())));
    Ok((pool.connect_lazy_with(options), outdated))
}

/// For readers: sessions that change nothing and show times in UTC. A statement that takes longer than `statement_timeout` is
/// aborted; a connection is waited for as long.
///
/// # Errors
/// As [`pool`].
pub fn reader_pool(
    url: &str,
    namespace: &Namespace,
    statement_timeout: Duration,
    connections_max: u32,
) -> Result<PgPool, sqlx::Error> {
    // Not the instance's name: migrations wait until sessions of that name are closed, and readers see the SQL views only.
    let name = format!("millrace {namespace} gateway");
    let options = options(url, namespace, statement_timeout)?.options(AS_IT_IS).application_name(&name);
    let options = options.options([("default_transaction_read_only", "on"), ("TimeZone", "UTC")]);
    let pool = kept(connections_max)
        .acquire_timeout(statement_timeout)
        .after_release(|connection, _| Box::pin(answered(connection.ping())));
    Ok(pool.connect_lazy_with(options))
}

/// A duration in milliseconds for statements; `i64::MAX` when it does not fit.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn options(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
) -> Result<PgConnectOptions, sqlx::Error> {
    // `transaction_timeout` is the only limit: a lower timeout of the role would abort work that is within it, again and again.
    // `pg_stat_activity` shows the instance by this name, and migrations search for it.
    let name = format!("millrace {namespace}");
    Ok(PgConnectOptions::from_str(url)?.application_name(&name).options([
        ("search_path", namespace.database_schema().to_owned()),
        ("transaction_timeout", format!("{}ms", transaction_timeout.as_millis())),
        ("statement_timeout", "0".to_owned()),
        ("lock_timeout", "0".to_owned()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        ("tcp_keepalives_idle", "10".to_owned()),
        (OPENED.0, OPENED.1.to_owned()),
    ]))
}

/// Why a session cannot be used: it does not have the settings that it was opened with. Some poolers drop them (PgBouncer's
/// `ignore_startup_parameters`), and statements would then find other tables, or none.
///
/// # Errors
/// When the database does not answer.
pub async fn unfit_session(
    connection: &mut PgConnection,
    namespace: &Namespace,
) -> Result<Option<&'static str>, sqlx::Error> {
    // Not a named statement: when sessions are shared, another client may use the name.
    let kept = sqlx::query_scalar(
        "SELECT current_setting('search_path') = $1 AND current_setting('transaction_timeout') <> '0'
                AND coalesce(current_setting($2, true) = $3, false)",
    );
    let kept = kept.persistent(false).bind(namespace.database_schema()).bind(OPENED.0).bind(OPENED.1);
    let kept: bool = kept.fetch_one(connection).await?;
    Ok((!kept).then_some(
        "the session has not the settings that it was opened with: a pooler between here and Postgres drops them; connect \
         to Postgres itself, or let the pooler pool sessions and pass `options` on",
    ))
}

fn kept(connections_max: u32) -> PgPoolOptions {
    let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(CONNECTION_TIMEOUT);
    pool.test_before_acquire(false)
        .before_acquire(|connection, known| Box::pin(lives(connection, known.idle_for)))
}

async fn lives(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > IDLE_UNASKED {
        connection.ping().await?;
    }
    Ok(true)
}

/// Tests a connection that is returned to the pool in the middle of something; the pool has no room for another until it answers.
async fn answered(asked: impl Future<Output = Result<(), sqlx::Error>>) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(CONNECTION_TIMEOUT, asked).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}
