//! Two builds with different shapes of a view, at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::instance::pool;
use millrace_tests::load::{place, register};
use millrace_tests::snapshot::elastic_with;
use millrace_tests::{Instance, Load, Process, becomes, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::{beside_others, instance_with};

/// The build that comes next: `orders` has one column more.
const NEW: [(&str, &str); 1] = [("FAILPOINTS", "shape=return(orders+column)")];
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

/// Builds of later releases than this one ever is, and how each has its views.
const RELEASE_2: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "release=return(1002);shape=return(orders+column products+retyped events+mapping carts+context:orders)",
)];
/// Carts read one topic less again.
const RELEASE_3: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "release=return(1003);shape=return(orders+column products+retyped events+mapping customers+column)",
)];
const RELEASE_4: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "release=return(1004);shape=return(orders+column products+retyped events+mapping customers+retyped)",
)];
const RELEASE_5: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "release=return(1005);shape=return(orders+column products+retyped events+mapping customers+mapping)",
)];
const OTHER_5: [(&str, &str); 1] = [(
    "FAILPOINTS",
    "release=return(1005);shape=return(orders+column products+retyped events+mapping customers+column carts+column)",
)];
const OF_RELEASE_2: &str = "SELECT count(*) FROM replay WHERE state = 'serving' AND release = 1002";
const MAY_READ: &str =
    "SELECT count(*) FROM unnest(ARRAY[has_table_privilege('pg_monitor', 'products', 'SELECT'),
    has_table_privilege('pg_monitor', 'cart_lines', 'SELECT'),
    has_column_privilege('pg_stat_scan_tables', 'products', 'name', 'SELECT')]) AS may WHERE may";
const REMOVED: &str =
    "SELECT count(*) FROM replay WHERE view = 'customers' AND state = 'retired' AND removed_at IS NOT NULL";
const BY_EVENTS: &str = "SELECT count(*) FROM replay WHERE view = 'carts' AND state = 'serving' AND comparison->>'what' = 'events'";

#[tokio::test(flavor = "multi_thread")]
async fn readers_keep_the_last_state_while_releases_replace_all_processes_at_once() {
    let _turn = beside_others().await;
    let settings = [("kafka.session_timeout", "6s"), ("processing.abandoned_after", "3s")];
    let instance = instance_with("deploy", &settings).await;
    let load = Load { customers: 10, products: 10, orders: 60 };
    let mut old = instance.start();
    instance.send(&load.basics()).await;
    instance.settle().await;
    instance.send(&[load.placing(), load.fulfilling()].concat()).await;
    instance.settle().await;
    old.stops().await;
    let mut commands = instance.start_with(&["commands"], &[]);
    instance.send_and_wait(&orders(100)).await.expect_success();
    commands.stops().await;
    let (stop, readers) = readers(&instance);

    let foreign = format!("public.\"{}_foreign\"", instance.name);
    before_the_deploy(&instance, &foreign).await;
    let mut new = instance.start_with(&[], &RELEASE_2);
    log_tells(&new, "of another schema").await;
    alter(&instance, &format!("DROP VIEW {foreign}")).await;
    served(&instance, &RELEASE_2).await;
    becomes(&instance.read, OF_RELEASE_2, 4).await;
    becomes(&instance.read, "SELECT count(*) FROM orders WHERE channel = 'web'", 100).await;
    becomes(&instance.read, MAY_READ, 3).await;
    let mapping = format!("{}-events/_mapping", instance.name);
    // The alias follows the swap in Postgres.
    eventually("the alias points to the index with the new mapping", async || {
        let found = elastic_with(reqwest::Method::GET, &mapping, None).await.to_string();
        if found.contains(r#""version":{"type":"double"}"#) { Ok(()) } else { Err(found) }
    })
    .await;
    let refused = instance.millrace(&["setup"]).await;
    refused.expect_code(1).expect_told("millrace setup --downgrade");
    new.stops().await;

    let earlier = instance.start();
    of_two_builds_the_higher_release_goes_on(&instance).await;
    what_no_process_builds_gives_way(&instance).await;
    becomes(&instance.read, "SELECT count(*) FROM replay WHERE release < 1000 AND generation > 1", 0).await;
    drop(earlier);
    stop.store(true, Ordering::SeqCst);
    let (answers, wrong) = readers.await.expect("answers");
    assert!(answers > 20 && wrong.is_empty(), "{answers} answers, and {wrong:?}");
    becomes(&instance.read, DEAD, 0).await;
    becomes(&instance.write, DEAD, 0).await;
    let downgraded = instance.millrace(&["setup", "--downgrade"]).await;
    downgraded.expect_success().expect_told("updated  read side        release ");
}

/// A dry run changes nothing; `setup` begins, and waits in vain while no process builds.
async fn before_the_deploy(instance: &Instance, foreign: &str) {
    for sql in [
        "GRANT SELECT ON products, cart_lines TO pg_monitor".to_owned(),
        "GRANT SELECT (name) ON products TO pg_stat_scan_tables".to_owned(),
        format!("CREATE VIEW {foreign} AS SELECT product_id FROM products"),
    ] {
        alter(instance, &sql).await;
    }
    let dry = instance.millrace_with(&["setup", "--dry-run"], &RELEASE_2).await;
    dry.expect_success().expect_told("the next of orders").expect_told("release 1002");
    becomes(&instance.read, "SELECT count(*) FROM replay WHERE generation > 1", 0).await;
    becomes(&instance.read, "SELECT count(*) FROM deployed", 1).await;
    let waited = instance.millrace_with(&["setup", "--wait", "1s"], &RELEASE_2).await;
    waited.expect_code(1).expect_told("orders: generation 2: ");
    let status = instance.millrace_with(&["status"], &RELEASE_2).await;
    status.expect_told("this build works on generation 2; readers see the state of");
}

/// What release 3 has begun is retired and removed; what both have in the same shape goes on.
async fn of_two_builds_the_higher_release_goes_on(instance: &Instance) {
    instance.millrace_with(&["setup"], &RELEASE_3).await.expect_success();
    let mut new = instance.start_with(&[], &RELEASE_4);
    served(instance, &RELEASE_4).await;
    becomes(
        &instance.read,
        "SELECT generation::bigint FROM replay WHERE view = 'customers' AND state = 'serving'",
        3,
    )
    .await;
    becomes(&instance.read, REMOVED, 1).await;
    new.stops().await;
}

/// Two builds of one release: the one waits for what the other has begun, until no process has worked on it for some time. Carts
/// have no key to be compared by then.
async fn what_no_process_builds_gives_way(instance: &Instance) {
    instance.millrace_with(&["setup"], &RELEASE_5).await.expect_success();
    alter(instance, "ALTER TABLE carts_g3 DROP CONSTRAINT carts_g3_pkey").await;
    let mut new = instance.start_with(&[], &OTHER_5);
    served(instance, &OTHER_5).await;
    becomes(&instance.read, BY_EVENTS, 1).await;
    becomes(&instance.read, REMOVED, 2).await;
    instance.settle().await;
    new.stops().await;
}

async fn served(instance: &Instance, build: &[(&str, &str)]) {
    instance.millrace_with(&["setup", "--wait=120s"], build).await.expect_success();
}

async fn alter(instance: &Instance, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(&instance.read).await.expect(sql);
}

async fn log_tells(process: &Process, words: &str) {
    eventually(&format!("the log tells of {words}"), async || {
        let log = process.log();
        if log.contains(words) { Ok(()) } else { Err(log.lines().rev().take(3).collect()) }
    })
    .await;
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

/// Readers that query all the time: the number of answers, and the errors.
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
