//! Readers who ask all the time, by SQL and by search.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::Instance;
use millrace_tests::instance::pool;
use millrace_tests::snapshot::elastic;
use sqlx::PgPool;
use tokio::task::JoinHandle;

/// What both releases have, of views that one of them changes and of others.
const ASKED: &str =
    "SELECT (SELECT count(*) FROM products WHERE price >= 0), (SELECT count(*) FROM customers),
    (SELECT count(*) FROM order_lines), (SELECT count(*) FROM cart_lines)";
/// Of the load's basics, which were there before the readers.
const PRODUCTS: i64 = 30;
const CUSTOMERS: i64 = 40;

/// Answers so far, and those that were wrong.
type Answers = (usize, Vec<String>);

/// Two readers.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    asking: [JoinHandle<Answers>; 2],
}

impl Readers {
    /// They ask from now on.
    pub(crate) fn of(instance: &Instance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sql = by_sql(pool("READER_DATABASE_URL", &instance.name), stop.clone());
        let search = by_search(instance.alias("products"), stop.clone());
        Self { stop, asking: [tokio::spawn(sql), tokio::spawn(search)] }
    }

    /// Every answer was right.
    pub(crate) async fn found_nothing_wrong(self) {
        self.stop.store(true, Ordering::SeqCst);
        for asking in self.asking {
            let (answers, wrong) = asking.await.expect("answers");
            assert!(answers > 50 && wrong.is_empty(), "{answers} answers, and {wrong:?}");
        }
    }
}

async fn by_sql(pool: PgPool, stop: Arc<AtomicBool>) -> Answers {
    let (mut answers, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let answer: sqlx::Result<(i64, i64, i64, i64)> = sqlx::query_as(ASKED).fetch_one(&pool).await;
        match answer {
            Ok((PRODUCTS.., CUSTOMERS.., ..)) => answers += 1,
            other => wrong.push(format!("{other:?}")),
        }
        tokio::task::yield_now().await;
    }
    (answers, wrong)
}

async fn by_search(alias: String, stop: Arc<AtomicBool>) -> Answers {
    let (mut answers, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let found = elastic(&format!("{alias}/_count?q=price:>=0"), None).await;
        match found["count"].as_i64() {
            Some(PRODUCTS..) => answers += 1,
            _ => wrong.push(found.to_string()),
        }
    }
    (answers, wrong)
}
