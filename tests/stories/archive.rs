//! Old events leave the event store for a file, and come back: `docs/design/archive.md`, tried once.

use millrace_tests::load::{command, command_with_id, customer, product};
use millrace_tests::{Instance, Load};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

use crate::prune::SHORT;
use crate::{beside_others, instance};

const LOAD: Load = Load { customers: 20, products: 10, orders: 60 };
/// How many events there are, and a number for all that they have.
const EVENTS: &str = "SELECT count(*), coalesce(sum(hashtextextended(e.*::text, 0)), 0)::text
     FROM (SELECT id, aggregatetype, aggregateid, type, payload, topic, version, traceparent, correlation_id, causation_id, command_id,
                  occurred_at, specversion, written_at FROM outbox WHERE version IS NOT NULL) AS e";
/// As the page has it: a table that is read as a part of the outbox, and that no publication has.
const MAKE: &str = "CREATE TABLE outbox_archived (LIKE outbox INCLUDING ALL)";
const ATTACH: &str = "ALTER TABLE outbox_archived INHERIT outbox";
const DETACH: &str = "ALTER TABLE outbox_archived NO INHERIT outbox";
/// A few at a time, of streams that are done with for now.
const MOVE: &str = "WITH old AS (
         DELETE FROM ONLY outbox WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM ONLY outbox WHERE version IS NOT NULL AND written_at < $1 LIMIT 50)) RETURNING *)
     INSERT INTO outbox_archived SELECT * FROM old";
const ROWS: &str = "SELECT outbox_archived::text FROM outbox_archived";
const RESTORE: &str = "INSERT INTO outbox_archived SELECT (row).* FROM (SELECT unnest($1::text[])::outbox_archived AS row) AS rows";

#[tokio::test(flavor = "multi_thread")]
async fn old_events_leave_for_a_file_and_come_back_and_nothing_differs() {
    let _turn = beside_others().await;
    let instance = instance("archive").await;
    let process = instance.start();
    instance.send(&LOAD.basics()).await;
    instance.settle().await;
    instance.send(&LOAD.placing()).await;
    instance.send(&[already_there()]).await;
    instance.settle().await;
    let mark = sqlx::query_scalar("SELECT now()").fetch_one(&instance.write).await.expect("a time");
    let before = events(&instance.write).await;

    run(&instance, MAKE).await;
    run(&instance, ATTACH).await;
    let moved = moved(&instance, mark).await;
    assert_eq!(events(&instance.write).await, before, "moved rows are read as before");
    instance.millrace(&["verify"]).await.expect_success();
    run(&instance, DETACH).await;
    let file = instance.file("archive");
    let rows: Vec<String> = sqlx::query_scalar(ROWS).fetch_all(&instance.write).await.expect("rows");
    assert_eq!(rows.len() as u64, moved);
    std::fs::write(&file, rows.join("\n")).expect("a file");
    run(&instance, "DROP TABLE outbox_archived").await;

    // Deciding and folding need no old events.
    instance.send(&LOAD.fulfilling()).await;
    instance.settle().await;
    instance.millrace(&["verify"]).await.expect_code(5);
    let later = events(&instance.write).await;

    run(&instance, MAKE).await;
    let rows = std::fs::read_to_string(&file).expect("the file");
    let rows: Vec<&str> = rows.lines().collect();
    sqlx::query(RESTORE).bind(rows).execute(&instance.write).await.expect("restored rows");
    run(&instance, ATTACH).await;
    let sum = |events: &(i64, String)| events.1.parse::<i128>().expect("a sum");
    let after = events(&instance.write).await;
    assert_eq!((after.0, sum(&after)), (before.0 + later.0, sum(&before) + sum(&later)));
    everything_can_be_made_of_them(&instance).await;
    instance.assert_topics_carry_the_outbox(false).await;
    retention_removes_no_event(&instance).await;
    drop(process);
}

async fn events(write: &PgPool) -> (i64, String) {
    sqlx::query_as(EVENTS).fetch_one(write).await.expect("events")
}

/// A command whose rejection retention removes from the outbox.
fn already_there() -> String {
    let data = json!({"product_id": product(0), "name": "Another", "category": "Seafood", "price": 1, "currency": "USD"});
    command_with_id("already-there", "AddProduct", 0, data)
}

/// What retention removes of the outbox has places in the table that archived events have in theirs.
async fn retention_removes_no_event(instance: &Instance) {
    let before = events(&instance.write).await;
    let others = "SELECT count(*) FROM outbox WHERE version IS NULL";
    let there = instance.count(others).await.expect("a number");
    instance.millrace(&[&["prune"][..], &SHORT].concat()).await.expect_success();
    assert!(instance.count(others).await.expect("a number") < there, "nothing was removed of {there}");
    assert_eq!(events(&instance.write).await, before);
}

async fn run(instance: &Instance, sql: &'static str) {
    sqlx::query(AssertSqlSafe(sql)).execute(&instance.write).await.expect(sql);
}

/// All events that were written before the mark.
async fn moved(instance: &Instance, mark: chrono::DateTime<chrono::Utc>) -> u64 {
    let mut moved = 0;
    loop {
        let rows = sqlx::query(MOVE).bind(mark).execute(&instance.write).await.expect("moved rows");
        match rows.rows_affected() {
            0 => return moved,
            some => moved += some,
        }
    }
}

/// With the archive there, the auditor, a rebuild and a changed state have what they need.
async fn everything_can_be_made_of_them(instance: &Instance) {
    instance.millrace(&["verify"]).await.expect_success();
    let filled = instance.millrace(&["replay", "customers", "--from-outbox", "--execute"]).await;
    filled.expect_success().expect_told("generation 2 swapped; equal");
    run(instance, "UPDATE stream SET state = NULL, state_version = state_version - 1").await;
    let data = json!({"customer_id": customer(1), "name": "Plato", "email": "plato@example.com"});
    instance.send_and_wait(&[command("ChangeCustomerDetails", 9_000, data)]).await.expect_success();
    instance.settle().await;
    instance.millrace(&["verify"]).await.expect_success();
}
