//! Postgres comes back as it once was: restored from a copy, or a replica that lacked the last commits took over.

use std::fs;
use std::path::PathBuf;

use futures::TryStreamExt as _;
use millrace_tests::load::register;
use millrace_tests::{Instance, Process, eventually};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::replay::reset;
use crate::{WORKSHOP, beside_others, instance};

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

/// As the runbook does it: tables are copied in one snapshot, and put into those that `setup` makes.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_side_that_is_gone_comes_back_from_copy_files_and_catches_up() {
    let _turn = beside_others().await;
    let instance = instance("restored_read").await;
    let mut process = instance.start();
    instance.send(&(0..20).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    let files = copied(&instance).await;
    instance.send(&(20..40).map(register).collect::<Vec<_>>()).await;
    instance.settle().await;
    process.stops().await;
    let schema = instance.name.clone();
    let gone = format!("DROP SCHEMA \"{schema}\" CASCADE");
    sqlx::raw_sql(AssertSqlSafe(gone)).execute(&instance.read).await.expect("no read side");
    instance.millrace(&["setup"]).await.expect_success();
    put_back(&instance, &files).await;
    let rows = "SELECT count(*) FROM customers";
    let read: i64 = sqlx::query_scalar(rows).fetch_one(&instance.read).await.expect("rows");
    assert_eq!(read, 20, "as of the copy");
    let _again = instance.start();
    instance.send(&[register(40)]).await;
    instance.settle().await;
    let read: i64 = sqlx::query_scalar(rows).fetch_one(&instance.read).await.expect("rows");
    assert_eq!((read, instance.documents("customers").await.len()), (41, 41));
    instance.millrace(&["verify"]).await.expect_success();
    instance.millrace(&["status"]).await.expect_success();
}

/// A file for each table of the read side.
async fn copied(instance: &Instance) -> Vec<(String, PathBuf)> {
    let mut connection = instance.read.acquire().await.expect("a session");
    let mut snapshot =
        connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a snapshot");
    let tables =
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *snapshot).await.expect("tables");
    let mut files = Vec::new();
    for table in tables {
        let file = PathBuf::from(WORKSHOP.folder).join(format!("{}-{table}.copy", instance.name));
        let rows = snapshot.copy_out_raw(&format!("COPY {table} TO STDOUT")).await.expect("a copy");
        let rows: Vec<_> = rows.try_collect().await.expect("rows");
        fs::write(&file, rows.concat()).expect("a file");
        files.push((table, file));
    }
    files
}

/// In one transaction: what `setup` has written goes, and what comes next has further ids.
async fn put_back(instance: &Instance, files: &[(String, PathBuf)]) {
    let mut connection = instance.read.acquire().await.expect("a session");
    let mut whole = connection.begin().await.expect("a transaction");
    for (table, file) in files {
        execute_in(&mut whole, format!("TRUNCATE {table}")).await;
        let mut copy = whole.copy_in_raw(&format!("COPY {table} FROM STDIN")).await.expect("a copy");
        copy.send(fs::read(file).expect("a file")).await.expect("rows");
        copy.finish().await.expect("all rows");
    }
    let sequences = "SELECT format('SELECT setval(%L, (SELECT coalesce(max(%I), 0) + 1 FROM %I), false)',
            pg_get_serial_sequence(quote_ident(table_name), column_name), column_name, table_name)
        FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'";
    let sequences: Vec<String> =
        sqlx::query_scalar(sequences).fetch_all(&mut *whole).await.expect("sequences");
    for sequence in sequences {
        execute_in(&mut whole, sequence).await;
    }
    whole.commit().await.expect("a restored read side");
}

async fn execute_in(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("done");
}
