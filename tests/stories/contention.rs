//! Contention: another session holds locks in the same tables.

use millrace_store::Group;
use millrace_store::consumer_offset::{self, Claiming, Held};
use millrace_store::migrations::WRITE;
use millrace_tests::instance::pool;
use millrace_tests::load::{add_product, command, product, receive, register};
use millrace_tests::locks::Foreign;
use millrace_tests::{Instance, Process, becomes, eventually};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use crate::{beside_others, instance, instance_with};

const LOCK: &str = "SELECT version FROM stream WHERE context = 'inventory' AND id = $1 FOR UPDATE";

async fn with_two_products(story: &str) -> (Instance, Process) {
    let instance = instance(story).await;
    let process = instance.start();
    instance.send(&[add_product(1), receive(1), add_product(2), receive(2)]).await;
    instance.settle().await;
    (instance, process)
}

fn reserve_both(n: usize) -> String {
    let lines = [1, 2].map(|i| json!({"product_id": product(i), "quantity": 5}));
    command("ReserveStock", n, json!({"reservation_id": format!("both-{n}"), "lines": lines}))
}

/// Deadlocks in which the story's session is aborted, at most: Postgres aborts the session that detects the deadlock.
const LOST_MAX: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_a_foreign_session_is_tried_again() {
    let _turn = beside_others().await;
    let (instance, process) = with_two_products("deadlock").await;
    for n in 1..=LOST_MAX {
        let won = deadlock(&instance, n).await;
        instance.settle().await;
        if won {
            set_back(&instance, &process, "contended").await;
            return both_are_reserved(&instance, n).await;
        }
    }
    panic!("a batch was never the one that ends");
}

