//! Two builds that have a view in other shapes, side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::instance::pool;
use millrace_tests::load::{place, register};
use millrace_tests::{Instance, Load, becomes};
use sqlx::PgPool;

use crate::{beside_others, instance_with};

/// The build that comes next: `orders` has one column more.
const NEW: [(&str, &str); 1] = [("FAILPOINTS", "shape=return(orders)")];
const SERVING: &str = "SELECT generation::bigint FROM replay WHERE view = 'orders' AND state = 'serving'";
const GENERATIONS: &str = "SELECT count(*) FROM replay WHERE view = 'orders'";
const DEAD: &str = "SELECT count(*) FROM dead_letter";

#[tokio::test(flavor = "multi_thread")]
async fn a_build_with_one_more_column_takes_over_while_the_old_one_serves_and_gives_back() {
    let _turn = beside_others().await;
    let instance = instance_with("evolve", &[("kafka.session_timeout", "6s")]).await;
    let load = Load { customers: 10, products: 10, orders: 60 };
    let mut old = instance.start();
    instance.send(&load.basics()).await;
    instance.settle().await;
    instance.send(&load.placing()).await;
    instance.settle().await;
    let (stop, readers) = readers(&instance);

    let new = instance.start_with(&[], &NEW);
    instance.send(&orders(100)).await;
    becomes(&instance.read, SERVING, 2).await;
    becomes(&instance.read, "SELECT count(*) FROM orders WHERE channel = 'web'", 100).await;
    assert!(old.lives(), "it follows what it has");
    old.stops().await;
    instance.send(&orders(140)).await;
    becomes(&instance.read, "SELECT count(*) FROM orders WHERE channel = 'web'", 140).await;

    let refused = instance.millrace_with(&["replay", "orders", "--rollback"], &NEW).await;
    refused.expect_code(1).expect_told("of another shape");
    let old = instance.start();
    instance.millrace(&["replay", "orders", "--rollback"]).await.expect_success();
    becomes(&instance.read, "SELECT count(*) FROM orders", 140).await;
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM order_lines WHERE amount > 0", lines(&instance).await)
        .await;
    becomes(&instance.read, SERVING, 1).await;
    becomes(&instance.read, GENERATIONS, 2).await;
    drop((old, new));
    stop.store(true, Ordering::SeqCst);
    let (answers, wrong) = readers.await.expect("answers");
    assert!(answers > 20 && wrong.is_empty(), "{answers} answers, and {wrong:?}");
    becomes(&instance.read, DEAD, 0).await;
    becomes(&instance.write, DEAD, 0).await;
}

/// Those that are placed up to so many.
fn orders(upto: usize) -> Vec<String> {
    (upto - 40..upto)
        .map(|i| place(1_000 + i, "customer-0001", "product-0001"))
        .chain([register(900 + upto)])
        .collect()
}

async fn lines(instance: &Instance) -> i64 {
    let lines = "SELECT coalesce(sum(jsonb_array_length(lines)), 0)::bigint FROM orders_g2";
    sqlx::query_scalar(lines).fetch_one(&instance.read).await.expect("lines")
}

/// Readers who ask all the time: how many answers they had, and what was wrong with others.
fn readers(instance: &Instance) -> (Arc<AtomicBool>, tokio::task::JoinHandle<(usize, Vec<String>)>) {
    let stop = Arc::new(AtomicBool::new(false));
    (stop.clone(), tokio::spawn(asking(pool("READER_DATABASE_URL", &instance.name), stop)))
}

async fn asking(pool: PgPool, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut answers, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let asked =
            "SELECT (SELECT count(*) FROM orders WHERE total > 0), (SELECT count(*) FROM order_lines),
                            (SELECT count(*) FROM fulfilment_daily)";
        let answer: sqlx::Result<(i64, i64, i64)> = sqlx::query_as(asked).fetch_one(&pool).await;
        match answer {
            Ok((60.., 60.., _)) => answers += 1,
            other => wrong.push(format!("{other:?}")),
        }
        tokio::task::yield_now().await;
    }
    (answers, wrong)
}
