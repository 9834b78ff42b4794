//! Connections to the two databases.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::names::Namespace;

/// Every statement of the loop finds its rows by an index. A table that grows faster than it is analysed looks small to
/// the planner, which would then read, hash or join all of it for every batch. Since its plans do not depend on what is
/// bound, they are made once for each connection: to plan the statements of a small batch takes longer than to execute them.
const BY_INDEX: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];
/// Queries of the operator's commands are planned for what a table contains now.
const AS_IT_IS: [(&str, &str); 1] = [("plan_cache_mode", "force_custom_plan")];

/// A setting of the session's own, which no role or database can set instead.
const OPENED: (&str, &str) = ("millrace.opened", "as_asked");

/// How long a connection may take to be made, and to answer when it is given back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it still lives before it is used; asking each time costs a round
/// trip.
const IDLE_UNASKED: Duration = Duration::from_secs(1);

/// Which connections are not used again: those that were made before a point in time.
#[derive(Debug, Clone, Default)]
pub struct Outdated(Arc<Mutex<Option<Instant>>>);

impl Outdated {
    /// None that was made until now is used again.
    pub fn all_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is(&self, age: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| age >= since.elapsed())
    }
}

/// A pool whose connections see the namespace's schema and end a transaction that outlives `transaction_timeout`, so
/// that a frozen process cannot hold locks for longer than its place in the group. Connects when first used.
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
            // Planned anew each time, a statement gains little by staying prepared, and it may be out of date.
            let forgotten = async {
                connection.ping().await?;
                connection.clear_cached_statements().await
            };
            answered(forgotten).await
        })
    });
    Ok(pool.connect_lazy_with(options))
}

/// As [`pool`], for workers: their statements go by indexes, and connections that are said to be outdated are given up.
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

/// A duration as statements take it; more than fits is for ever.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn options(
    url: &str,
    namespace: &Namespace,
    transaction_timeout: Duration,
) -> Result<PgConnectOptions, sqlx::Error> {
    // `transaction_timeout` says how long anything may take: what the role is set to beside it would end work that is
    // within it, the same work again and again. `pg_stat_activity` shows the instance by this name; migrations look for it.
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

/// Why a session cannot be worked in: it has not the settings that it was opened with. Some poolers drop them (PgBouncer's
/// `ignore_startup_parameters`), and statements would then find their tables elsewhere, or none.
///
/// # Errors
/// When the database does not answer.
pub async fn unfit_session(
    connection: &mut PgConnection,
    namespace: &Namespace,
) -> Result<Option<&'static str>, sqlx::Error> {
    // Unnamed: where sessions are shared, another client's statement may have the name.
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

/// One that is given back in the middle of something is asked whether it lives, and the pool has no room for another until
/// it answers.
async fn answered(asked: impl Future<Output = Result<(), sqlx::Error>>) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(CONNECTION_TIMEOUT, asked).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}