/// A batch holds the first product and waits for the second; we hold the second and want the first. True when the batch
/// was ended.
async fn deadlock(instance: &Instance, n: usize) -> bool {
    let mut foreign = instance.write.begin().await.expect("a transaction");
    lock(&mut foreign, 2).await.expect("a lock");
    instance.send(&[reserve_both(n)]).await;
    waits_for(instance, &mut foreign).await;
    let locked = lock(&mut foreign, 1).await;
    foreign.rollback().await.expect("a rollback");
    match locked {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_longer_than_a_transaction_may_last_is_waited_for() {
    let _turn = beside_others().await;
    let (instance, process) = with_two_products("long_lock").await;
    let mut foreign = instance.write.begin().await.expect("a transaction");
    lock(&mut foreign, 2).await.expect("a lock");
    instance.send(&[reserve_both(1)]).await;
    waits_for(&instance, &mut foreign).await;
    set_back(&instance, &process, "overran").await;
    waits_for(&instance, &mut foreign).await;
    foreign.rollback().await.expect("a rollback");
    instance.settle().await;
    both_are_reserved(&instance, 1).await;
}

/// A view that has a row of product 2, and events that change it and make a new one of product 1; another worker is about
/// to write that one first.
async fn about_to_write_a_new_row(namespace: &str) -> (Instance, Process, Transaction<'static, Postgres>) {
    let instance = instance_with(namespace, &[("topics.partitions", "1")]).await;
    let mut process = instance.start();
    instance.send(&[add_product(2)]).await;
    instance.settle().await;
    process.stops().await;

    let mut commands = instance.start_with(&["commands"], &[]);
    let renamed = command("RenameProduct", 1, json!({"product_id": product(2), "name": "Renamed"}));
    instance.send(&[renamed, add_product(1)]).await;
    instance.settle_commands().await;
    commands.stops().await;

    let mut foreign = instance.read.begin().await.expect("a transaction");
    let first = "INSERT INTO products_g1 (product_id, version, updated_at) VALUES ($1, 0, to_timestamp(0))";
    sqlx::query(first).bind(product(1)).execute(&mut *foreign).await.expect("a new row");
    let products = instance.start_with(&["view", "products"], &[]);
    waits_for(&instance, &mut foreign).await;
    (instance, products, foreign)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_locked_only_when_all_new_ones_are_there_so_that_two_batches_never_wait_for_each_other() {
    let _turn = beside_others().await;
    let (instance, _products, mut foreign) = about_to_write_a_new_row("newcomer").await;
    let free = "SELECT version FROM products_g1 WHERE product_id = $1 FOR UPDATE NOWAIT";
    let version: i64 = sqlx::query_scalar(free)
        .bind(product(2))
        .fetch_one(&mut *foreign)
        .await
        .expect("nobody holds the row");
    assert!(version <= 2, "{version}");
    foreign.rollback().await.expect("a rollback");
    becomes(&instance.read, "SELECT sum(version)::bigint FROM products", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_that_another_worker_writes_first_is_folded_into() {
    let _turn = beside_others().await;
    let (instance, products, foreign) = about_to_write_a_new_row("newcomer_taken").await;
    foreign.commit().await.expect("a commit");
    becomes(&instance.read, "SELECT sum(version)::bigint FROM products", 3).await;
    let group = instance.group("products");
    let metrics = products.metrics().await.expect("metrics");
    let again = metrics.sum("millrace_batches_aborted_total", &[("group", &group), ("why", "contended")]);
    assert!(again < 1.0, "nothing has to be done again");
}

/// So slow that a full batch takes longer than a transaction may, and half of one does not.
const SLOW: &str = "
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.025); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON customers_g1 FOR EACH ROW EXECUTE FUNCTION slowly()";
const MANY: usize = 240;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_longer_than_a_transaction_may_last_is_worked_off_in_parts_and_the_next_are_smaller()
 {
    let _turn = beside_others().await;
    let instance = instance_with("overran", &[("topics.partitions", "1")]).await;
    let mut commands = instance.start_with(&["commands"], &[]);
    instance.send(&(0..MANY).map(register).collect::<Vec<_>>()).await;
    instance.settle_commands().await;
    commands.stops().await;
    sqlx::raw_sql(SLOW).execute(&instance.read).await.expect("a slow table");
    let process = instance.start_with(&["view", "customers"], &[]);
    let group = instance.group("customers");
    let overran = [("group", group.as_str()), ("why", "overran")];
    process.reports("millrace_batches_aborted_total", &overran, 1.0).await;
    let _commands = instance.start_with(&["commands"], &[]);
    instance.send(&(MANY..2 * MANY).map(register).collect::<Vec<_>>()).await;
    becomes(&instance.read, "SELECT count(*) FROM customers", i64::try_from(2 * MANY).expect("a few")).await;
    let metrics = process.metrics().await.expect("metrics");
    let times = metrics.sum("millrace_batches_aborted_total", &overran);
    assert!(times < 2.0, "no later batch was too large: {times}");
}

/// Two partitions of two generations of a group, in the table in the reverse of their order, and those of many others, so that each is looked up.
const OFFSETS: &str =
    "INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published)
         SELECT 's.g' || g, 1, 't', p, 1, 0, 0 FROM generate_series(1, 300) AS g, generate_series(0, 7) AS p;
     INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published, pause_at, paused_until, held_below)
     SELECT 's.commands', generation, 't', partition, 1, 0, 0, 0, 'infinity', 0
     FROM UNNEST(ARRAY[2, 1, 2, 1], ARRAY[1, 1, 0, 0]) AS own(generation, partition);
     ANALYZE consumer_offset";
const OFFSET: &str = "SELECT applied FROM consumer_offset WHERE grp = 's.commands' AND generation = $1 AND partition = $2 FOR UPDATE NOWAIT";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moves_the_offsets_of_several_partitions_locks_them_in_their_order() {
    let schema = format!("r_{}", uuid::Uuid::now_v7().simple());
    let tables = pool("WRITE_DATABASE_URL", &schema);
    let prepare = format!("CREATE SCHEMA {schema}");
    sqlx::query(AssertSqlSafe(prepare)).execute(&tables).await.expect("a schema");
    WRITE.apply(&mut tables.acquire().await.expect("a connection")).await.expect("migrations");
    sqlx::raw_sql(OFFSETS).execute(&tables).await.expect("offsets");
    let [group, next] = &[1, 2].map(|generation| Group { id: "s.commands".to_owned(), generation });
    let topics = &["t".to_owned()];
    let held = &Held {
        group: group.id.clone(),
        topic: "t".to_owned(),
        below: 0,
        first: 0,
        last: 1,
        until: None,
        is_over: true,
    };
    let claiming = [1, 0].map(|partition| Claiming { topic: "t", partition, first: 0, topic_id: None });
    waits_for_the_first_and_holds_none(&tables, "publish", async |connection| {
        consumer_offset::publish(connection, group, &[("t", 1, 1, 0), ("t", 0, 1, 0)]).await.map(|_| ())
    })
    .await;
    waits_for_the_first_and_holds_none(&tables, "advance", async |connection| {
        consumer_offset::advance(connection, &[1, 0].map(|partition| step(group, partition)))
            .await
            .map(|_| ())
    })
    .await;
    waits_for_the_first_of(&tables, 2, "joint advance", async |connection| {
        let steps = [(group, 1), (group, 0), (next, 1), (next, 0)];
        let steps = steps.map(|(group, partition)| step(group, partition));
        consumer_offset::advance(connection, &steps).await.map(|_| ())
    })
    .await;
    waits_for_the_first_and_holds_none(&tables, "claim", async |connection| {
        consumer_offset::claim(connection, group, &claiming).await.map(|_| ())
    })
    .await;
    waits_for_the_first_and_holds_none(&tables, "resume", async |connection| {
        consumer_offset::resume(connection, &group.id, 1, topics).await
    })
    .await;
    waits_for_the_first_and_holds_none(&tables, "let_go", async |connection| {
        consumer_offset::let_go(connection, held).await
    })
    .await;
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE")))
        .execute(&tables)
        .await
        .expect("no schema");
}

fn step(group: &Group, partition: i32) -> consumer_offset::Step<'_> {
    let at = consumer_offset::Partition { group, topic: "t", partition };
    consumer_offset::Step { at, epoch: 1, from: 0, to: 0, published: Some(0) }
}

async fn waits_for_the_first_and_holds_none(
    tables: &PgPool,
    what: &str,
    moves: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<()>,
) {
    waits_for_the_first_of(tables, 1, what, moves).await;
}

/// Another session holds a generation's first partition and is waited for; the first one's second is free. Both are rolled back.
async fn waits_for_the_first_of(
    tables: &PgPool,
    generation: i32,
    what: &str,
    moves: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<()>,
) {
    let [mut foreign, mut mover] =
        [tables.begin().await.expect("a transaction"), tables.begin().await.expect("another")];
    let own: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *mover).await.expect("a pid");
    sqlx::query(OFFSET).bind(generation).bind(0).execute(&mut *foreign).await.expect("the first is free");
    let meanwhile = async {
        eventually("it waits", async || {
            let waits = "SELECT cardinality(pg_blocking_pids($1)) > 0";
            let waits = sqlx::query_scalar(waits).bind(own).fetch_one(tables).await;
            if waits.map_err(|error| error.to_string())? { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
        let second = sqlx::query(OFFSET).bind(1).bind(1).execute(&mut *foreign).await;
        second.unwrap_or_else(|error| panic!("{what} holds the second partition: {error}"));
        foreign.rollback().await.expect("a rollback");
    };
    let (moved, ()) = tokio::join!(moves(&mut mover), meanwhile);
    moved.unwrap_or_else(|error| panic!("{what}: {error}"));
    mover.rollback().await.expect("a rollback");
}

async fn lock(foreign: &mut Transaction<'_, Postgres>, i: usize) -> sqlx::Result<i64> {
    sqlx::query_scalar(LOCK).bind(product(i)).fetch_one(&mut **foreign).await
}

/// Waits until a batch waits for a lock of the other session.
async fn waits_for(instance: &Instance, foreign: &mut PgConnection) {
    let foreign = Foreign::of(foreign).await;
    eventually("a batch waits for our lock", async || {
        match foreign.is_waited_for(instance, &instance.write).await {
            0 => Err("nobody waits".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

async fn set_back(instance: &Instance, process: &Process, why: &str) {
    let group = instance.group("commands");
    process.reports("millrace_batches_aborted_total", &[("group", &group), ("why", why)], 1.0).await;
}

async fn both_are_reserved(instance: &Instance, times: usize) {
    let times = i64::try_from(times).expect("a few");
    let reserved = "SELECT count(*) FROM outbox WHERE type = 'millrace.inventory.StockReserved'";
    assert_eq!(instance.count(reserved).await, Ok(2 * times));
    let dead = "SELECT count(*) FROM dead_letter";
    assert_eq!(instance.count(dead).await, Ok(0));
    let rows: Vec<i64> =
        sqlx::query_scalar("SELECT reserved FROM products").fetch_all(&instance.read).await.expect("rows");
    assert_eq!(rows, [5 * times, 5 * times]);
}
