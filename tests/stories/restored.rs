//! Postgres comes back as it once was: restored from a copy, or a replica that lacked the last commits took over.

use millrace_tests::load::register;
use millrace_tests::{Instance, Process, eventually};
use sqlx::AssertSqlSafe;

use crate::replay::reset;
use crate::{beside_others, instance};

const TABLES: [&str; 4] = ["stream", "outbox", "command", "consumer_offset"];

async fn execute(instance: &Instance, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&instance.write).await.expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_side_that_has_lost_commits_decides_nothing_until_it_is_told_to() {
    let _turn = beside_others().await;
    let instance = instance("restored").await;
    let mut process = instance.start();
    instance.send(&(0..20).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    for table in TABLES {
        execute(&instance, format!("CREATE TABLE copy_of_{table} AS TABLE {table}")).await;
    }
    instance.send(&(20..40).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    restore(&instance).await;
    instance.send(&[register(40)]).await;
    says(&process, "Postgres has lost commits").await;
    says(&process, "Nothing is decided").await;
    let status = instance.millrace(&["status"]).await;
    assert!(status.expect_code(1).stdout.contains("THE WRITE SIDE IS NOT SOUND"), "{}", status.stdout);
    process.stops().await;
    let again = instance.start();
    says(&again, "Nothing is decided").await;
    assert_eq!(customers(&instance).await, 20);
    // As the log says: with Kafka's own tool.
    reset(&instance, "commands").await;
    instance.settle().await;
    assert_eq!(customers(&instance).await, 41);
    instance.millrace(&["status"]).await.expect_success();
    instance.millrace(&["verify"]).await.expect_success();
}

/// All that was committed since the copy is gone.
async fn restore(instance: &Instance) {
    let put_back = TABLES.map(|table| match table {
        // What Debezium has carried once it would carry again, if it was inserted again.
        "outbox" => "DELETE FROM outbox WHERE id NOT IN (SELECT id FROM copy_of_outbox);".to_owned(),
        table => format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_of_{table};"),
    });
    // Statements that are sent together are one transaction.
    execute(instance, put_back.concat()).await;
}

async fn says(process: &Process, what: &str) {
    eventually(what, async || if process.log().contains(what) { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
}

async fn customers(instance: &Instance) -> i64 {
    instance
        .count("SELECT count(*) FROM stream WHERE context = 'customers' AND version > 0")
        .await
        .expect("a count")
}
