//! Postgres comes back as it once was: restored from a copy, or a replica that lacked the last commits took over.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use futures::TryStreamExt as _;
use millrace_tests::cluster::{BaseBackup, Cluster};
use millrace_tests::load::register;
use millrace_tests::stack::connect;
use millrace_tests::{Instance, Process, becomes, eventually};
use reqwest::Method;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::faults::{assert_each_row_was_carried_once, connector, stops};
use crate::replay::reset;
use crate::{WORKSHOP, beside_others, instance, instance_with};

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

/// As the runbook does it: a base backup, and from the archive the WAL since then. The server is gone with its disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_side_that_is_gone_comes_back_from_a_base_backup_and_its_wal_and_decides_on() {
    let _turn = beside_others().await;
    let Some(cluster) = Cluster::start().await else {
        return println!("POSTGRES_BIN=none: nothing comes back from a base backup");
    };
    let url = cluster.url();
    let settings = [("contexts", r#"["customers"]"#), ("postgres.write.url", url.as_str())];
    let mut instance = instance_with("restored_write", &settings).await;
    instance.write = cluster.pool(&instance.name);
    let mut process = instance.start();
    let backup = backed_up_while_it_works(&instance, &cluster).await;
    // What follows from these is in the outbox, and not in Kafka.
    stops(&connector(&instance)).await;
    instance.send(&registered(40..60)).await;
    instance.decided(60).await;
    process.stops().await;
    cluster.is_archived().await;
    cluster.is_lost();
    cluster.comes_back_from(backup).await;
    assert_eq!(customers(&instance).await, 60, "backup and archive have every commit");
    instance.millrace(&["status"]).await.expect_code(6).expect_told("there is no replication slot");
    instance.millrace(&["setup"]).await.expect_success();
    connect(Method::PUT, &format!("{}/resume", connector(&instance))).await;
    let _again = instance.start();
    instance.send(&registered(60..80)).await;
    instance.decided(80).await;
    let repair = ["verify", "--repair", "--why", "restored from a base backup"];
    instance.millrace(&repair).await.expect_success().expect_told("repaired: ");
    instance.settle().await;
    becomes(&instance.read, "SELECT count(*) FROM customers", 80).await;
    assert_each_row_was_carried_once(&instance).await;
    instance.millrace(&["verify"]).await.expect_success();
    instance.millrace(&["status"]).await.expect_success();
}

/// Of 40 customers, half of which come during the backup.
async fn backed_up_while_it_works(instance: &Instance, cluster: &Cluster) -> BaseBackup {
    instance.send(&registered(0..20)).await;
    instance.settle().await;
    let begun = cluster.begin_backup().await;
    instance.send(&registered(20..40)).await;
    let backup = cluster.end_backup(begun).await;
    instance.settle().await;
    backup
}

fn registered(customers: Range<usize>) -> Vec<String> {
    customers.map(register).collect()
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
