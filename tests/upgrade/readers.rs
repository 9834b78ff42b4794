//! Readers who ask all the time, by SQL and by search: an error, a row or a document that was there and is not, and an earlier
//! version of one than before are wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::Instance;
use millrace_tests::instance::pool;
use millrace_tests::stack::stack;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;

/// Views that both releases have and publish, with the column of the key.
const VIEWS: [(&str, &str); 3] =
    [("products", "product_id"), ("customers", "customer_id"), ("orders", "order_id")];
/// What people ask of several of them at once, of views that change and of others.
const SUMS: [&str; 4] = [
    "SELECT count(*) FROM order_lines JOIN orders USING (order_id)",
    "SELECT coalesce(sum(orders), 0)::bigint FROM fulfilment_daily",
    "SELECT count(*) FROM customer_revenue_daily",
    "SELECT count(*) FROM revenue_by_country",
];
const DOCUMENTS_MAX: usize = 2_000;

/// The newest version of each row, or document, that a reader has seen.
type Versions = HashMap<String, i64>;

/// What a reader has met.
#[derive(Default)]
struct Seen {
    answers: usize,
    wrong: Vec<String>,
}

/// A reader by SQL and one by search of each view, and one of sums.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    aborts: Arc<AtomicBool>,
    asking: Vec<(String, JoinHandle<Seen>)>,
}

impl Readers {
    /// They ask from now on.
    pub(crate) fn of(instance: &Instance) -> Self {
        let (stop, aborts): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let pool = pool("READER_DATABASE_URL", &instance.name);
        let mut asking =
            vec![("sums".to_owned(), tokio::spawn(sums(pool.clone(), stop.clone(), aborts.clone())))];
        for (view, key) in VIEWS {
            let sql = rows(pool.clone(), format!("SELECT {key}, version FROM {view}"), stop.clone());
            let search = documents(instance.alias(view), stop.clone());
            asking.push((format!("{view} by SQL"), tokio::spawn(sql)));
            asking.push((format!("{view} by search"), tokio::spawn(search)));
        }
        Self { stop, aborts, asking }
    }

    /// While release 1 replaces SQL views, it may abort who reads several of them: unlike later ones, it does not give way.
    pub(crate) fn may_be_aborted(&self, may: bool) {
        self.aborts.store(may, Ordering::SeqCst);
    }

    /// Every answer was right.
    pub(crate) async fn found_nothing_wrong(self) {
        self.stop.store(true, Ordering::SeqCst);
        for (what, asking) in self.asking {
            let Seen { answers, wrong } = asking.await.expect("answers");
            eprintln!("{what}: {answers} answers");
            assert!(answers > 50 && wrong.is_empty(), "{what}: {answers} answers, and {wrong:?}");
        }
    }
}

impl Seen {
    fn answered(&mut self, answer: Result<Vec<(String, i64)>, String>, known: &mut Versions) {
        match answer {
            Ok(found) => self.compared(found.into_iter().collect(), known),
            Err(error) => self.wrong.push(error),
        }
    }

    fn compared(&mut self, found: Versions, known: &mut Versions) {
        self.answers += 1;
        for (key, before) in &*known {
            match found.get(key) {
                Some(version) if version >= before => {}
                other => self.wrong.push(format!("{key} was {before} and is {other:?}")),
            }
        }
        known.extend(found);
    }
}

async fn rows(pool: PgPool, sql: String, stop: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut known) = (Seen::default(), Versions::new());
    while !stop.load(Ordering::SeqCst) {
        let answer = sqlx::query_as(AssertSqlSafe(sql.as_str())).fetch_all(&pool).await;
        seen.answered(answer.map_err(|error| error.to_string()), &mut known);
        tokio::task::yield_now().await;
    }
    seen
}

/// A sum over orders never becomes less.
async fn sums(pool: PgPool, stop: Arc<AtomicBool>, aborts: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut known) = (Seen::default(), Versions::new());
    while !stop.load(Ordering::SeqCst) {
        for sql in SUMS {
            let sum: sqlx::Result<i64> = sqlx::query_scalar(sql).fetch_one(&pool).await;
            if sum.as_ref().is_err_and(is_deadlock) && aborts.load(Ordering::SeqCst) {
                continue;
            }
            let mut of_this = known.remove_entry(sql).into_iter().collect();
            seen.answered(
                sum.map(|sum| vec![(sql.to_owned(), sum)]).map_err(|error| error.to_string()),
                &mut of_this,
            );
            known.extend(of_this);
        }
        tokio::task::yield_now().await;
    }
    seen
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("40P01")
}

async fn documents(alias: String, stop: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut known) = (Seen::default(), Versions::new());
    let body = json!({"size": DOCUMENTS_MAX, "version": true, "_source": false});
    while !stop.load(Ordering::SeqCst) {
        let found = stack().elasticsearch(Method::POST, &format!("{alias}/_search"), Some(&body)).await;
        seen.answered(
            found.map_err(|error| format!("{error:#}")).and_then(|found| versions(&found)),
            &mut known,
        );
    }
    seen
}

fn versions(found: &Value) -> Result<Vec<(String, i64)>, String> {
    let hits = found["hits"]["hits"].as_array().filter(|_| found["_shards"]["failed"] == 0);
    let hits = hits.ok_or_else(|| found.to_string())?.iter();
    let version = |hit: &Value| Some((hit["_id"].as_str()?.to_owned(), hit["_version"].as_i64()?));
    hits.map(|hit| version(hit).ok_or_else(|| hit.to_string())).collect()
}
